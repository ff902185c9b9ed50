use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use kinesis_blocking::HashKey;
use kinesis_blocking::aggregation::{SubRecord, decode, encode};

use crate::{json, printed, refused, run, text, tool};

fn records() -> Vec<SubRecord> {
    let mut second = SubRecord::new("b", &b"\xff not UTF-8"[..]);
    second.explicit_hash_key = Some(HashKey::MAX);
    vec![SubRecord::new("a", "one"), second]
}

#[test]
fn what_it_takes_apart_it_puts_together_again_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    let aggregate = encode(&records());
    fs::write(&before, &aggregate).expect("written");
    for more in [&[][..], &["--text"]] {
        let lines = printed(tool("aggregate").arg("unpack").arg(&before).args(more), "");
        assert_eq!(lines.lines().count(), 2);
        let mut pack = tool("aggregate");
        printed(pack.args(["pack", "-", "--output"]).arg(&after), &lines);
        assert_eq!(fs::read(&after).expect("an aggregate"), aggregate);
    }
}

#[test]
fn it_makes_as_many_aggregates_as_it_has_to() {
    let lines: String = (0..100)
        .map(|i| format!("{{\"partition_key\":\"k\",\"text\":\"order {i}\"}}\n"))
        .collect();
    for (limit, aggregates) in [
        ("--max-size=500", 3),
        ("--max-count=10", 10),
        ("--max-count=100", 1),
    ] {
        let packed = printed(tool("aggregate").args(["pack", limit]), &lines);
        assert_eq!(packed.lines().count(), aggregates, "{limit}");
        let user_records = packed.lines().map(|one| {
            let unpacked = printed(tool("aggregate").args(["unpack", "--base64"]), one);
            unpacked.lines().count()
        });
        assert_eq!(user_records.sum::<usize>(), 100, "{limit}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut several = tool("aggregate");
    several
        .args(["pack", "--max-count=50", "--output"])
        .arg(folder.path().join("one"));
    assert_eq!(
        refused(&mut several, &lines),
        "aggregate: these are 2 aggregates: leave --output out, or raise --max-size\n"
    );
}

/// Without and with padding, of a line's length and longer.
#[test]
fn it_takes_apart_what_pack_and_the_aws_command_line_print() {
    let aggregate = |size: usize| encode(&[SubRecord::new("a", "x".repeat(size))]);
    for sizes in [&[1, 2, 3][..], &[2, 5], &[30, 30], &[500, 7, 500], &[40]] {
        let packed = sizes
            .iter()
            .map(|size| BASE64_STANDARD.encode(aggregate(*size)));
        let packed: Vec<_> = packed.collect();
        let unpacked = |more: &[&str], input: &str| {
            let mut unpack = tool("aggregate");
            let lines = printed(unpack.args(["unpack", "--text"]).args(more), input);
            let lengths = lines
                .lines()
                .map(|line| json(line)["text"].as_str().map(str::len));
            lengths
                .map(|length| length.expect("text"))
                .collect::<Vec<_>>()
        };
        for separator in ["\n", "\t", " ", "\r\n"] {
            let several = packed.join(separator) + "\n";
            assert_eq!(unpacked(&["--base64"], &several), sizes, "{several}");
        }
        let records = packed
            .iter()
            .map(|data| serde_json::json!({ "Data": data }));
        let answer =
            serde_json::json!({ "Records": records.collect::<Vec<_>>(), "NextShardIterator": "x" });
        assert_eq!(unpacked(&[], &answer.to_string()), sizes);
        for width in [64, 76] {
            let whole = BASE64_STANDARD.encode(aggregate(500));
            let lines = whole.as_bytes().chunks(width).map(String::from_utf8_lossy);
            let wrapped = lines.collect::<Vec<_>>().join("\n");
            assert_eq!(unpacked(&["--base64"], &wrapped), [500]);
        }
    }
    let plain = BASE64_STANDARD.encode("plain");
    let mixed = format!(
        "{}\n{plain}\nno base64",
        BASE64_STANDARD.encode(aggregate(1))
    );
    let mut unpack = tool("aggregate");
    let told = refused(unpack.args(["unpack", "--base64"]), &mixed);
    assert!(
        told.starts_with("aggregate: record 3: no base64: "),
        "{told}"
    );
    let mixed = mixed.trim_end_matches("\nno base64");
    let told = refused(tool("aggregate").args(["unpack", "--base64"]), mixed);
    let expected =
        "aggregate: record 2: no aggregate: these 5 bytes are one plain record, or a damaged one\n";
    assert_eq!(told, expected);
}

#[test]
fn it_tells_which_user_records_lie_outside_a_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("aggregate");
    fs::write(&file, encode(&records())).expect("written");
    let mut unpack = tool("aggregate");
    unpack
        .arg("unpack")
        .arg(&file)
        .args(["--range", &format!("0-{}", u128::MAX - 1)]);
    let lines = printed(&mut unpack, "");
    let inside: Vec<_> = lines
        .lines()
        .map(|line| json(line)["in_range"].as_bool())
        .collect();
    assert_eq!(inside, [Some(true), Some(false)]);
    for wrong in ["5", "5-x", "6-5"] {
        let output = run(tool("aggregate").args(["unpack", "--range", wrong]), "");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn what_it_cannot_read_is_told() {
    let mut damaged = encode(&records()).to_vec();
    damaged[6] ^= 1;
    assert_eq!(decode(&Bytes::from(damaged.clone())), Ok(None));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("aggregate");
    fs::write(&file, damaged).expect("written");
    let told = refused(tool("aggregate").arg("unpack").arg(&file), "");
    assert!(
        told.contains("one plain record, or a damaged one"),
        "{told}"
    );
    // Its checksum is right, and its second user record has a partition key that is not there.
    let told = refused(
        tool("aggregate").args(["unpack", "--base64"]),
        "84mawgoBYRoJCICAgIAQGgF4NGTK18XHZj38mg/p99jSHg==",
    );
    assert!(
        told.starts_with("aggregate: aggregate cannot be read: "),
        "{told}"
    );
    for (input, problem) in [
        ("{}", "line 1: no JSON object with partition_key and data: "),
        (
            "{\"partition_key\":\"a\",\"data\":\"*\"}",
            "line 1: its data are not base64: ",
        ),
        (
            "{\"partition_key\":\"a\",\"text\":\"\",\"explicit_hash_key\":\"x\"}",
            "line 1: its explicit hash key: ",
        ),
    ] {
        let told = refused(tool("aggregate").arg("pack"), input);
        assert!(told.starts_with(&format!("aggregate: {problem}")), "{told}");
    }
}
