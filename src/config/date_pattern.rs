//! Dates by a pattern of Java's `SimpleDateFormat`, the part of it that makes sense for an instant.
//!
//! What differs from Java, each time towards saying so instead of guessing: the whole value has to
//! match; a 13th month is no month; a pattern without a zone means UTC and not where the program
//! runs; a fraction has one to three digits, which count milliseconds as in Java; a year has four
//! digits; a name of a day has to be that of the date; names are English; letters for weeks and eras
//! are refused.
//!
//! Source: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/text/SimpleDateFormat.html>

use time::{Date, Month, OffsetDateTime, Time, UtcOffset, Weekday};

use crate::model::Timestamp;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DatePattern {
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Literal(char),
    Field(Field, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    AmPm,
    Day,
    /// Of 0 to 23.
    Hour,
    /// Of 1 to 12.
    HourOfHalf,
    /// Of 0 to 11.
    HourOfHalf0,
    /// Of 1 to 24.
    Hour24,
    Milli,
    Minute,
    Month,
    Second,
    Weekday,
    Year,
    ZoneGeneral,
    ZoneIso,
    ZoneRfc822,
}

impl DatePattern {
    /// Compiles a pattern, or says what is wrong with it.
    pub(crate) fn compile(pattern: &str) -> Result<DatePattern, String> {
        let mut items = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            rest = match c {
                '\'' => quoted(&rest[1..], &mut items)?,
                'a'..='z' | 'A'..='Z' => {
                    let count = rest.bytes().take_while(|&byte| byte == c as u8).count();
                    items.push(Item::Field(field(c, count)?, count));
                    &rest[count..]
                }
                other => {
                    items.push(Item::Literal(other));
                    &rest[other.len_utf8()..]
                }
            };
        }
        let has = |field| {
            items
                .iter()
                .any(|item| matches!(item, Item::Field(f, _) if *f == field))
        };
        if !has(Field::Year) {
            return Err("it has no year".to_owned());
        }
        Ok(DatePattern { items })
    }

    /// Reads a value, which has to match from end to end and be a date that exists.
    pub(crate) fn parse(&self, value: &str) -> Option<Timestamp> {
        let mut parts = Parts::default();
        let mut rest = value;
        for (at, item) in self.items.iter().enumerate() {
            rest = match item {
                Item::Literal(c) => rest.strip_prefix(*c)?,
                Item::Field(field, count) => {
                    let next = self.items.get(at + 1);
                    let is_abutting = matches!(next, Some(Item::Field(f, _)) if f.is_number());
                    parts.read(*field, *count, is_abutting, rest)?
                }
            };
        }
        if rest.is_empty() {
            parts.timestamp()
        } else {
            None
        }
    }
}

impl Field {
    fn is_number(self) -> bool {
        !matches!(
            self,
            Field::AmPm | Field::Weekday | Field::ZoneGeneral | Field::ZoneIso | Field::ZoneRfc822
        )
    }
}

/// Takes text in quotes, in which `''` is a quote, as it is outside.
fn quoted<'a>(mut rest: &'a str, items: &mut Vec<Item>) -> Result<&'a str, String> {
    if let Some(after) = rest.strip_prefix('\'') {
        items.push(Item::Literal('\''));
        return Ok(after);
    }
    loop {
        let end = rest.find('\'').ok_or("a quote is not closed")?;
        items.extend(rest[..end].chars().map(Item::Literal));
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                items.push(Item::Literal('\''));
                rest = after;
            }
            None => return Ok(rest),
        }
    }
}

fn field(letter: char, count: usize) -> Result<Field, String> {
    let field = match (letter, count) {
        ('y' | 'u', 2) => return Err("a year of two digits could be of any century".to_owned()),
        ('y' | 'u', 1..=4) => Field::Year,
        ('M' | 'L', 1..=4) => Field::Month,
        ('d', 1..=2) => Field::Day,
        ('H', 1..=2) => Field::Hour,
        ('k', 1..=2) => Field::Hour24,
        ('h', 1..=2) => Field::HourOfHalf,
        ('K', 1..=2) => Field::HourOfHalf0,
        ('m', 1..=2) => Field::Minute,
        ('s', 1..=2) => Field::Second,
        ('S', 1..=3) => Field::Milli,
        ('a', _) => Field::AmPm,
        ('E', _) => Field::Weekday,
        ('z', _) => Field::ZoneGeneral,
        ('Z', _) => Field::ZoneRfc822,
        ('X', 1..=3) => Field::ZoneIso,
        _ => {
            let letters = letter.to_string().repeat(count);
            return Err(format!(
                "{letters} is no part of an instant that is understood"
            ));
        }
    };
    Ok(field)
}

/// What has been read; what a pattern leaves out is the first there is.
#[derive(Default)]
struct Parts {
    year: i32,
    month: Option<Month>,
    day: Option<u8>,
    hour: u8,
    is_afternoon: Option<bool>,
    minute: u8,
    second: u8,
    milli: u16,
    weekday: Option<Weekday>,
    offset: Option<UtcOffset>,
}

