//! What a consumer tells of itself.

use std::sync::{Arc, Mutex};

use kinesis_blocking::{ConsumerMetrics, MemoryCheckpointStore};

use super::*;

#[test]
fn each_shard_and_the_total_count_what_was_read_and_what_it_took() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let client = kinesis.client();
    put(&client, named("r", 100));
    let three: Vec<_> = named("a", 3)
        .map(|name| SubRecord::new(name, "data"))
        .collect();
    client
        .put_records("orders", &[entry("r0", encode(&three))])
        .expect("answered");
    kinesis
        .on(Operation::GetRecords)
        .fail_next(2, Fault::Throttle);
    kinesis
        .on(Operation::GetRecords)
        .fail_next(1, Fault::ExpiredIterator);
    let builder = Consumer::builder(client)
        .stream("orders")
        .config(endless(StartPosition::TrimHorizon));
    let builder = builder.checkpoint_store(MemoryCheckpointStore::new());
    let mut consumer = builder.start().expect("started");
    let records: Vec<_> = consumer.by_ref().take(103).collect();
    assert!(records.iter().all(Result::is_ok));
    consumer.commit().expect("committed");
    let metrics = consumer.metrics();
    let total = &metrics.total;
    let read = (
        total.kinesis_records_read,
        total.user_records_read,
        total.user_records_taken,
    );
    assert_eq!(read, (101, 103, 103));
    let troubles = (
        total.retries,
        total.throttled_calls,
        total.iterator_refreshes,
    );
    assert_eq!(troubles, (2, 2, 1));
    assert!(total.get_records_calls >= 5, "{total:?}");
    let shards: u64 = metrics
        .shards
        .values()
        .map(|s| s.counts.user_records_read)
        .sum();
    assert_eq!((metrics.shards.len(), shards), (2, 103));
    for (name, shard) in &metrics.shards {
        assert_eq!(shard.millis_behind_latest, Some(0), "{name}");
        assert_eq!(shard.max_number_of_records_per_fetch, 10_000, "{name}");
        assert_eq!(shard.queued_records + shard.queued_bytes, 0, "{name}");
    }
    let errors = metrics
        .shards
        .values()
        .filter_map(|s| s.last_error.as_ref());
    assert!(errors.count() >= 1);
    let (discovery, commits) = (&metrics.discovery, &metrics.commits);
    assert!(discovery.list_shards_calls >= 1, "{discovery:?}");
    assert_eq!((discovery.shards_found, discovery.shards_ended), (2, 0));
    // The start is saved as well.
    assert_eq!((commits.commits, commits.failed_commits), (2, 0));
    assert!(commits.millis_since_last.is_some());
}

#[test]
fn a_shard_leaves_with_its_end_and_stays_in_the_total() {
    let client = client(1);
    put(&client, named("old", 10));
    split(&client);
    put(&client, named("new", 10));
    let mut consumer = consumer(&client, all());
    assert_eq!(read(&mut consumer).len(), 20);
    let metrics = consumer.metrics();
    assert_eq!(metrics.shards.len(), 0, "all have been read");
    assert_eq!(metrics.total.user_records_taken, 20);
    assert_eq!(metrics.discovery.shards_found, 3);
    assert_eq!(metrics.discovery.shards_ended, 1, "the children are open");
}

#[test]
fn what_waits_for_a_loop_that_is_stuck_is_reported_while_it_is() {
    let client = client(1);
    put(&client, named("r", 100));
    let last: Arc<Mutex<ConsumerMetrics>> = Arc::default();
    let told = last.clone();
    let (tell, heard) = std::sync::mpsc::channel();
    let report = move |metrics: &ConsumerMetrics| {
        *told.lock().expect("not poisoned") = metrics.clone();
        // Nobody listens any more when it is told for the last time.
        let _ = tell.send(());
    };
    let config = config(StartPosition::TrimHorizon).get_records_max(10);
    let builder = Consumer::builder(client)
        .stream("orders")
        .config(config.build().expect("valid"));
    let builder = builder.on_metrics(Duration::from_millis(1), report);
    let mut consumer = builder.start().expect("started");
    consumer.next().expect("more").expect("a record");
    // One answer is being handed out, one is in the queue, and one waits for its place there.
    let is_stuck = || {
        heard.recv().expect("a report");
        let metrics = last.lock().expect("not poisoned");
        metrics
            .shards
            .values()
            .map(|s| s.queued_records)
            .sum::<u64>()
            == 20
    };
    while !is_stuck() {}
    assert_eq!(consumer.metrics().total.user_records_taken, 10);
    consumer.close().expect("closed");
    assert!(
        heard.iter().count() >= 1,
        "it is told for the last time at the end"
    );
    let again = Consumer::builder(FakeKinesis::new().client()).stream("orders");
    let refused = again.on_metrics(Duration::ZERO, |_| {}).start();
    assert_eq!(
        refused.expect_err("no interval").to_string(),
        "on_metrics: \"0\" is not an interval above 0"
    );
}

#[test]
fn the_longest_interval_reports_once_at_the_end() {
    let reports = Arc::new(Mutex::new(0));
    let counted = reports.clone();
    let report = move |_: &ConsumerMetrics| *counted.lock().expect("a count") += 1;
    let builder = Consumer::builder(client(1)).stream("orders").config(all());
    let builder = builder.on_metrics(Duration::MAX, report);
    let builder = builder.commit_interval(Duration::MAX);
    let builder = builder.checkpoint_store(MemoryCheckpointStore::new());
    let mut consumer = builder.start().expect("started");
    assert_eq!(read(&mut consumer), Vec::<String>::new());
    consumer.close().expect("closed");
    assert_eq!(*reports.lock().expect("a count"), 1);
}
