//! One table says everything about one key: its name, what it takes, what it is by default, what it
//! does. Reading, messages, "did you mean" and the page of all keys are made from the rows.

mod client;
mod consumer;
mod credentials;
#[cfg(feature = "cloudwatch")]
mod metrics;
#[cfg(not(feature = "cloudwatch"))]
#[path = "no_metrics.rs"]
mod metrics;
mod page;
mod producer;
mod proxy;

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::Properties;
use crate::error::{Error, Result};

pub(super) use client::client;
pub(super) use consumer::consumer;
pub use page::KnownKey;
pub(super) use page::known;
pub(super) use producer::producer;

/// A row: one key that is read into a `T`.
struct Key<T: 'static> {
    name: &'static str,
    /// Names that are no longer used; like Flink, their value counts above the new name's.
    deprecated: &'static [&'static str],
    doc: &'static str,
    setting: Setting<T>,
}

/// What a key takes, and where it goes.
enum Setting<T: 'static> {
    Integer {
        range: RangeInclusive<u64>,
        unit: &'static str,
        /// Above it a value is taken for this one, and the log says so.
        cap: Option<u64>,
        set: fn(&mut T, u64),
        get: fn(&T) -> u64,
    },
    /// A time in milliseconds.
    Millis {
        range: RangeInclusive<u64>,
        set: fn(&mut T, Duration),
        /// `None` where the default is another's.
        get: fn(&T) -> Option<Duration>,
    },
    Number {
        set: fn(&mut T, f64),
        get: fn(&T) -> f64,
    },
    /// Attempts beyond the first.
    Retries {
        set: fn(&mut T, u32),
        get: fn(&T) -> Option<u32>,
    },
    Switch {
        set: fn(&mut T, bool),
        get: fn(&T) -> bool,
    },
    /// A time as Flink's newer keys have it, `250 ms` or `10 s`.
    Time {
        range_ms: RangeInclusive<u64>,
        set: fn(&mut T, Duration),
    },
    Word {
        words: &'static [&'static str],
        set: fn(&mut T, usize),
        get: fn(&T) -> usize,
    },
    Text {
        what: &'static str,
        /// Says what the value has to be, if it is not.
        set: fn(&mut T, &str) -> Result<(), String>,
        default: &'static str,
    },
    /// Known, and of no consequence here: the log says why.
    Ignored { because: &'static str },
    /// Known, and not to be had here: an error that says what to do.
    Refused { because: &'static str },
}

impl<T> Key<T> {
    const fn new(name: &'static str, setting: Setting<T>, doc: &'static str) -> Key<T> {
        Key {
            name,
            deprecated: &[],
            doc,
            setting,
        }
    }

    const fn once(mut self, names: &'static [&'static str]) -> Key<T> {
        self.deprecated = names;
        self
    }

    /// Finds the key that is set and its value, the old name's before the new one's.
    fn given<'p>(&self, properties: &'p Properties) -> Option<(&'static str, &'p str)> {
        let old = self.deprecated.iter().find_map(|&old| {
            let value = properties.trimmed(old)?;
            log::warn!(
                "{old} is deprecated, and counts above {}: use that",
                self.name
            );
            Some((old, value))
        });
        old.or_else(|| Some((self.name, properties.trimmed(self.name)?)))
    }

    fn apply(&self, target: &mut T, name: &str, value: &str) -> Result<()> {
        let taken = self.setting.take(target, name, value);
        taken.map_err(|expected| Error::config(name, value, expected))
    }
}