impl Parts {
    /// Reads one field and returns what is left.
    fn read<'a>(
        &mut self,
        field: Field,
        count: usize,
        is_abutting: bool,
        rest: &'a str,
    ) -> Option<&'a str> {
        if field == Field::Month && count >= 3 {
            let (number, rest) = name(rest, &MONTHS)?;
            self.month = Month::try_from(number as u8 + 1).ok();
            return Some(rest);
        }
        if !field.is_number() {
            return self.read_word(field, rest);
        }
        let longest = match field {
            _ if is_abutting => count,
            Field::Year => 4,
            Field::Milli => 3,
            _ => 2,
        };
        let (number, rest) = number(
            rest,
            count.min(if field == Field::Year { 4 } else { 1 }),
            longest,
        )?;
        self.set(field, number)?;
        Some(rest)
    }

    fn set(&mut self, field: Field, number: u16) -> Option<()> {
        let small = u8::try_from(number).ok();
        match field {
            Field::Year => self.year = i32::from(number),
            Field::Month => self.month = Some(Month::try_from(small?).ok()?),
            Field::Day => self.day = small,
            Field::Hour => self.hour = small?,
            Field::Hour24 => self.hour = small.filter(|hour| (1..=24).contains(hour))? % 24,
            Field::HourOfHalf => self.hour = small.filter(|hour| (1..=12).contains(hour))? % 12,
            Field::HourOfHalf0 => self.hour = small.filter(|&hour| hour < 12)?,
            Field::Minute => self.minute = small?,
            Field::Second => self.second = small?,
            _ => self.milli = number,
        }
        Some(())
    }

    fn read_word<'a>(&mut self, field: Field, rest: &'a str) -> Option<&'a str> {
        match field {
            Field::AmPm => {
                let (half, rest) = name(rest, &["AM", "PM"])?;
                self.is_afternoon = Some(half == 1);
                Some(rest)
            }
            Field::Weekday => {
                let (day, rest) = name(rest, &WEEKDAYS)?;
                self.weekday = Some(Weekday::Monday.nth_next(day as u8));
                Some(rest)
            }
            _ => {
                let (offset, rest) = zone(field, rest)?;
                self.offset = Some(offset);
                Some(rest)
            }
        }
    }

    fn timestamp(&self) -> Option<Timestamp> {
        let month = self.month.unwrap_or(Month::January);
        let date = Date::from_calendar_date(self.year, month, self.day.unwrap_or(1)).ok()?;
        if self
            .weekday
            .is_some_and(|weekday| weekday != date.weekday())
        {
            return None;
        }
        let hour = match self.is_afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(_) if self.hour >= 12 => return None,
            _ => self.hour,
        };
        let time = Time::from_hms_milli(hour, self.minute, self.second, self.milli).ok()?;
        let offset = self.offset.unwrap_or(UtcOffset::UTC);
        let instant = OffsetDateTime::new_in_offset(date, time, offset);
        let millis = instant.unix_timestamp_nanos() / 1_000_000;
        i64::try_from(millis).ok().map(Timestamp::from_millis)
    }
}

/// Reads a number of so many digits, the more the better.
fn number(text: &str, least: usize, most: usize) -> Option<(u16, &str)> {
    let digits = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    let number = text[..digits].parse().ok().filter(|_| digits >= least)?;
    Some((number, &text[digits..]))
}

/// Finds which name the text begins with, in whole or by its first three letters.
fn name<'a>(text: &'a str, names: &[&str]) -> Option<(usize, &'a str)> {
    let begins = |name: &str| {
        let head = text.get(..name.len())?;
        head.eq_ignore_ascii_case(name).then(|| &text[name.len()..])
    };
    let whole = names
        .iter()
        .enumerate()
        .find_map(|(at, name)| Some((at, begins(name)?)));
    let short = |name: &&str| begins(name.get(..3).unwrap_or(name));
    whole.or_else(|| {
        names
            .iter()
            .enumerate()
            .find_map(|(at, name)| Some((at, short(name)?)))
    })
}

/// Reads an offset: ISO 8601's, RFC 822's, or by the names that mean the same everywhere.
fn zone(field: Field, text: &str) -> Option<(UtcOffset, &str)> {
    if field == Field::ZoneIso
        && let Some(rest) = text.strip_prefix('Z')
    {
        return Some((UtcOffset::UTC, rest));
    }
    if field == Field::ZoneGeneral {
        let named = ["GMT", "UTC"]
            .iter()
            .find_map(|name| text.strip_prefix(name));
        return match named {
            Some(rest) if rest.starts_with(['+', '-']) => offset(rest),
            Some(rest) => Some((UtcOffset::UTC, rest)),
            None => offset(text),
        };
    }
    offset(text)
}

