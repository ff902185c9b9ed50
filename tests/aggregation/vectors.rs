//! Reads `tests/data/vectors`, whose README says which library made what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kinesis_blocking::HashKey;
use kinesis_blocking::aggregation::SubRecord;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Reads one of the JSON files.
pub fn file(name: &str) -> Value {
    let path = format!("{}/tests/data/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    serde_json::from_str(&text).expect(&path)
}

/// Decodes a base64 string; the files leave the empty one out.
pub fn blob(text: &Value) -> Bytes {
    let text = text.as_str().unwrap_or_default();
    STANDARD.decode(text).expect("base64").into()
}

/// The user records of a vector, written out or as a recipe.
pub fn records(vector: &Value) -> Vec<SubRecord> {
    match vector.get("records") {
        Some(records) => {
            let records = records.as_array().expect("a list");
            records.iter().map(record).collect()
        }
        None => recipe(&vector["recipe"]),
    }
}

/// A record as `[partition_key, explicit_hash_key | null, data_base64, ..]`.
pub fn record(row: &Value) -> SubRecord {
    SubRecord {
        partition_key: row[0].as_str().expect("a partition key").into(),
        explicit_hash_key: row[1].as_str().map(|text| text.parse().expect("a number")),
        data: blob(&row[2]),
    }
}

/// The lower-case hexadecimal SHA-256.
pub fn sha256(data: &[u8]) -> String {
    let sum = Sha256::digest(data);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn recipe(recipe: &Value) -> Vec<SubRecord> {
    let number = |name: &str| recipe[name].as_u64().expect(name);
    let text = |name: &str| recipe[name].as_str().expect(name);
    let record = |i: u64| {
        let len = match number("len_mod") {
            0 => number("len_base"),
            modulus => number("len_base") + i * number("len_step") % modulus,
        };
        let skip_every = number("ehk_skip_every");
        let skipped = skip_every > 0 && i.is_multiple_of(skip_every);
        let has_hash_key = number("ehk_mod") > 0 && !skipped;
        SubRecord {
            partition_key: format!("{}{}", text("pk_prefix"), i % number("pk_mod")).into(),
            explicit_hash_key: has_hash_key.then(|| {
                let sum = hash(&format!("{}:ehk:{}", text("seed"), i % number("ehk_mod")));
                let high = sum.first_chunk().expect("32 bytes");
                HashKey::from(u128::from_be_bytes(*high))
            }),
            data: noise(text("seed"), i, len as usize),
        }
    };
    (0..number("count")).map(record).collect()
}

fn noise(seed: &str, i: u64, len: usize) -> Bytes {
    let blocks = (0..len.div_ceil(32)).flat_map(|block| hash(&format!("{seed}:{i}:{block}")));
    blocks.take(len).collect()
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[test]
fn the_recipes_are_followed() {
    let hex = |data: Bytes| data.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (seed, i, bytes) in [
        (
            "many_100_same_pk",
            0,
            "1077aee4b0392dbb100d410c881d80389b20f946",
        ),
        (
            "x",
            1,
            "25c86dc95bc9febeb477fa426e9ed621a4883ebf9bfa7630c69495c5171b5ca463deda2a53a79f13",
        ),
    ] {
        assert_eq!(hex(noise(seed, i, bytes.len() / 2)), bytes, "{seed}");
    }
}
