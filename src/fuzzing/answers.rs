//! Targets for what others write: profiles' files, and the answers of services.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::Response;
use serde_json::Value;

use crate::client::fuzz;
use crate::credentials::profile::file::{Kind, Sections, parse};
#[cfg(feature = "sts")]
use crate::credentials::sts;
use crate::error::{Error, ErrorKind};

/// Reads the input as both of the user's files; what was read is read again the same.
pub fn profile_file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for kind in [Kind::Config, Kind::Credentials] {
        match parse(&text, kind) {
            Ok(sections) => assert_eq!(parse(&written(&sections, kind), kind), Ok(sections)),
            Err(wrong) => assert!(wrong.starts_with("line ") && wrong.len() < 100, "{wrong}"),
        }
    }
}

/// Reads the input as STS's answer, good and bad.
#[cfg(feature = "sts")]
pub fn sts_response(input: &[u8]) {
    match sts::credentials(input) {
        Ok(credentials) => assert!(!credentials.access_key_id().is_empty()),
        Err(error) => assert_told(&error),
    }
    assert_told(&sts::refusal(400, input));
}

/// Reads the input as the body of an error: its first line is the header with the error's name.
pub fn error_body(input: &[u8]) {
    let header_end = input.iter().position(|byte| *byte == b'\n');
    let (header, body) = input.split_at(header_end.unwrap_or(0));
    let mut response = Response::builder().status(400);
    if let Ok(header) = http::HeaderValue::from_bytes(header)
        && header_end.is_some()
    {
        response = response.header("x-amzn-errortype", header);
    }
    let body = Bytes::copy_from_slice(body.strip_prefix(b"\n").unwrap_or(body));
    let error = fuzz::error(&response.body(body).expect("a response"));
    assert_told(&error);
    assert!(matches!(
        error.kind(),
        ErrorKind::Service { status: 400, .. }
    ));
}

/// Reads the input as GetRecords' answer, in all ways there are: what the scanner reads, serde reads
/// the same, and a tree of all of it as well. Then as PutRecords' answer.
pub fn get_records_json(input: &[u8]) {
    put_records_json(input);
    let (scanned, by_serde) = fuzz::get_records(input);
    let output = match by_serde {
        Ok(output) => output,
        Err(error) => {
            assert!(
                scanned.is_none() || !has_tree(input),
                "scanned, but {error}"
            );
            return assert_told(&error);
        }
    };
    if let Some(scanned) = scanned {
        assert_eq!(format!("{scanned:?}"), format!("{output:?}"));
    }
    let Ok(tree) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let listed = tree["Records"].as_array().expect("records");
    assert_eq!(output.records.len(), listed.len());
    for (record, listed) in output.records.iter().zip(listed) {
        let data = text(&listed["Data"]).expect("text");
        let data = data.trim_end_matches('=');
        assert_eq!(STANDARD_NO_PAD.decode(data).expect("base64"), record.data);
        let key = text(&listed["PartitionKey"]).unwrap_or_default();
        assert_eq!(key, &*record.partition_key);
        let number = text(&listed["SequenceNumber"]).expect("text");
        assert_eq!(number.parse(), Ok(record.sequence_number.clone()));
    }
    let next = &tree["NextShardIterator"];
    assert_eq!(output.next.is_some(), text(next).is_some());
    if let Some(behind) = tree["MillisBehindLatest"].as_u64() {
        assert_eq!(output.millis_behind_latest, Some(behind));
    }
}

/// Says whether a tree can be made of it, which is how odd answers are read. It is stricter with what is
/// passed over: bytes that are no UTF-8, halves of surrogates, numbers beyond all range.
fn has_tree(input: &[u8]) -> bool {
    serde_json::from_slice::<Value>(input).is_ok()
}

/// What counts as a text: a number may have been meant as one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn put_records_json(input: &[u8]) {
    match fuzz::put_records(input) {
        (None, Err(error)) => assert_told(&error),
        (Some(_), Err(error)) => assert!(!has_tree(input), "scanned, but {error}"),
        (scanned, Ok(outcomes)) => assert_eq!(scanned.unwrap_or(outcomes.clone()), outcomes),
    }
}

/// Reads the input as ListShards' answer, and by way of a tree, where both can.
pub fn list_shards_json(input: &[u8]) {
    let (shards, next) = match fuzz::list_shards(Bytes::copy_from_slice(input)) {
        Ok(page) => page,
        Err(error) => return assert_told(&error),
    };
    let Ok(tree) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let listed = tree["Shards"].as_array().expect("shards");
    assert_eq!(shards.len(), listed.len());
    for (shard, listed) in shards.iter().zip(listed) {
        assert_eq!(text(&listed["ShardId"]).as_deref(), Some(shard.id.as_str()));
        let range = &listed["HashKeyRange"];
        let start = text(&range["StartingHashKey"]).expect("text");
        assert_eq!(start.parse(), Ok(shard.hash_key_range.start));
        let parent = shard.parent.as_ref().map(|parent| parent.as_str());
        let listed_parent = text(&listed["ParentShardId"]).filter(|text| !text.is_empty());
        assert_eq!(listed_parent.as_deref(), parent);
        let ending = &listed["SequenceNumberRange"]["EndingSequenceNumber"];
        assert_eq!(text(ending).is_some(), !shard.is_open());
    }
    assert_eq!(
        next.is_some(),
        text(&tree["NextToken"]).is_some_and(|token| !token.is_empty())
    );
}

fn written(sections: &Sections, kind: Kind) -> String {
    let mut text = String::new();
    for (name, properties) in &sections.profiles {
        let header = match kind {
            // A name in quotes may begin and end with blanks.
            Kind::Config => format!("profile \"{name}\""),
            Kind::Credentials => name.clone(),
        };
        push_section(&mut text, &header, properties);
    }
    for (name, properties) in &sections.sso_sessions {
        push_section(&mut text, &format!("sso-session \"{name}\""), properties);
    }
    for (name, services) in &sections.services {
        push_section(&mut text, &format!("services \"{name}\""), &BTreeMap::new());
        for (service, properties) in services {
            text.push_str(&format!("{service}=\n"));
            for (property, value) in properties {
                text.push_str(&format!(" {property}={value}\n"));
            }
        }
    }
    text
}

fn push_section(text: &mut String, header: &str, properties: &BTreeMap<String, String>) {
    text.push_str(&format!("[{header}]\n"));
    for (property, value) in properties {
        text.push_str(&format!("{property}={value}\n"));
    }
}

/// An error's text is a line of bearable length.
fn assert_told(error: &Error) {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.chars().count() < 1_000, "{text}");
}
