use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::consumer::listing::Listing;
use crate::error::Result;
use crate::model::{Operation, Shard};
use crate::retry::RetryPolicy;

/// Lists the shards of each stream. Few retries: a wrong endpoint should be said soon.
pub(super) fn first_listings<'a>(
    client: &Client,
    streams: impl Iterator<Item = &'a Arc<str>>,
) -> Result<Vec<Listing>> {
    let policy = client.policy(Operation::ListShards);
    let retries = policy.max_retries.unwrap_or(START_RETRIES_MAX);
    let policy = RetryPolicy {
        max_retries: Some(retries.min(START_RETRIES_MAX)),
        ..policy.clone()
    };
    let client = client.with_retry(Operation::ListShards, policy);
    let list = |stream: &Arc<str>| {
        let (_, listing) = Listing::of(&client, stream, |name| list_when_active(&client, name));
        listing
    };
    streams.map(list).collect()
}

/// Lists a stream's shards, and waits a while if it is only being made.
fn list_when_active(client: &Client, stream: &str) -> Result<Vec<Shard>> {
    let clock = &client.sys().clock;
    let deadline = clock.now() + ACTIVE_WAIT_MAX;
    loop {
        match client.list_shards(stream) {
            Err(error) if error.is_service("ResourceInUseException") && clock.now() < deadline => {
                log::info!("{error}; it is listed again in a second");
                clock.wait_until(clock.now() + ACTIVE_INTERVAL, client.stop());
            }
            outcome => return outcome,
        }
    }
}

/// Attempts beyond the first, of each call that `start` makes itself.
const START_RETRIES_MAX: u32 = 3;

/// How long a stream may take to become ACTIVE; it takes about half a minute.
const ACTIVE_WAIT_MAX: Duration = Duration::from_secs(60);
const ACTIVE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeKinesis, Fault, VirtualClock};
    use crate::model::Timestamp;

    /// Lists two streams, and says how many shards they had and how long it took.
    fn listed(fault: Fault, calls: u64) -> (Result<usize>, Duration) {
        let begin = Timestamp::from_millis(1_700_000_000_000);
        let clock = VirtualClock::starting_at(begin);
        clock.auto_advance(1);
        let fake = FakeKinesis::on_clock(clock.clone());
        let fake = fake.with_stream("orders", 2).with_stream("returns", 3);
        fake.on(Operation::ListShards).fail_next(calls, fault);
        let streams = ["orders", "returns"].map(Arc::from);
        let listings = first_listings(&fake.client(), streams.iter());
        let shards = |listings: Vec<Listing>| listings.iter().map(|one| one.shards().len()).sum();
        (listings.map(shards), clock.time().saturating_since(begin))
    }

    #[test]
    fn a_stream_that_is_being_made_is_waited_for_up_to_a_minute() {
        let being_made = || Fault::refuse("ResourceInUseException", "the stream is CREATING");
        for calls in [1, 59, 60] {
            let (shards, took) = listed(being_made(), calls);
            assert_eq!(shards.expect("listed"), 5, "{calls}");
            assert_eq!(took, Duration::from_secs(calls));
        }
        let (shards, took) = listed(being_made(), 61);
        let error = shards.expect_err("it is not made");
        assert!(error.is_service("ResourceInUseException"), "{error}");
        assert_eq!(took, ACTIVE_WAIT_MAX);
    }

    #[test]
    fn whatever_else_is_refused_is_said_at_once() {
        let (shards, took) = listed(Fault::refuse("ResourceNotFoundException", "none"), 1);
        let error = shards.expect_err("there is none");
        assert!(error.is_service("ResourceNotFoundException"), "{error}");
        assert_eq!(took, Duration::ZERO);
    }

    #[test]
    fn a_service_that_does_not_answer_is_asked_four_times() {
        assert_eq!(listed(Fault::Disconnect, 3).0.expect("listed"), 5);
        listed(Fault::Disconnect, 4)
            .0
            .expect_err("it was asked often");
    }
}