/// Reads `+hh`, `+hhmm` or `+hh:mm`.
fn offset(text: &str) -> Option<(UtcOffset, &str)> {
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = number(&text[1..], 2, 2)?;
    let (minutes, rest) = number(rest.strip_prefix(':').unwrap_or(rest), 2, 2).unwrap_or((0, rest));
    let part = |number: u16| i8::try_from(number).ok().map(|number| number * sign);
    let offset =
        UtcOffset::from_hms(part(hours)?, part(minutes).filter(|_| minutes < 60)?, 0).ok()?;
    Some((offset, rest))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX";

    fn parse(pattern: &str, value: &str) -> Option<i64> {
        let pattern = DatePattern::compile(pattern).expect(pattern);
        pattern.parse(value).map(Timestamp::as_millis)
    }

    #[test]
    fn values_are_read_by_their_pattern_from_end_to_end() {
        for (pattern, value, millis) in [
            (
                DEFAULT,
                "2016-04-04T19:58:46.480-00:00",
                Some(1_459_799_926_480),
            ),
            (
                DEFAULT,
                "2020-08-13T09:18:00.0+01:00",
                Some(1_597_306_680_000),
            ),
            (DEFAULT, "2020-08-13T09:18:00.000Z", Some(1_597_310_280_000)),
            (DEFAULT, "2020-08-13T09:18:00.5Z", Some(1_597_310_280_005)),
            (DEFAULT, "2020-08-13T09:18:00.123456Z", None),
            (DEFAULT, "2020-08-13T09:18:00Z", None),
            (DEFAULT, "1459799926.480", None),
            ("yyyy-MM-dd", "2016-04-04", Some(1_459_728_000_000)),
            ("yyyy-MM-dd", "2016-04-04garbage", None),
            ("yyyy-MM-dd", "2016-13-45", None),
            ("yyyy-MM-dd", "2015-02-29", None),
            ("yyyy-MM-dd", "2016-4-4", Some(1_459_728_000_000)),
            ("yyyy-MM-dd", "", None),
            ("yyyy", "1459799926.480", None),
            ("yyyyMMdd", "1459799926.480", None),
            ("yyyyMMdd", "20160404", Some(1_459_728_000_000)),
            (
                "yyyy-MM-dd'T'HH:mm",
                "2020-11-11T09:14",
                Some(1_605_086_040_000),
            ),
            (
                "yyyy-MM-dd'T'HH:mm",
                "2020-07-02T09:14",
                Some(1_593_681_240_000),
            ),
            (
                "yyyy-MM-dd'T'HH:mm",
                "2020-08-13T09:23",
                Some(1_597_310_580_000),
            ),
            ("yyyy-MM-dd'T'HH:mm", "2020-08-13T24:23", None),
            (
                "yyyy-MM-dd kk:mm",
                "2020-08-13 24:23",
                Some(1_597_278_180_000),
            ),
            (
                "MMM d, yyyy hh:mm a",
                "Aug 13, 2020 09:23 AM",
                Some(1_597_310_580_000),
            ),
            (
                "MMMM d, yyyy hh:mm a",
                "august 13, 2020 9:23 pm",
                Some(1_597_353_780_000),
            ),
            (
                "MMM d, yyyy hh:mm a",
                "Aug 13, 2020 12:00 AM",
                Some(1_597_276_800_000),
            ),
            (
                "MMM d, yyyy hh:mm a",
                "Aug 13, 2020 12:00 PM",
                Some(1_597_320_000_000),
            ),
            ("MMM d, yyyy hh:mm a", "Aug 13, 2020 13:00 PM", None),
            (
                "EEE, dd MMM yyyy HH:mm:ss z",
                "Thu, 13 Aug 2020 09:23:00 GMT",
                Some(1_597_310_580_000),
            ),
            (
                "EEE, dd MMM yyyy HH:mm:ss z",
                "Fri, 13 Aug 2020 09:23:00 GMT",
                None,
            ),
            (
                "yyyy-MM-dd z",
                "2020-08-13 GMT+01:00",
                Some(1_597_273_200_000),
            ),
            ("yyyy-MM-dd Z", "2020-08-13 -0100", Some(1_597_280_400_000)),
            ("yyyy-MM-dd X", "2020-08-13 +01", Some(1_597_273_200_000)),
            ("yyyy-MM-dd X", "2020-08-13 +01:99", None),
            (
                "yyyy 'o''clock' ''",
                "2020 o'clock '",
                Some(1_577_836_800_000),
            ),
            ("yyyy\u{e9}", "2020\u{e9}", Some(1_577_836_800_000)),
            ("yyyy\u{e9}", "202\u{e9}", None),
        ] {
            assert_eq!(parse(pattern, value), millis, "{pattern} {value}");
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused_with_the_reason() {
        for (pattern, reason) in [
            (
                "InvalidPattern",
                "I is no part of an instant that is understood",
            ),
            ("yyyy-MM-dd'T", "a quote is not closed"),
            ("yy-MM-dd", "a year of two digits could be of any century"),
            (
                "YYYY-'W'ww",
                "YYYY is no part of an instant that is understood",
            ),
            ("HH:mm", "it has no year"),
            (
                "yyyy SSSSSS",
                "SSSSSS is no part of an instant that is understood",
            ),
            ("", "it has no year"),
        ] {
            assert_eq!(
                DatePattern::compile(pattern),
                Err(reason.to_owned()),
                "{pattern}"
            );
        }
    }
}
