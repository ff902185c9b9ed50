//! A service that is away for a while is waited for; one that stays away reaches the caller.

use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    Checkpoint, Client, Consumer, ConsumerBuilder, ConsumerConfigBuilder, Error, ErrorKind, Event,
    Operation, Outage, ShardRef, StartPosition, Timestamp,
};

use crate::time::{Flow, HOUR, run, world};
use crate::{config, data, named, put, sorted};

const SECOND: Duration = Duration::from_secs(1);
const LONE: &str = "shardId-000000000000";

const READS: [Operation; 2] = [Operation::GetRecords, Operation::GetShardIterator];

fn patient() -> ConsumerConfigBuilder {
    config(StartPosition::TrimHorizon).get_records_interval(SECOND)
}

fn reading(client: &Client, config: ConsumerConfigBuilder) -> ConsumerBuilder {
    let builder = Consumer::builder(client.clone()).stream("orders");
    builder.config(config.build().expect("valid"))
}

/// All calls that read fail from now on.
fn fail_reads(kinesis: &FakeKinesis, fault: &Fault) {
    for operation in READS {
        kinesis.on(operation).fail_next(u64::MAX, fault.clone());
    }
}

/// Takes events, as time flows, until there are enough or the consumer ends with an error.
fn take(
    consumer: &mut Consumer,
    clock: &VirtualClock,
    is_enough: impl Fn(&[Event]) -> bool,
) -> (Vec<Event>, Option<Error>) {
    let _flow = Flow::of(clock);
    let mut events = Vec::new();
    while !is_enough(&events) {
        // By seconds: time may move to the caller's own deadline while a shard's thread is about to call.
        match consumer.next_event(SECOND) {
            Ok(Event::Ended) => break,
            Ok(Event::Timeout) => {}
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

/// Takes what there is, without any time.
fn take_waiting(consumer: &mut Consumer) -> Vec<Event> {
    let event = || match consumer.next_event(Duration::ZERO) {
        Ok(Event::Timeout) => None,
        event => Some(event.expect("no error yet")),
    };
    std::iter::from_fn(event).collect()
}

fn records(events: &[Event]) -> Vec<String> {
    let records = events.iter().filter_map(|event| match event {
        Event::Record(record) => Some(data(record)),
        _ => None,
    });
    sorted(records.collect())
}

/// What was reported as unavailable, and as available again.
fn outages(events: &[Event]) -> (Vec<Outage>, Vec<Outage>) {
    let (mut begun, mut over) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Unavailable(outage) => begun.push(outage.clone()),
            Event::Available(outage) => over.push(outage.clone()),
            _ => {}
        }
    }
    (begun, over)
}

#[test]
fn an_outage_of_almost_five_minutes_is_waited_for_and_one_that_is_longer_ends_the_consumer() {
    for (fault, ends) in [
        (Fault::ServiceUnavailable, false),
        (Fault::ServiceUnavailable, true),
        (Fault::Disconnect, false),
        (Fault::Disconnect, true),
    ] {
        let (clock, kinesis) = world(2);
        let client = kinesis.client();
        put(&client, named("before", 10));
        let mut consumer = reading(&client, patient()).start().expect("started");
        let has_ten = |events: &[Event]| records(events).len() == 10;
        take(&mut consumer, &clock, has_ten);
        assert!(clock.await_waiters(3), "two shards and discovery");
        let begun = clock.time();
        fail_reads(&kinesis, &fault);
        put(&client, named("during", 10));
        assert!(clock.advance_with(3, 299 * SECOND));
        assert!(clock.await_waiters(3));
        let (unavailable, _) = outages(&take_waiting(&mut consumer));
        assert_eq!(unavailable.len(), 2, "each shard once: {unavailable:?}");
        if ends {
            let (_, error) = take(&mut consumer, &clock, |_| false);
            assert_outage(&error.expect("an end"), begun);
            assert!(consumer.next().is_none(), "there is one error at most");
            kinesis.calm_down();
            let checkpoint = consumer.close().expect("closed");
            let resumed = read_on(&clock, &client, checkpoint);
            assert_eq!(resumed, named("during", 10).collect::<Vec<_>>());
        } else {
            kinesis.calm_down();
            let is_over = |events: &[Event]| has_ten(events) && outages(events).1.len() == 2;
            let (events, error) = take(&mut consumer, &clock, is_over);
            assert!(error.is_none(), "{error:?}");
            assert_eq!(records(&events), named("during", 10).collect::<Vec<_>>());
            let (_, available) = outages(&events);
            let lasted = |outage: &Outage| outage.lasted >= 295 * SECOND;
            assert!(available.iter().all(lasted), "{available:?}");
            let shards = consumer.metrics().shards;
            assert!(
                shards
                    .values()
                    .all(|shard| shard.unavailable_millis.is_none())
            );
        }
    }
}

/// The error names operation, shard, endpoint, since when, and the cause.
fn assert_outage(error: &Error, begun: Timestamp) {
    let ErrorKind::Outage { since, cause } = error.kind() else {
        panic!("{error}");
    };
    let first_call = since.saturating_since(begun);
    assert!(first_call <= 2 * SECOND, "{since} {begun}");
    let text = error.to_string();
    let shard = error.shard().expect("a shard");
    let start = format!(
        "GetRecords on {shard} at http://kinesis.fake/: no call has succeeded since 2023-11-14T22:13:2"
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains(&cause.kind().to_string()), "{text}");
    assert!(
        text.contains("ConsumerConfigBuilder::outage_timeout"),
        "{text}"
    );
    assert!(error.is_retryable(), "a restart needs no change");
}

fn read_on(clock: &VirtualClock, client: &Client, checkpoint: Checkpoint) -> Vec<String> {
    let builder = reading(client, patient().until_caught_up(true)).restore(checkpoint);
    sorted(run(clock, builder).expect("read").0)
}

#[test]
fn throttling_for_an_hour_ends_nothing_and_never_is_never() {
    for (fault, timeout) in [
        (Fault::Throttle, Some(300 * SECOND)),
        (Fault::ServiceUnavailable, None),
    ] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        put(&client, named("r", 3));
        let config = patient().outage_timeout(timeout);
        fail_reads(&kinesis, &fault);
        let mut consumer = reading(&client, config).start().expect("started");
        assert!(clock.advance_with(2, HOUR), "the shard and discovery");
        assert!(clock.await_waiters(2));
        let events = take_waiting(&mut consumer);
        let is_outage = fault != Fault::Throttle;
        assert_eq!(outages(&events).0.len(), usize::from(is_outage));
        let shard = &consumer.metrics().shards[&ShardRef::new("orders", LONE)];
        assert_eq!(shard.unavailable_millis, is_outage.then_some(3_600_000));
        kinesis.calm_down();
        let (events, error) = take(&mut consumer, &clock, |events| records(events).len() == 3);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(records(&events), ["r0", "r1", "r2"]);
    }
}