impl<T> Setting<T> {
    /// Takes a value, or says what it has to be.
    fn take(&self, target: &mut T, name: &str, value: &str) -> Result<(), String> {
        let expected = || self.takes();
        match self {
            Setting::Integer {
                range, cap, set, ..
            } => {
                let number = integer(value, range).ok_or_else(expected)?;
                set(target, capped(name, number, *cap));
            }
            Setting::Millis { range, set, .. } => {
                let millis = integer(value, range).ok_or_else(expected)?;
                set(target, Duration::from_millis(millis));
            }
            Setting::Number { set, .. } => {
                let number = value.trim().parse().ok();
                let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
                set(target, number.ok_or_else(expected)?);
            }
            Setting::Retries { set, .. } => {
                let retries = integer(value, &(0..=INT_MAX)).ok_or_else(expected)?;
                set(target, u32::try_from(retries).unwrap_or(u32::MAX));
            }
            Setting::Switch { set, .. } => set(target, switch(value).ok_or_else(expected)?),
            Setting::Text { set, .. } => set(target, value)?,
            Setting::Time { range_ms, set } => {
                let time = time(value).filter(|time| range_ms.contains(&millis(*time)));
                set(target, time.ok_or_else(expected)?);
            }
            Setting::Word { words, set, .. } => {
                let at = words.iter().position(|word| *word == value);
                set(target, at.ok_or_else(expected)?);
            }
            Setting::Ignored { because } => log::warn!("{name} has no effect: {because}"),
            Setting::Refused { because } => return Err(format!("possible here: {because}")),
        }
        Ok(())
    }

    /// Says what values are taken, for messages and for the page.
    fn takes(&self) -> String {
        match self {
            Setting::Millis { range, .. } => span(range, "milliseconds"),
            Setting::Retries { .. } => span(&(0..=INT_MAX), "attempts"),
            Setting::Integer { range, unit, .. } => span(range, unit),
            Setting::Number { .. } => "a number from 0".to_owned(),
            Setting::Switch { .. } => "true or false".to_owned(),
            Setting::Time { range_ms, .. } => format!(
                "a time from {} ms to {} ms, such as 250 ms or 10 s",
                range_ms.start(),
                range_ms.end()
            ),
            Setting::Word { words, .. } => one_of(words),
            Setting::Text { what, .. } => (*what).to_owned(),
            Setting::Ignored { .. } | Setting::Refused { .. } => String::new(),
        }
    }
}

/// Reads all keys of a table, and tells everything that is wrong with them at once.
fn read<T>(table: &[Key<T>], properties: &Properties, target: &mut T, faults: &mut Vec<Error>) {
    for key in table {
        if let Some((name, value)) = key.given(properties) {
            faults.extend(key.apply(target, name, value).err());
        }
    }
}

/// Makes one error of what was found wrong.
fn verdict(faults: Vec<Error>) -> Result<()> {
    match Error::several(faults) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Tells every key that looks like one of ours and is none.
pub(super) fn strangers(properties: &Properties) -> Vec<Error> {
    let names = properties.iter().map(|(name, _)| name);
    let strange = names.filter(|name| is_ours(name) && !is_known(name));
    strange
        .map(|name| Error::config("key", name, format!("one that is known{}", hint(name))))
        .collect()
}

fn hint(name: &str) -> String {
    match nearest(name) {
        Some(known) => format!("; did you mean {known}?"),
        None => String::new(),
    }
}

/// Says whether a name is in our name space: other parts of a program may keep theirs in the same file.
fn is_ours(name: &str) -> bool {
    let is_kpl = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_kpl || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
        || credentials::is_key(name)
        || PATTERNS.iter().any(|prefix| name.starts_with(prefix))
}

/// Every name of every table.
fn names() -> impl Iterator<Item = &'static str> {
    fn of<T>(table: &'static [Key<T>]) -> impl Iterator<Item = &'static str> {
        let names = |key: &'static Key<T>| key.deprecated.iter().copied().chain([key.name]);
        table.iter().flat_map(names)
    }
    of(client::KEYS)
        .chain(of(consumer::KEYS))
        .chain(of(producer::KEYS))
        .chain(of(metrics::KEYS))
}

/// Finds the known name with the fewest letters to change, if they are few.
fn nearest(name: &str) -> Option<&'static str> {
    let distance = |known: &str| edits(&known.to_lowercase(), &name.to_lowercase());
    let all = names().chain(credentials::NAMES.iter().copied());
    let (distance, known) = all.map(|known| (distance(known), known)).min()?;
    (distance * 4 <= name.len().max(4)).then_some(known)
}

