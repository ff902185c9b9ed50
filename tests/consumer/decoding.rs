//! A decoder on the shards' threads, and records that it refuses.

use std::sync::{Arc, Mutex};

use kinesis_blocking::{ConsumerBuilder, ErrorKind, PoisonPolicy};

use super::*;

/// Reads numbers.
fn decoder(client: &Client, policy: PoisonPolicy) -> ConsumerBuilder {
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(all());
    builder
        .decoder(|record: &Record| data(record).parse::<u64>())
        .on_poison(policy)
}

/// Puts plain records and one aggregate of the last three into the only shard.
fn put_numbers(client: &Client, plain: &[&str], aggregated: &[&str]) {
    put(client, plain.iter().map(|text| (*text).to_owned()));
    let records: Vec<_> = aggregated
        .iter()
        .map(|text| SubRecord::new("key", (*text).to_owned()))
        .collect();
    client
        .put_records("orders", &[entry("key", encode(&records))])
        .expect("answered");
}

fn numbers(consumer: &mut Consumer) -> Vec<u64> {
    let value = |record: Result<Record>| record.expect("a record").take_decoded();
    consumer
        .map(|record| value(record).expect("a number"))
        .collect()
}

#[test]
fn values_come_in_order_and_a_clone_keeps_its_own() {
    let client = client(1);
    put_numbers(&client, &["1", "2"], &["3", "4", "5"]);
    let mut consumer = decoder(&client, PoisonPolicy::Fail)
        .start()
        .expect("started");
    let mut first = consumer.next().expect("more").expect("a record");
    assert_eq!(
        (first.decoded::<u64>(), first.decoded::<u32>()),
        (Some(&1), None)
    );
    let copy = first.clone();
    assert_eq!(first.take_decoded::<u64>(), None, "the clone has it too");
    drop(copy);
    assert_eq!(first.take_decoded::<String>(), None, "no text");
    assert_eq!(first.take_decoded::<u64>(), Some(1));
    assert_eq!(first.decoded::<u64>(), None);
    assert_eq!(numbers(&mut consumer), [2, 3, 4, 5]);
}

#[test]
fn what_is_skipped_never_comes_again_also_at_the_end_of_an_aggregate() {
    let client = client(1);
    put_numbers(&client, &["1", "x"], &["2", "y", "z"]);
    let mut skipping = decoder(&client, PoisonPolicy::Skip)
        .start()
        .expect("started");
    assert_eq!(numbers(&mut skipping), [1, 2]);
    assert_eq!(skipping.metrics().total.poison_records, 3);
    let checkpoint = skipping.close().expect("closed");
    let failing = decoder(&client, PoisonPolicy::Fail).restore(checkpoint);
    assert_eq!(
        numbers(&mut failing.start().expect("started")),
        Vec::<u64>::new()
    );
}

#[test]
fn a_failure_is_covered_by_no_checkpoint_and_comes_again_for_a_better_decoder() {
    let client = client(1);
    put_numbers(&client, &["1"], &["2", "x", "3"]);
    let mut failing = decoder(&client, PoisonPolicy::Fail)
        .start()
        .expect("started");
    let outcomes: Vec<_> = failing.by_ref().collect();
    let (error, records) = outcomes.split_last().expect("outcomes");
    let error = error.as_ref().expect_err("refused");
    assert_eq!(records.len(), 2);
    assert!(matches!(
        error.kind(),
        ErrorKind::Poison {
            sub_sequence_number: Some(1),
            ..
        }
    ));
    assert!(
        error
            .to_string()
            .starts_with("stream orders, shard shardId-000000000000: the decoder")
    );
    let checkpoint = failing.close().expect("closed");
    let mut again = restored(&client, all(), checkpoint);
    assert_eq!(read(&mut again), ["x", "3"]);
}

