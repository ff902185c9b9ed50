//! The manual's page of tools shows what they print.
//!
//! In a block of `console`, a line that begins with `$ ` is run by a shell, with the lines that begin
//! with `> ` behind it, and what follows is what it printed. A comment `<!-- fake: … -->` changes the fake before the next block. Run with
//! UPDATE_PAGES=1 to write the page anew.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use kinesis_blocking::fake::{FakeKinesis, FakeServer, StoredRecord, VirtualClock};
use kinesis_blocking::{
    Checkpoint, Commit, HashKey, PutRecordsEntry, ShardPosition, ShardRef, StartPosition, Timestamp,
};

use crate::{programs, save, text};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/tools.md");

/// 2026-01-31T12:00:00Z
const START: Timestamp = Timestamp::from_millis(1_769_860_800_000);

const FILES: [(&str, &str); 2] = [
    (
        "orders.jsonl",
        r#"{"customer":{"id":"anna"},"item":"one coffee"}
{"customer":{"id":"ben"},"item":"two teas"}
{"customer":{"id":"anna"},"item":"a bill"}
"#,
    ),
    (
        "records.jsonl",
        r#"{"partition_key":"anna","text":"one coffee"}
{"partition_key":"ben","text":"two teas"}
"#,
    ),
];

#[test]
fn the_page_of_tools_shows_what_they_print() {
    let page = fs::read_to_string(PAGE).expect("the page");
    let now = World::new().replay(&page);
    if env::var_os("UPDATE_PAGES").is_some() {
        fs::write(PAGE, now).expect("the page is written");
        return;
    }
    assert_eq!(page, now, "run this test with UPDATE_PAGES=1");
}

struct World {
    clock: VirtualClock,
    kinesis: FakeKinesis,
    server: FakeServer,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let clock = VirtualClock::starting_at(START);
        let kinesis = FakeKinesis::on_clock(clock.clone());
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in FILES {
            fs::write(folder.path().join(name), content).expect("written");
        }
        World {
            server: kinesis.serve().expect("a socket"),
            clock,
            kinesis,
            folder,
        }
    }

    /// Does what a page says, and gives the page with what is printed now.
    fn replay(mut self, page: &str) -> String {
        let mut now = String::new();
        let mut in_block = false;
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let is_fence = line.starts_with("```");
            if let Some(command) = line.strip_prefix("$ ").filter(|_| in_block) {
                let mut command = command.to_owned();
                now += &format!("{line}\n");
                while let Some(more) = lines.next_if(|line| line.starts_with("> ")) {
                    command += &more[1..];
                    now += &format!("{more}\n");
                }
                now += &self.run(&command);
                continue;
            }
            if let Some(order) = line.strip_prefix("<!-- fake: ") {
                self.obey(order.trim_end_matches(" -->"));
            }
            if is_fence {
                in_block = line == "```console";
            }
            if !in_block || is_fence {
                now += &format!("{line}\n");
            }
        }
        now
    }

    fn run(&self, command: &str) -> String {
        let path = env::var("PATH").expect("a PATH");
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n{command}"))
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", programs().display()))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL_KINESIS", self.server.endpoint())
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .output();
        text(&output.expect("a shell").stdout)
    }

    fn obey(&mut self, order: &str) {
        let words: Vec<_> = order.split(' ').collect();
        let shard = |number: &str| format!("shardId-{:012}", number.parse::<u32>().expect(order));
        let client = self.kinesis.client();
        match words[..] {
            ["stream", name, shards] => {
                let shards = shards.parse().expect(order);
                client.create_stream(name, shards).expect(order);
            }
            ["wait", seconds] => {
                let seconds = seconds.parse().expect(order);
                self.clock.advance(Duration::from_secs(seconds));
            }
            ["split", stream, number] => {
                let shards = client.list_shards(stream).expect(order);
                let at = ShardRef::new(stream, shard(number));
                let owner = shards
                    .iter()
                    .find(|one| one.id == at.shard_id)
                    .expect(order);
                let middle = owner.hash_key_range.midpoint();
                client.split_shard(&at, middle).expect(order);
            }
            ["merge", stream, one, other] => {
                let at = ShardRef::new(stream, shard(one));
                client.merge_shards(&at, &shard(other).into()).expect(order);
            }
            ["put", stream, count] => {
                let entries = entries(count.parse().expect(order));
                client.put_records(stream, &entries).expect(order);
            }
            ["read", file, stream] => self.save(&self.folder.path().join(file), stream),
            _ => panic!("no order to the fake: {order}"),
        }
    }

    /// Saves the checkpoint of a consumer that has read everything until now.
    fn save(&self, file: &Path, stream: &str) {
        let mut checkpoint = Checkpoint::default();
        let records = self.kinesis.records(stream);
        for shard in self.kinesis.client().list_shards(stream).expect("listed") {
            let own = |record: &&StoredRecord| record.shard_id == shard.id;
            let position = match records.iter().rfind(own) {
                _ if !shard.is_open() => ShardPosition::ShardEnd,
                Some(last) => ShardPosition::After {
                    sequence_number: last.sequence_number.clone(),
                    sub_sequence_number: None,
                },
                None => ShardPosition::Start(StartPosition::TrimHorizon),
            };
            let shard = ShardRef::new(stream, shard.id);
            checkpoint.insert(shard, position, Some(self.clock.time()));
        }
        save(file, &Commit::new(checkpoint, None));
    }
}

/// Records that are spread over all hash keys.
fn entries(count: u32) -> Vec<PutRecordsEntry> {
    let step = u128::MAX / u128::from(count);
    let entry = |n: u32| PutRecordsEntry {
        data: format!("order {n}").into(),
        partition_key: "any".into(),
        explicit_hash_key: Some(HashKey::from(step * u128::from(n))),
    };
    (0..count).map(entry).collect()
}
