use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::aws::AwsConfig;
use crate::config::keys::{self, KnownKey};
use crate::error::{Error, Result};

/// Keys and values as Java's `.properties` files have them, before anything has been made of them.
///
/// A configuration of Flink's Kinesis connector goes in as it is. What a [`Client`](crate::Client),
/// a [`ConsumerConfig`](crate::ConsumerConfig) or a [`ProducerConfig`](crate::ProducerConfig) knows
/// of it, it takes; the page [`configuration`](crate::manual::configuration) has every key.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::{Client, ConsumerConfig, Properties};
///
/// let properties = Properties::parse(
///     "aws.region = us-east-1
///      aws.credentials.provider.basic.accesskeyid = aws_access_key_id
///      aws.credentials.provider.basic.secretkey = aws_secret_access_key
///      flink.stream.initpos = TRIM_HORIZON",
/// )?;
/// let client = Client::from_properties(&properties)?;
/// let config = ConsumerConfig::from_properties(&properties)?;
/// # drop((client, config));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: BTreeMap<String, String>,
}

impl Properties {
    /// Makes properties without any key.
    pub fn new() -> Properties {
        Properties::default()
    }

    /// Reads the text of a `.properties` file.
    ///
    /// A line is a key, a separator (`=`, `:` or blanks) and a value. `#` and `!` begin a comment, a
    /// backslash at its end joins a line to the next, and in keys and values a backslash begins
    /// `\t`, `\n`, `\r`, `\f`, `\uXXXX`, or stands before a character that is to be taken as it is.
    /// Of a key that comes twice the last value counts.
    ///
    /// Source: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>
    ///
    /// # Errors
    /// `Config`: `\u` is not followed by four hexadecimal digits, or they make no character.
    pub fn parse(text: &str) -> Result<Properties> {
        let mut properties = Properties::new();
        // A byte order mark, which Notepad writes, is no part of the first key.
        for (number, line) in logical_lines(text.trim_start_matches('\u{feff}')) {
            let (key, value) = split(&line);
            let read = |part| unescape(part).map_err(|escape| bad_escape(number, &escape));
            properties.values.insert(read(key)?, read(value)?);
        }
        Ok(properties)
    }

    /// Reads a `.properties` file of at most 1 MiB. Blocks while it does.
    ///
    /// The file is UTF-8, or if it is not valid as that, ISO-8859-1, which Java once took; UTF-16 if it begins with a byte
    /// order mark of that.
    ///
    /// # Errors
    /// `Config`: the file cannot be read or is too long, or what [`parse`](Self::parse) finds.
    pub fn load(path: impl AsRef<Path>) -> Result<Properties> {
        let path = path.as_ref();
        let fails = |lack: String| {
            let expected = format!("a file of properties that can be read: {lack}");
            Error::config("properties", path.display().to_string(), expected)
        };
        let mut bytes = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| fails(error.to_string()))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(fails(format!("it is longer than {MAX_BYTES} bytes")));
        }
        let text = text_of(bytes).map_err(|lack| fails(lack.to_owned()))?;
        Properties::parse(&text)
    }

    /// Makes sure that every key is known that looks like one of Flink's or the KPL's.
    ///
    /// Without it such a key has no effect, as with Flink, and the log says so. Keys of others, such
    /// as `kafka.topic`, are left alone.
    ///
    /// # Errors
    /// `Config`: every key that is not known, each with the one that may be meant.
    pub fn strict(self) -> Result<Properties> {
        match Error::several(keys::strangers(&self)) {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// Lists every key that is known, by what it concerns.
    ///
    /// ```
    /// use kinesis_blocking::Properties;
    ///
    /// for (family, keys) in Properties::known() {
    ///     for key in keys {
    ///         println!("{family}: {} takes {}", key.name, key.takes);
    ///     }
    /// }
    /// ```
    pub fn known() -> impl Iterator<Item = (&'static str, Vec<KnownKey>)> {
        keys::known().into_iter()
    }

    /// Takes what concerns calls, and tells the log of keys that nothing will take.
    pub(crate) fn aws(&self) -> Result<AwsConfig> {
        for stranger in keys::strangers(self) {
            log::warn!("a key without effect: {stranger}");
        }
        keys::client(self)
    }

    /// Sets a key, in place of what it had.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Properties {
        self.values.insert(key.into(), value.into());
        self
    }

    /// Returns a key's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// A key's value without the blanks around it. Java keeps those behind a value, and then knows no `TRIM_HORIZON `;
    /// the KCL trims.
    pub(in crate::config) fn trimmed(&self, key: &str) -> Option<&str> {
        self.get(key).map(str::trim)
    }

    /// Iterates over keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Properties {
        let pairs = pairs.into_iter();
        Properties {
            values: pairs
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        }
    }
}