#[test]
fn one_shard_that_stays_away_ends_every_kind_of_reading() {
    for until in ["never", "caught up", "a time", "a checkpoint"] {
        let (clock, kinesis) = world(4);
        let client = kinesis.client();
        put(&client, named("r", 100));
        let caught_up = || patient().until_caught_up(true);
        let (_, checkpoint) = run(&clock, reading(&client, caught_up())).expect("read");
        let begun = clock.time();
        for operation in READS {
            let script = kinesis.on(operation).shard(LONE);
            script.fail_next(u64::MAX, Fault::InternalFailure);
        }
        let builder = match until {
            "never" => reading(&client, patient()),
            "caught up" => reading(&client, caught_up()),
            "a time" => reading(&client, patient().until_timestamp(begun)),
            _ => reading(&client, patient()).until_checkpoint(checkpoint),
        };
        let others = kinesis.records("orders").into_iter();
        let others = others
            .filter(|record| record.shard_id.as_str() != LONE)
            .count();
        let _flow = Flow::of(&clock);
        let mut consumer = builder.start().expect("started");
        let mut records = 0;
        // No logger, no events: the loop of README's first program.
        let error = consumer.find_map(|record| {
            records += usize::from(record.is_ok());
            record.err()
        });
        let error = error.expect("an end");
        assert_eq!(records, others, "{until}: the others are read meanwhile");
        let lone = ShardRef::new("orders", LONE);
        assert_eq!(error.shard(), Some(&lone), "{until}: {error}");
        assert!(
            matches!(error.kind(), ErrorKind::Outage { .. }),
            "{until}: {error}"
        );
        let lasted = clock.time().saturating_since(begun);
        assert!(lasted >= 300 * SECOND, "{until}: {lasted:?}");
    }
}