#[test]
fn a_halted_shard_holds_no_other_up() {
    let client = client(2);

    let at = |key: HashKey, data: &'static str| PutRecordsEntry {
        explicit_hash_key: Some(key),
        ..entry("key", Bytes::from_static(data.as_bytes()))
    };
    let entries = [
        at(HashKey::MIN, "1"),
        at(HashKey::MIN, "x"),
        at(HashKey::MIN, "2"),
        at(HashKey::MAX, "3"),
        at(HashKey::MAX, "4"),
    ];
    client.put_records("orders", &entries).expect("answered");
    let mut halting = decoder(&client, PoisonPolicy::HaltShard)
        .start()
        .expect("started");
    let (mut values, mut halted) = (Vec::new(), Vec::new());
    loop {
        match halting
            .next_event(Duration::from_secs(30))
            .expect("an event")
        {
            Event::Record(mut record) => {
                values.push(record.take_decoded::<u64>().expect("a number"))
            }
            Event::ShardHalted(shard, error) => halted.push((shard, error)),
            Event::Ended => break,
            _ => {}
        }
    }
    values.sort();
    assert_eq!(values, [1, 3, 4]);
    let [(shard, error)] = &halted[..] else {
        panic!("{halted:?}")
    };
    assert_eq!(error.shard(), Some(shard));
    let rest = decoder(&client, PoisonPolicy::Skip).restore(halting.close().expect("closed"));
    assert_eq!(numbers(&mut rest.start().expect("started")), [2]);
}

#[test]
fn a_dead_letter_is_somebody_elses_before_a_checkpoint_covers_it() {
    let client = client(1);
    put_numbers(&client, &["1", "x", "2"], &["3", "y"]);
    let letters: Arc<Mutex<Vec<String>>> = Arc::default();
    let taken = letters.clone();
    let policy = PoisonPolicy::dead_letter(move |record, _| {
        taken.lock().map_err(|_| "poisoned")?.push(data(record));
        Ok::<(), &str>(())
    });
    let mut consumer = decoder(&client, policy).start().expect("started");
    assert_eq!(numbers(&mut consumer), [1, 2, 3]);
    assert_eq!(*letters.lock().expect("not poisoned"), ["x", "y"]);
    assert_eq!(consumer.metrics().total.dead_letters, 2);
    let full = PoisonPolicy::dead_letter(|_, _| Err("the letter box is full"));
    let mut consumer = decoder(&client, full).start().expect("started");
    assert_eq!(
        consumer.next().expect("more").expect("a record").decoded(),
        Some(&1_u64)
    );
    let error = consumer.next().expect("an end").expect_err("full");
    assert!(
        error.to_string().contains("the letter box is full"),
        "{error}"
    );
    let mut again = restored(&client, all(), consumer.close().expect("closed"));
    assert_eq!(read(&mut again), ["x", "2", "3", "y"]);
}

#[test]
fn a_decoder_has_room_for_a_mebibyte_on_its_stack() {
    let client = client(1);
    put_numbers(&client, &["7"], &["8"]);
    let builder = Consumer::builder(client).stream("orders").config(all());
    let deep = |record: &Record| {
        let mut room = [0_u8; 1 << 20];
        room[..record.data().len()].copy_from_slice(record.data());
        let room = std::hint::black_box(&room);
        let digit = room.first().copied().unwrap_or_default();
        Ok::<u64, std::fmt::Error>(u64::from(digit - b'0'))
    };
    let mut consumer = builder.decoder(deep).start().expect("started");
    assert_eq!(numbers(&mut consumer), [7, 8]);
}

#[test]
fn a_stack_is_within_its_range() {
    for bytes in [(128 << 10) - 1, (1 << 30) + 1] {
        let config = ConsumerConfig::builder().shard_stack_bytes(bytes);
        let error = config.build().expect_err("out of range").to_string();
        let expected = format!("shard_stack_bytes: \"{bytes}\" is not from 131072 to 1073741824");
        assert_eq!(error, expected);
    }
    let small = config(StartPosition::TrimHorizon).shard_stack_bytes(128 << 10);
    let config = small.until_caught_up(true).build().expect("valid");
    let client = client(1);
    put(&client, named("r", 100));
    assert_eq!(read(&mut consumer(&client, config)).len(), 100);
}