/// Shows keys only: values may be secrets.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// The text of a file: UTF-16 where it begins with that encoding's mark, as PowerShell writes it, else UTF-8, else
/// ISO-8859-1. The mark itself belongs to no key.
fn text_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    let pairs = || bytes[2..].chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    let units: Vec<u16> = match &bytes[..] {
        [0xff, 0xfe, ..] => pairs().map(u16::from_le_bytes).collect(),
        [0xfe, 0xff, ..] => pairs().map(u16::from_be_bytes).collect(),
        _ => return Ok(String::from_utf8(bytes).unwrap_or_else(|error| latin_1(error.as_bytes()))),
    };
    match bytes.len() % 2 {
        0 => String::from_utf16(&units).map_err(|_| "it begins as UTF-16 and is not valid as that"),
        _ => Err("it begins as UTF-16 and breaks off in the middle of a character"),
    }
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Joins the lines that go on, leaves out comments and what is empty, and numbers the rest from 1.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, Cow<'_, str>)> {
    let mut natural = natural_lines(text).enumerate();
    std::iter::from_fn(move || {
        loop {
            let (at, line) = natural.next()?;
            let line = line.trim_start_matches(BLANKS);
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let mut whole = Cow::Borrowed(line);
            while goes_on(&whole) {
                let joined = whole.to_mut();
                joined.pop();
                let next = natural.next().map_or("", |(_, line)| line);
                joined.push_str(next.trim_start_matches(BLANKS));
            }
            return Some((at + 1, whole));
        }
    })
}

/// Splits at `\n`, `\r` and `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines.flat_map(|line| line.split('\r'))
}

/// Says whether a line ends in a backslash that is not itself escaped.
fn goes_on(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|&byte| byte == b'\\').count();
    backslashes % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (SEPARATORS.contains(&c) || BLANKS.contains(&c));
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest.strip_prefix(SEPARATORS).unwrap_or(rest);
    (key, value.trim_start_matches(BLANKS))
}

/// Resolves the backslashes of a key or a value, or tells the escape that means nothing.
fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let mut after = rest[at + 1..].chars();
        match after.next() {
            Some('u') => {
                let (c, behind) = unicode(&rest[at..])?;
                plain.push(c);
                rest = behind;
                continue;
            }
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some(itself) => plain.push(itself),
            None => {}
        }
        rest = after.as_str();
    }
    plain.push_str(rest);
    Ok(plain)
}

/// Reads one `\uXXXX`, or two that are a surrogate pair.
fn unicode(text: &str) -> Result<(char, &str), String> {
    let fails = || text.chars().take(6).collect::<String>();
    let (first, rest) = utf16_unit(text).ok_or_else(fails)?;
    let first_alone = char::from_u32(u32::from(first));
    if let Some(c) = first_alone {
        return Ok((c, rest));
    }
    let (second, rest) = utf16_unit(rest).ok_or_else(fails)?;
    let pair = char::decode_utf16([first, second])
        .next()
        .and_then(|c| c.ok());
    pair.map(|c| (c, rest)).ok_or_else(fails)
}