#[test]
fn calls_that_fail_are_made_again_with_pauses_that_grow() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    fail_reads(&kinesis, &Fault::ServiceUnavailable);
    let mut consumer = reading(&client, patient()).start().expect("started");
    assert!(
        clock.advance_with(2, 299 * SECOND),
        "the shard and discovery"
    );
    assert!(clock.await_waiters(2));
    assert_eq!(outages(&take_waiting(&mut consumer)).0.len(), 1);
    let requests = kinesis.requests().into_iter();
    let calls: Vec<_> = requests
        .filter(|request| request.operation == "GetShardIterator")
        .map(|request| request.at)
        .collect();
    let pauses: Vec<_> = calls
        .windows(2)
        .map(|two| two[1].saturating_since(two[0]))
        .collect();
    assert!(
        pauses.iter().all(|pause| *pause <= 10 * SECOND),
        "{pauses:?}"
    );
    assert!(
        pauses.iter().filter(|pause| **pause > 5 * SECOND).count() > 20,
        "{pauses:?}"
    );
    assert!(calls.len() < 250, "{} calls", calls.len());
}

#[test]
fn listings_that_fail_are_reported_after_a_minute_and_end_nothing_while_shards_are_read() {
    for fault in [
        Fault::ServiceUnavailable,
        Fault::Throttle,
        Fault::refuse("AccessDeniedException", "no right to list"),
    ] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        let mut consumer = reading(&client, patient()).start().expect("started");
        kinesis
            .on(Operation::ListShards)
            .fail_next(u64::MAX, fault.clone());
        // Failing calls, the interval between listings, and half of it for chance.
        assert!(
            clock.advance_with(2, 40 * SECOND),
            "the shard and discovery"
        );
        assert!(clock.await_waiters(2));
        assert!(outages(&take_waiting(&mut consumer)).0.is_empty());
        assert!(clock.advance_with(2, HOUR));
        put(&client, named("r", 3));
        let has_three = |events: &[Event]| records(events).len() == 3;
        let (events, error) = take(&mut consumer, &clock, has_three);
        assert!(error.is_none(), "{fault:?}: {error:?}");
        let (unavailable, _) = outages(&events);
        let [outage] = &unavailable[..] else {
            panic!("{unavailable:?}");
        };
        assert_eq!((&*outage.stream, &outage.shard), ("orders", &None));
        assert!((60..180).contains(&outage.lasted.as_secs()), "{outage}");
        let unavailable = consumer.metrics().discovery.unavailable_millis;
        assert!(unavailable >= Some(3_600_000), "{unavailable:?}");
        kinesis.calm_down();
        let (_, error) = take(&mut consumer, &clock, |events| outages(events).1.len() == 1);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(consumer.metrics().discovery.unavailable_millis, None);
    }
}

#[test]
fn listings_that_fail_while_no_shard_is_read_end_the_consumer() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    // The other one of two reads the only shard.
    let config = patient().build().expect("valid");
    let starts: Vec<_> = [0, 1]
        .map(|index| {
            let builder = Consumer::builder(client.clone()).stream("orders");
            builder
                .config(config.clone())
                .subtask(index, 2)
                .start()
                .expect("started")
        })
        .into_iter()
        .filter(|consumer| consumer.checkpoint().iter().count() == 0)
        .collect();
    let [mut idle] = <[_; 1]>::try_from(starts).expect("one without a shard");
    let listings = kinesis.on(Operation::ListShards);
    listings.fail_next(u64::MAX, Fault::ServiceUnavailable);
    let (_, error) = take(&mut idle, &clock, |_| false);
    let error = error.expect("an end");
    let text = error.to_string();
    let start = "ListShards on stream orders at http://kinesis.fake/: no call has succeeded since ";
    assert!(text.starts_with(start), "{text}");
}