/// How many letters have to be put in, left out or changed.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in b.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Reads an integer as Java does: a sign may stand before it, blanks may not.
fn integer(value: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    value.parse().ok().filter(|number| range.contains(number))
}

fn span(range: &RangeInclusive<u64>, unit: &str) -> String {
    match *range.end() {
        LONG_MAX.. => format!("an integer from {} ({unit})", range.start()),
        end => format!("an integer from {} to {end} ({unit})", range.start()),
    }
}

/// Takes a host's name by the KPL's pattern, as far as that says what a name is.
fn host(text: &str, elsewhere: &str) -> Result<Option<String>, String> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match text.bytes().all(is_host) {
        true => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
        false => Err(format!(
            "a host's name, without scheme, port and path: see {elsewhere}"
        )),
    }
}

fn capped(name: &str, number: u64, cap: Option<u64>) -> u64 {
    match cap {
        Some(cap) if number > cap => {
            log::warn!("{name}: {number} is more than the service takes, {cap} is used");
            cap
        }
        _ => number,
    }
}

fn switch(value: &str) -> Option<bool> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Reads a number and a unit, milliseconds if there is none.
fn time(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let millis = match unit.trim() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    let number = number.parse::<u64>().ok()?;
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A duration's milliseconds, which fit for any that was read here.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn one_of(words: &[&str]) -> String {
    match words {
        [first] => (*first).to_owned(),
        [first, last] => format!("{first} or {last}"),
        _ => format!("one of {}", words.join(", ")),
    }
}

/// What the names of others do not begin with.
const PREFIXES: [&str; 4] = ["aws.", "flink.", "retry-strategy.", "source."];

/// Keys whose names have a part that is up to the user, and which have no effect: what they are for
/// is enhanced fan-out.
const PATTERNS: [&str; 3] = [
    "flink.shard.consumer.error.recoverable",
    "flink.stream.efo.",
    "source.efo.",
];

/// As large as Java's `int`.
const INT_MAX: u64 = i32::MAX as u64;

/// As large as Java's `long`.
const LONG_MAX: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_in_two_rows() {
        let mut all: Vec<_> = names().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_key_that_is_a_little_wrong_is_told_what_it_may_mean() {
        for (name, told) in [
            (
                "flink.shard.getrecords.intervallmillis",
                "key: \"flink.shard.getrecords.intervallmillis\" is not one that is known; did you mean flink.shard.getrecords.intervalmillis?",
            ),
            (
                "RecordTTL",
                "key: \"RecordTTL\" is not one that is known; did you mean RecordTtl?",
            ),
            (
                "aws.Region",
                "key: \"aws.Region\" is not one that is known; did you mean aws.region?",
            ),
            (
                "aws.nonsense.of.all.kinds",
                "key: \"aws.nonsense.of.all.kinds\" is not one that is known",
            ),
        ] {
            let properties = Properties::from_iter([(name, "1")]);
            let told_now: Vec<_> = strangers(&properties)
                .iter()
                .map(Error::to_string)
                .collect();
            assert_eq!(told_now, [told]);
        }
    }

    #[test]
    fn keys_of_others_are_left_alone() {
        for name in ["kafka.topic", "x", "user.home", "Some.Thing", ""] {
            let properties = Properties::from_iter([(name, "1")]);
            assert!(strangers(&properties).is_empty(), "{name}");
        }
    }

    #[test]
    fn keys_of_enhanced_fan_out_are_known() {
        for name in [
            "flink.stream.efo.consumerarn.orders",
            "flink.shard.consumer.error.recoverable[0].exception",
            "source.efo.lifecycle",
        ] {
            let properties = Properties::from_iter([(name, "x")]);
            assert!(strangers(&properties).is_empty(), "{name}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in [
            ("250", Some(250)),
            ("250 ms", Some(250)),
            ("10 s", Some(10_000)),
            ("10s", Some(10_000)),
            (" 2 minutes ", Some(120_000)),
            ("1 d", Some(86_400_000)),
            ("1.5 s", None),
            ("-1 s", None),
            ("s", None),
            ("", None),
            ("18446744073709551615 s", None),
        ] {
            assert_eq!(time(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
