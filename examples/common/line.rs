use base64::prelude::{BASE64_STANDARD, Engine};
use kinesis_blocking::HashKey;
use kinesis_blocking::aggregation::SubRecord;
use serde::{Deserialize, Serialize};

/// A user record as one JSON object, as `tail --format json` and `aggregate unpack` print it, and
/// `put --format json` and `aggregate pack` read it. Other members are left alone.
#[derive(Serialize, Deserialize)]
pub struct Line {
    partition_key: String,
    #[serde(default)]
    explicit_hash_key: Option<String>,
    #[serde(flatten)]
    payload: Payload,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    /// In base64.
    Data(String),
    /// As it is.
    Text(String),
}

impl Line {
    /// `as_text` writes data that are UTF-8 as they are, and the others in base64 all the same.
    #[allow(dead_code, reason = "put only reads")]
    pub fn new(key: &str, hash_key: Option<HashKey>, data: &[u8], as_text: bool) -> Line {
        let text = as_text.then(|| std::str::from_utf8(data).ok()).flatten();
        Line {
            partition_key: key.to_owned(),
            explicit_hash_key: hash_key.map(|key| key.to_string()),
            payload: match text {
                Some(text) => Payload::Text(text.to_owned()),
                None => Payload::Data(BASE64_STANDARD.encode(data)),
            },
        }
    }

    #[allow(dead_code, reason = "tail only writes")]
    pub fn read(json: &[u8]) -> Result<SubRecord, String> {
        let line: Line = serde_json::from_slice(json)
            .map_err(|error| format!("no JSON object with partition_key and data: {error}"))?;
        let data = match line.payload {
            Payload::Text(text) => text.into_bytes(),
            Payload::Data(base64) => BASE64_STANDARD
                .decode(base64)
                .map_err(|error| format!("its data are not base64: {error}"))?,
        };
        let hash_key = line.explicit_hash_key.map(|key| key.parse());
        let mut record = SubRecord::new(line.partition_key, data);
        record.explicit_hash_key = hash_key
            .transpose()
            .map_err(|error| format!("its explicit hash key: {error}"))?;
        Ok(record)
    }
}
