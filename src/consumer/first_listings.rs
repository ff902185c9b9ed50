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
