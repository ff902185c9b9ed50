//! One pass over JSON as services write it.
//!
//! What is unusual is not read here: `None` says that the whole has to be read by serde, which also
//! finds the words for what is wrong. So whatever is read here, serde reads the same; how it is
//! written (order, white space, unknown members, nulls) makes no difference.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Deserializer;

use crate::client::wire::seconds::usual_seconds;
use crate::model::all;

pub(super) struct Scanner<'a> {
    rest: &'a [u8],
    /// Whether what is read looks like the object before it, so that a string whose end is where
    /// it was in that one need not be looked through.
    is_alike: bool,
}

/// How an object was written: what stood before each value, which value that was, and the end.
#[derive(Default)]
pub(super) struct Template<'a> {
    gaps: Vec<(&'a [u8], usize)>,
    end: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner {
            rest: text,
            is_alike: false,
        }
    }

    /// How many bytes are ahead.
    pub fn ahead(&self) -> usize {
        self.rest.len()
    }

    /// Nothing but white space may follow.
    pub fn end(mut self) -> Option<()> {
        self.skip_white_space();
        self.rest.is_empty().then_some(())
    }

    /// Steps through an object; `member` has to read the value of each of its members.
    ///
    /// It is given the member's place in `names`, or `None` for another, which is stepped over by
    /// [`skip`](Scanner::skip). Quickest for members in the order of the names.
    #[inline(always)]
    pub fn object(
        &mut self,
        names: &[&str],
        mut member: impl FnMut(&mut Scanner<'a>, Option<usize>) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        if self.takes(b'}') {
            return Some(());
        }
        let mut expected = 0;
        loop {
            self.take(b'"')?;
            let place = self.name(names, expected)?;
            self.take(b':')?;
            member(self, place)?;
            expected = place.map_or(expected, |place| place + 1);
            if self.takes(b'}') {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    /// Steps through an object that is probably written like the one before it.
    ///
    /// If so, all but its values is compared at once. What has a value in one of the `names` is
    /// read by `member`, into a place that is empty at first; other members are stepped over.
    #[inline(always)]
    pub fn object_like<T: Default>(
        &mut self,
        template: &mut Template<'a>,
        names: &[&str],
        mut member: impl FnMut(&mut Scanner<'a>, &mut T, usize) -> Option<()>,
    ) -> Option<T> {
        let before = self.rest;
        self.is_alike = true;
        let alike = self.object_alike(template, &mut member);
        self.is_alike = false;
        if alike.is_some() {
            return alike;
        }
        self.rest = before;
        let (mut object, mut gaps, mut gap) = (T::default(), Vec::new(), before);
        self.object(names, |text, place| {
            let Some(place) = place else {
                return text.skip();
            };
            gaps.push((&gap[..gap.len() - text.rest.len()], place));
            member(text, &mut object, place)?;
            gap = text.rest;
            Some(())
        })?;
        let end = &gap[..gap.len() - self.rest.len()];
        *template = Template { gaps, end };
        Some(object)
    }

    #[inline(always)]
    fn object_alike<T: Default>(
        &mut self,
        template: &Template<'a>,
        member: &mut impl FnMut(&mut Scanner<'a>, &mut T, usize) -> Option<()>,
    ) -> Option<T> {
        let mut object = T::default();
        for (gap, place) in &template.gaps {
            self.rest = self.rest.strip_prefix(*gap)?;
            member(self, &mut object, *place)?;
        }
        // An end without a brace is that of no template.
        self.rest = self.rest.strip_prefix(template.end)?;
        (!template.end.is_empty()).then_some(object)
    }

    /// Behind the first quote of a name: the place of the name, and what follows.
    #[inline(always)]
    fn name(&mut self, names: &[&str], expected: usize) -> Option<Option<usize>> {
        let places = (expected..names.len()).chain(0..expected);
        for place in places {
            let rest = self.rest.strip_prefix(names[place].as_bytes());
            if let Some([b'"', rest @ ..]) = rest {
                self.rest = rest;
                return Some(Some(place));
            }
        }
        let name = self.rest_of_string(0)?;
        // A known name may be written with escapes, and what is no text is no name.
        (is_plain(name) && std::str::from_utf8(name).is_ok()).then_some(None)
    }

    /// Steps through an array, whose elements `element` has to read.
    #[inline(always)]
    pub fn array(&mut self, mut element: impl FnMut(&mut Scanner<'a>) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.takes(b']') {
            return Some(());
        }
        loop {
            element(self)?;
            if self.takes(b']') {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    /// What is between two quotes, probably of this length.
    ///
    /// Whoever uses it has to refuse what [`is_plain`] refuses.
    #[inline(always)]
    pub fn string(&mut self, probable_length: usize) -> Option<&'a [u8]> {
        self.take(b'"')?;
        self.rest_of_string(probable_length)
    }

    /// What a string means, if it is as long as the one in its place before; else it is still ahead.
    ///
    /// A string with a quote or an escape in it must mean nothing.
    #[inline(always)]
    pub fn alike<T>(
        &mut self,
        length: usize,
        meaning: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Option<T> {
        let text = self.rest.strip_prefix(b"\"").filter(|_| self.is_alike)?;
        let (text, rest) = text.split_at_checked(length)?;
        let (rest, meaning) = (rest.strip_prefix(b"\"")?, meaning(text)?);
        self.rest = rest;
        Some(meaning)
    }

    fn rest_of_string(&mut self, probable_length: usize) -> Option<&'a [u8]> {
        let is_right = self.rest.get(probable_length) == Some(&b'"')
            && (self.is_alike || !has_quote(&self.rest[..probable_length]));
        let length = match is_right {
            true => probable_length,
            false => quote(self.rest)?,
        };
        let (string, rest) = self.rest.split_at(length);
        self.rest = &rest[1..];
        Some(string)
    }

    /// A string, unescaped where that is needed; or null. Whether it is text is not looked at.
    pub fn bytes(&mut self, probable_length: usize) -> Option<Option<Cow<'a, [u8]>>> {
        let before = self.rest;
        match self.string(probable_length) {
            Some(text) if is_plain(text) => Some(Some(Cow::Borrowed(text))),
            _ => {
                self.rest = before;
                let text: Option<String> = self.value()?;
                Some(text.map(|text| Cow::Owned(text.into_bytes())))
            }
        }
    }

    /// A string, unescaped where that is needed; or null.
    pub fn text(&mut self, probable_length: usize) -> Option<Option<Cow<'a, str>>> {
        Some(match self.bytes(probable_length)? {
            Some(Cow::Borrowed(text)) => Some(Cow::Borrowed(std::str::from_utf8(text).ok()?)),
            Some(Cow::Owned(text)) => Some(Cow::Owned(String::from_utf8(text).ok()?)),
            None => None,
        })
    }

    /// A value of any kind, read by serde.
    pub fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = Deserializer::from_slice(self.rest).into_iter();
        let value = values.next()?.ok()?;
        self.rest = &self.rest[values.byte_offset()..];
        Some(value)
    }

    /// Steps over a value of any kind.
    pub fn skip(&mut self) -> Option<()> {
        let before = self.rest;
        if !self.string(0).is_some_and(is_plain) {
            self.rest = before;
            self.value::<IgnoredAny>()?;
        }
        Some(())
    }

    /// A number of seconds as milliseconds, if it is written so that no digit is lost.
    ///
    /// Both `1761500000.123` and `1.761500000123E9` are.
    #[inline(always)]
    pub fn seconds_as_millis(&mut self) -> Option<i64> {
        if let Some((millis, rest)) = usual_seconds(self.rest) {
            self.rest = rest;
            return Some(millis);
        }
        self.unusual_seconds_as_millis()
    }

    fn unusual_seconds_as_millis(&mut self) -> Option<i64> {
        self.skip_white_space();
        let (mut text, mut number, mut exponent) = (self.rest, 0, 0);
        let whole = digits(&mut text, &mut number);
        let is_fraction = steps_over(&mut text, b".");
        let fraction = if is_fraction {
            digits(&mut text, &mut number)
        } else {
            0
        };
        let is_power = steps_over(&mut text, b"Ee");
        let power = if is_power {
            digits(&mut text, &mut exponent)
        } else {
            0
        };
        // What serde refuses is left to it.
        let is_sound = whole > 0 && (fraction > 0) == is_fraction && (power > 0) == is_power;
        if !is_sound || self.rest.first() == Some(&b'0') {
            return None;
        }
        let places = usize::try_from(exponent)
            .ok()?
            .checked_add(3)?
            .checked_sub(fraction)?;
        if whole + fraction + places > EXACT_DIGITS {
            return None;
        }
        self.rest = text;
        Some(number * 10_i64.pow(places as u32))
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.takes(byte).then_some(())
    }

    /// Steps over this byte if it comes next.
    #[inline(always)]
    fn takes(&mut self, byte: u8) -> bool {
        if self.rest.first() != Some(&byte) {
            self.skip_white_space();
        }
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn skip_white_space(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

/// Whether a string has neither escapes nor what has to be escaped.
pub(super) fn is_plain(text: &[u8]) -> bool {
    all(text, |byte| {
        (byte >= 0x20) & (byte != b'\\') & (byte != b'"')
    })
}

fn has_quote(text: &[u8]) -> bool {
    !all(text, |byte| byte != b'"')
}

/// Where the first quote is.
fn quote(text: &[u8]) -> Option<usize> {
    let (chunks, rest) = text.as_chunks::<CHUNK_BYTES>();
    for (number, chunk) in chunks.iter().enumerate() {
        if has_quote(chunk) {
            let place = chunk.iter().position(|byte| *byte == b'"')?;
            return Some(number * CHUNK_BYTES + place);
        }
    }
    let place = rest.iter().position(|byte| *byte == b'"')?;
    Some(text.len() - rest.len() + place)
}

/// Fills a place that may be filled once: serde takes no member twice.
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Reads digits onto the end of a number, and counts them. Too many are not all read.
fn digits(text: &mut &[u8], number: &mut i64) -> usize {
    let ahead = text.len();
    while let [digit @ b'0'..=b'9', rest @ ..] = *text
        && *number < 10_i64.pow(EXACT_DIGITS as u32)
    {
        *number = 10 * *number + i64::from(digit - b'0');
        *text = rest;
    }
    ahead - text.len()
}

fn steps_over(text: &mut &[u8], bytes: &[u8]) -> bool {
    match *text {
        [first, rest @ ..] if bytes.contains(first) => {
            *text = rest;
            true
        }
        _ => false,
    }
}

/// What vector instructions look at together.
const CHUNK_BYTES: usize = 32;

/// As many as a float holds in any case, so that reading by a float gives the same.
const EXACT_DIGITS: usize = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::fuzz;

    /// An answer of GetRecords with whatever may be in it: `None` is a member left out.
    fn record() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
        let data = prop_oneof![
            "([A-Za-z0-9+/]{4}){0,20}",
            Just("YQ==".to_owned()),
            "[ -~]{0,9}"
        ];
        let key = prop_oneof![
            Just(Value::Null),
            "[a-z]{1,40}".prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        let number = prop_oneof!["[1-9][0-9]{55}", "[0-9]{1,70}", "[0-9a]{0,3}"];
        let arrival = prop_oneof![
            (0_u64..1 << 41).prop_map(|millis| json!(millis as f64 / 1e3)),
            any::<u64>().prop_map(|number| json!(number)),
            any::<f64>().prop_map(|number| json!(number)),
            Just(Value::Null),
        ];
        let other = ("[A-Z][a-z]{2}", any::<(bool, i8)>())
            .prop_map(|(text, number)| json!([text, number, {"Data": text}]));
        let members =
            (data, key, number, arrival, other).prop_map(|(data, key, number, arrival, other)| {
                vec![
                    ("ApproximateArrivalTimestamp", arrival),
                    ("Data", data.into()),
                    ("PartitionKey", key),
                    ("SequenceNumber", number.into()),
                    ("EncryptionType", "KMS".into()),
                    ("Other", other),
                ]
            });
        (members.prop_shuffle(), 4_usize..7).prop_map(|(mut members, count)| {
            members.truncate(count);
            members
        })
    }

    fn object(members: &[(&str, String)], space: &str) -> String {
        let member = |(name, value): &(&str, String)| format!("{space}\"{name}\":{space}{value}");
        let members: Vec<_> = members.iter().map(member).collect();
        format!("{{{}{space}}}", members.join(&format!("{space},")))
    }

    fn body() -> impl Strategy<Value = String> {
        let next = prop_oneof![
            Just(Value::Null),
            "[A-Z]{1,9}".prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        let children = prop_oneof![
            Just(Value::Null),
            Just(json!([{"ShardId": "shardId-1", "ParentShards": []}]))
        ];
        let spaces = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        let parts = (
            prop::collection::vec(record(), 0..5),
            next,
            children,
            (any::<Option<u64>>(), any::<bool>()),
            spaces,
        );
        parts.prop_map(
            |(mut records, next, children, (behind, are_alike), space)| {
                if are_alike {
                    records
                        .iter_mut()
                        .for_each(|record| record.sort_by_key(|member| member.0));
                }
                let record = |members: &Vec<(&str, Value)>| {
                    let members: Vec<_> = members
                        .iter()
                        .map(|(name, value)| (*name, value.to_string()))
                        .collect();
                    object(&members, space)
                };
                let records: Vec<_> = records.iter().map(record).collect();
                let members = [
                    ("NextShardIterator", next.to_string()),
                    ("Records", format!("[{}{space}]", records.join(","))),
                    ("MillisBehindLatest", json!(behind).to_string()),
                    ("ChildShards", children.to_string()),
                ];
                object(&members, space)
            },
        )
    }

    fn assert_same(body: &[u8]) {
        match fuzz::get_records(body) {
            (None, _) => {}
            (Some(scanned), by_serde) => {
                let by_serde = by_serde.expect("serde reads what the scanner reads");
                assert_eq!(format!("{scanned:?}"), format!("{by_serde:?}"));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_scanned_is_what_serde_reads(body in body(), at: prop::sample::Index, byte: u8) {
            for body in fuzz::damaged(body, at, byte) {
                assert_same(&body);
            }
        }
    }

    fn is_scanned(body: &str) -> bool {
        assert_same(body.as_bytes());
        let (scanned, by_serde) = fuzz::get_records(body.as_bytes());
        assert!(by_serde.is_ok(), "{body}");
        scanned.is_some()
    }

    #[test]
    fn the_usual_and_most_of_the_unusual_is_scanned() {
        let record = r#"{"ApproximateArrivalTimestamp":1.761500000123E9,"Data":"YQ==","PartitionKey":"k","SequenceNumber":"1"}"#;
        let with = |old: &str, new: &str| {
            format!(
                r#"{{"Records":[{record},{}]}}"#,
                record.replacen(old, new, 1)
            )
        };
        for (old, new) in [
            ("", ""),
            ("1.761500000123E9", "1761500000.123"),
            ("1.761500000123E9", "0.5"),
            ("1.761500000123E9", "null"),
            (r#""PartitionKey":"k","#, ""),
            (r#":"k""#, ": null"),
            (r#":"k""#, r#":"\u00e9\"\n""#),
            (r#":"k""#, r#":"longer","Data2":{"Data":[1,"]"]}"#),
            (r#"{"App"#, " {\r\n\t\"App"),
        ] {
            assert!(is_scanned(&with(old, new)), "{new}");
        }
        for (old, new) in [
            ("YQ==", r"YQ=\u003d"),
            ("Data", r"D\u0061ta"),
            ("\"1\"}", r#""\u0031"}"#),
        ] {
            assert!(!is_scanned(&with(old, new)), "{new}");
        }
    }

    #[test]
    fn an_odd_answer_is_read_alike_whatever_byte_of_it_changes() {
        let record = r#"{ "ApproximateArrivalTimestamp": -2.2e+43 , "Data": "+A0=" , "PartitionKey": "aé" , "SequenceNumber": "007" , "EncryptionType": "KMS" , "Other": ["Aaa",[false,0],{"Data":"Aaa"}] }"#;
        let body = format!(
            r#"{{ "NextShardIterator": null , "Records": [{record},{record} ] , "MillisBehindLatest": null , "ChildShards": null }}"#
        );
        let odd = [0, b' ', b'"', b'0', b'\\', b']', b'}', 0x80, 0xff];
        for (at, byte) in (0..body.len()).flat_map(|at| odd.map(|byte| (at, byte))) {
            let mut changed = body.clone().into_bytes();
            changed[at] = byte;
            assert_same(&changed);
        }
    }

    #[test]
    fn what_is_written_like_the_record_before_is_read_like_any_other() {
        let record = |data: &str, key: &str, number: &str| {
            format!(
                r#"{{"Data":"{data}","PartitionKey":{key},"Kind":"A","SequenceNumber":"{number}"}}"#
            )
        };
        let first = record("YWJj", r#""key""#, "123");
        // So long that the next payload, if it were as long, would end at the quote behind `Kind`.
        let trap = "A".repeat(32);
        for records in [
            vec![record("YWJj", r#""key""#, "124")],
            vec![
                record("YQ==", r#""longer""#, "1"),
                record("", "null", "1234"),
            ],
            vec![
                record("YWJj", r#""a\"b""#, "1"),
                record("YWJj", r#""é\n""#, "2"),
            ],
            vec![
                record(&trap, r#""key""#, "1"),
                record("YWJj", r#""key""#, "2"),
            ],
            vec![first.replace(r#""A""#, r#""B""#), first.replace(",", " ,")],
            vec![first.replace(r#""Kind":"A","#, ""), first.clone()],
        ] {
            let body = format!(r#"{{"Records":[{first},{}]}}"#, records.join(","));
            assert!(is_scanned(&body), "{body}");
        }
        let broken = [
            first.replace("YWJj", "YW\"j"),
            first.replace("123", "1\"3"),
            first.replace("\"Kind\"", "\"Data\""),
            first.replace('}', "]"),
        ];
        for record in broken {
            let body = format!(r#"{{"Records":[{first},{record}]}}"#);
            assert_same(body.as_bytes());
            assert!(fuzz::get_records(body.as_bytes()).1.is_err(), "{body}");
        }
    }

    #[test]
    fn seconds_lose_no_digit_or_are_left_alone() {
        for (text, millis) in [
            ("1761500000.123", Some(1_761_500_000_123)),
            ("1.761500000123E9", Some(1_761_500_000_123)),
            ("1.7615e9,", Some(1_761_500_000_000)),
            ("999999999999", Some(999_999_999_999_000)),
            ("1000000000000", None),
            ("1.0001", None),
            ("0.1", None),
            ("-1", None),
            ("1E-3", None),
            ("1E99999999999999999999", None),
            ("1.", None),
            ("1E", None),
            ("", None),
        ] {
            assert_eq!(
                Scanner::new(text.as_bytes()).seconds_as_millis(),
                millis,
                "{text}"
            );
        }
    }
}
