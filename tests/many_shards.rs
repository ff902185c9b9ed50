//! Streams that were resharded for years: many shards are listed, and few of them are open.

use std::time::{Duration, Instant};

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{Client, Consumer, ConsumerConfig, Operation, StartPosition};
use rustix::time::{ClockId, clock_gettime};

/// A stream of which ten shards are open, and how many are listed: about twice as many as it began with,
/// and four times `then`, to which it is scaled up and down again.
fn resharded(shards: u32, then: u32) -> (FakeKinesis, Client, usize) {
    let kinesis = FakeKinesis::new().with_stream("orders", shards);
    let client = kinesis.client();
    let scale = |open| client.update_shard_count("orders", open).expect("scaled");
    let halves = |from: u32| {
        let half = |open: &u32| (*open > 10).then(|| open.div_ceil(2).max(10));
        std::iter::successors(Some(from), half).skip(1)
    };
    halves(shards).for_each(&scale);
    let doubles = std::iter::successors(Some(20), |open: &u32| Some(open * 2));
    let mut most = 10;
    for open in doubles.take_while(|open| *open <= then) {
        scale(open);
        most = open;
    }
    halves(most).for_each(&scale);
    let listed = client.list_shards("orders").expect("listed").len();
    (kinesis, client, listed)
}

fn start(client: &Client) -> Consumer {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::Latest)
        .get_records_interval(Duration::from_secs(5))
        .shard_discovery_interval(Duration::from_secs(1));
    let config = config.build().expect("valid");
    let builder = Consumer::builder(client.clone()).stream("orders");
    builder.config(config).start().expect("started")
}

#[test]
fn a_start_takes_as_long_as_some_listings() {
    let (_kinesis, client, listed) = resharded(5_000, 0);
    let begun = Instant::now();
    client.list_shards("orders").expect("listed");
    let listing = begun.elapsed();
    let begun = Instant::now();
    let consumer = start(&client);
    let took = begun.elapsed();
    assert_eq!(consumer.checkpoint().iter().count(), listed);
    // Looking through all shards for each of them took a hundred times as long.
    let most = 20 * listing + Duration::from_secs(5);
    assert!(took < most, "{took:?}, and a listing {listing:?}");
}

/// Of 100,000 shards, as a release build reads them with two processors; the fake's part is counted too.
#[test]
#[ignore = "run by `.ci/run long-shards`"]
fn a_hundred_thousand_start_in_2_s_and_a_listing_of_them_costs_200_ms() {
    const LISTINGS: u32 = 10;
    let (kinesis, client, listed) = resharded(35_000, 10_240);
    assert!(listed > 100_000, "{listed}");
    let begun = Instant::now();
    let consumer = start(&client);
    let took = begun.elapsed();
    assert_eq!(consumer.checkpoint().iter().count(), listed);
    let pages = listed.div_ceil(1_000) as u64;
    let (calls, cpu) = (kinesis.calls(Operation::ListShards), cpu_time());
    while kinesis.calls(Operation::ListShards) < calls + u64::from(LISTINGS) * pages {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let each = (cpu_time() - cpu) / LISTINGS;
    println!("{listed} shards: start after {took:?}, {each:?} of CPU a listing");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(each < Duration::from_millis(200), "{each:?}");
}

/// What all threads of this process have used.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}
