//! The rules the service holds requests against, and the words in which it refuses.

use std::fmt::Display;

use serde::de::DeserializeOwned;

use crate::fake::refusal::Refusal;
use crate::model::HashKey;

/// Reads a request's body into the members a handler asks for; others are passed over.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new("SerializationException", error.to_string()))
}

/// Finds the stream's name, given as such or as the end of an ARN.
pub(super) fn stream_name(name: Option<String>, arn: Option<String>) -> Result<String, Refusal> {
    let name = match (name, arn) {
        (Some(name), None) => name,
        (name, Some(arn)) => {
            let of_arn = name_in_arn(&arn)?;
            if name.is_some_and(|name| name != of_arn) {
                return Err(Refusal::invalid(
                    "StreamARN and StreamName are not consistent.",
                ));
            }
            of_arn
        }
        (None, None) => {
            return Err(Refusal::invalid(
                "Either StreamARN or StreamName must be provided.",
            ));
        }
    };
    length(&name, "streamName", 1, 128)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !name.bytes().all(allowed) {
        let rule = "satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
        return Err(Refusal::validation(name, "streamName", rule));
    }
    Ok(name)
}

fn name_in_arn(arn: &str) -> Result<String, Refusal> {
    let name = arn
        .strip_prefix("arn:aws")
        .and_then(|rest| rest.split_once(":stream/"))
        .map(|(_, name)| name.to_owned());
    name.ok_or_else(|| {
        let rule = "satisfy regular expression pattern: arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+";
        Refusal::validation(arn, "streamARN", rule)
    })
}

pub(super) fn required<T>(value: Option<T>, at: impl Display) -> Result<T, Refusal> {
    value.ok_or_else(|| Refusal::missing(at))
}

/// Says whether a count lies in its range, both ends included.
pub(super) fn range(value: i64, at: impl Display, min: i64, max: i64) -> Result<i64, Refusal> {
    let rule = match value {
        _ if value < min => format!("have value greater than or equal to {min}"),
        _ if value > max => format!("have value less than or equal to {max}"),
        _ => return Ok(value),
    };
    Err(Refusal::validation(value, at, rule))
}

/// Says whether a text has the right number of characters.
pub(super) fn length(text: &str, at: impl Display, min: usize, max: usize) -> Result<(), Refusal> {
    let characters = text.chars().count();
    let rule = match characters {
        _ if characters < min => format!("have length greater than or equal to {min}"),
        _ if characters > max => format!("have length less than or equal to {max}"),
        _ => return Ok(()),
    };
    Err(Refusal::validation(text, at, rule))
}

/// Reads a hash key as strictly as the service: no sign, no blanks, no zeros before it.
pub(super) fn hash_key(text: &str, at: impl Display) -> Result<HashKey, Refusal> {
    let plain = text == "0" || (!text.starts_with('0') && !text.is_empty());
    if !plain || text.len() > 39 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let rule = "satisfy regular expression pattern: 0|([1-9]\\d{0,38})";
        return Err(Refusal::validation(text, at, rule));
    }
    text.parse().map_err(|_| {
        Refusal::invalid(format!(
            "Invalid {at}. Value {text} is not a valid 128-bit hash key: it must be from 0 to {}.",
            HashKey::MAX
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_or_given_by_its_arn() {
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
        for (name, arn, found) in [
            (Some("orders"), None, Some("orders")),
            (None, Some(arn), Some("orders")),
            (Some("orders"), Some(arn), Some("orders")),
            (Some("other"), Some(arn), None),
            (None, Some("orders"), None),
            (None, None, None),
            (Some(""), None, None),
            (Some("a b"), None, None),
        ] {
            let given = (name.map(str::to_owned), arn.map(str::to_owned));
            let named = stream_name(given.0, given.1);
            assert_eq!(named.ok().as_deref(), found, "{name:?} {arn:?}");
        }
    }

    #[test]
    fn a_count_is_refused_below_and_above_its_range() {
        let words = |value| range(value, "limit", 1, 10_000).err().map(|no| no.message);
        let refusal = |value: i64, rule: &str| {
            Some(format!(
                "1 validation error detected: Value '{value}' at 'limit' failed to satisfy \
                 constraint: Member must have value {rule}"
            ))
        };
        assert_eq!(words(0), refusal(0, "greater than or equal to 1"));
        assert_eq!((words(1), words(10_000)), (None, None));
        assert_eq!(
            words(10_001),
            refusal(10_001, "less than or equal to 10000")
        );
    }

    #[test]
    fn a_hash_key_has_no_ornaments() {
        for (text, taken) in [
            ("0", true),
            ("340282366920938463463374607431768211455", true),
            ("340282366920938463463374607431768211456", false),
            ("007", false),
            ("+7", false),
            (" 7", false),
            ("", false),
            ("-1", false),
        ] {
            assert_eq!(hash_key(text, "explicitHashKey").is_ok(), taken, "{text:?}");
        }
    }
}