fn utf16_unit(text: &str) -> Option<(u16, &str)> {
    let digits = text.strip_prefix("\\u")?;
    let (digits, rest) = digits.split_at_checked(4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    Some((unit, rest))
}

fn bad_escape(line: usize, escape: &str) -> Error {
    Error::config(
        &format!("properties, line {line}"),
        escape,
        "a character: \\u takes four hexadecimal digits, and a surrogate its other half",
    )
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];
const SEPARATORS: [char; 2] = ['=', ':'];

/// A thousand times what all keys together take.
const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        let properties = Properties::parse(text).expect("well-formed");
        let pairs = properties.iter();
        pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    #[test]
    fn every_form_of_a_line_is_read_as_java_reads_it() {
        for (text, key, value) in [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("  a \t = \x0c b ", "a", "b "),
            ("a = = b", "a", "= b"),
            ("a  :  b:c", "a", "b:c"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            ("a\\ b\\=c\\:d = e", "a b=c:d", "e"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\r\n\tc\\\r\td", "a", "bcd"),
            ("a=b\\\\\nc=d", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a\\\n=b", "a", "b"),
            ("a=\\t\\n\\r\\f\\q\\\\", "a", "\t\n\r\x0cq\\"),
            (
                "a=\\u00e9\\u20AC\\uD83D\\uDE00x",
                "a",
                "\u{e9}\u{20ac}\u{1f600}x",
            ),
            ("a=b#c!d", "a", "b#c!d"),
            ("# c\\\na=b", "a", "b"),
            ("a=1\na=2", "a", "2"),
            ("a=h\u{e9}", "a", "h\u{e9}"),
            ("\u{feff}a=b", "a", "b"),
        ] {
            assert_eq!(parsed(text)[0], (key.into(), value.into()), "{text:?}");
        }
        for text in ["", "\n\r\n  \t", "# a=b", "  ! a=b"] {
            assert_eq!(parsed(text), [], "{text:?}");
        }
        assert_eq!(parsed("a=1\rb=2\r\nc=3\n").len(), 3);
    }

    #[test]
    fn an_escape_that_means_nothing_is_told_with_its_line() {
        for escape in [
            "\\u12",
            "\\u12g4",
            "\\u+123",
            "\\ud800",
            "\\ud800x",
            "\\ud800\\u0041",
        ] {
            let error = Properties::parse(&format!("a=1\nb=x{escape}")).expect_err("no character");
            let text = error.to_string();
            let told: String = escape.chars().take(6).collect();
            assert!(text.starts_with("properties, line 2: "), "{text}");
            assert!(text.contains(&told.replace('\\', "\\\\")), "{text}");
        }
    }

    #[test]
    fn a_file_is_utf_16_by_its_mark_or_utf_8_or_else_latin_1() {
        assert_eq!(text_of("h\u{e9}".into()), Ok("h\u{e9}".to_owned()));
        assert_eq!(text_of(vec![b'h', 0xe9]), Ok("h\u{e9}".to_owned()));
        let units = "\u{feff}a=h\u{e9}".encode_utf16();
        let little: Vec<u8> = units.clone().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
        for bytes in [&little, &big] {
            assert_eq!(text_of(bytes.clone()), Ok("a=h\u{e9}".to_owned()));
            assert!(text_of(bytes[..bytes.len() - 1].to_vec()).is_err());
        }
        assert!(
            text_of(vec![0xff, 0xfe, 0x00, 0xd8]).is_err(),
            "half a pair"
        );
        let missing = Properties::load("/nowhere/flink.properties").expect_err("no file");
        assert!(missing.to_string().starts_with(
            "properties: \"/nowhere/flink.properties\" is not a file of properties that can be read"
        ));
    }

    #[test]
    fn debug_shows_no_value() {
        let properties = Properties::from_iter([("aws.secretKey", "hidden")]);
        assert_eq!(format!("{properties:?}"), "{\"aws.secretKey\"}");
    }
}
