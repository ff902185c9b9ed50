use std::time::{Duration, Instant};

use crate::client::{Client, wire};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Operation, Shard, ShardId, Timestamp};
use crate::sys::clock::later;

/// Which of a stream's shards are wanted.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html>
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardFilter {
    /// Those whose names come after this one's.
    AfterShardId(ShardId),
    /// Those that are open.
    AtLatest,
    /// Those that were open at this time.
    AtTimestamp(Timestamp),
    /// Those that were open at the oldest time of which records are kept.
    AtTrimHorizon,
    /// Those that were open at this time or have been since.
    FromTimestamp(Timestamp),
    /// All whose records are kept, even in part.
    FromTrimHorizon,
}

impl ShardFilter {
    /// Leaves shards out that an endpoint should have left out, as far as they tell.
    fn keeps(&self, shard: &Shard) -> bool {
        match self {
            ShardFilter::AfterShardId(id) => shard.id > *id,
            ShardFilter::AtLatest => shard.is_open(),
            _ => true,
        }
    }
}

impl Client {
    /// Lists all shards of a stream, open and closed, in the service's order.
    ///
    /// Starts again, a few times, when the token for the next page has expired on the way.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
    ///
    /// # Errors
    /// `Service`: the stream does not exist, or its state or the credentials forbid it.
    /// `Transport`: the service was not reached.
    pub fn list_shards(&self, stream: &str) -> Result<Vec<Shard>> {
        self.listed(stream, None)
    }

    /// Lists those shards of a stream that a filter asks for, and perhaps more.
    ///
    /// Emulators overlook a filter or refuse it, and the service refuses a time of which nothing is
    /// kept: then all shards are listed, but for those that are seen to be unwanted.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use kinesis_blocking::{ShardFilter, fake::FakeKinesis};
    ///
    /// let client = FakeKinesis::new().with_stream("orders", 2).client();
    /// client.update_shard_count("orders", 1)?;
    /// assert_eq!(client.list_shards("orders")?.len(), 3);
    /// let open = client.list_shards_filtered("orders", &ShardFilter::AtLatest)?;
    /// assert_eq!(open.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`list_shards`](Self::list_shards).
    pub fn list_shards_filtered(&self, stream: &str, filter: &ShardFilter) -> Result<Vec<Shard>> {
        let mut shards = match self.listed(stream, Some(filter)) {
            Err(error) if is_about_the_request(&error) => self.listed(stream, None)?,
            outcome => outcome?,
        };
        shards.retain(|shard| filter.keeps(shard));
        Ok(shards)
    }

    fn listed(&self, stream: &str, filter: Option<&ShardFilter>) -> Result<Vec<Shard>> {
        let mut restarts = 0;
        let deadline = later(self.sys().clock.now(), LISTING_TIME_MAX);
        loop {
            match self.list_pages(stream, filter, deadline) {
                Err(error)
                    if restarts < RESTARTS_MAX && error.is_service("ExpiredNextTokenException") =>
                {
                    restarts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Goes through the pages, however few shards are on them, until there is no next one, they are
    /// more than any stream has, the time is up, or the client is told to stop.
    fn list_pages(
        &self,
        stream: &str,
        filter: Option<&ShardFilter>,
        deadline: Instant,
    ) -> Result<Vec<Shard>> {
        let mut shards = Vec::new();
        let mut page = wire::ListShards::first(stream, filter);
        for _ in 0..PAGES_MAX {
            let answer = self.call(&page)?;
            shards.extend(answer.shards);
            match answer.next_token {
                None => return Ok(shards),
                Some(_) if self.stop().is_stopped() => return Err(Error::new(ErrorKind::Closed)),
                Some(_) if shards.len() >= SHARDS_MAX => break,
                Some(_) if self.sys().clock.now() >= deadline => break,
                Some(token) => page = wire::ListShards::after(stream, token),
            }
        }
        let endless = Error::malformed("response", "ListShards has no end");
        Err(endless.within(|context| {
            context.operation = Some(Operation::ListShards);
            context.stream = Some(stream.into());
        }))
    }
}

/// Whether the endpoint did not take the request as it was written. Without the filter it is asked
/// again, and says so again if it was about something else.
fn is_about_the_request(error: &Error) -> bool {
    let names = [
        "InvalidArgumentException",
        "SerializationException",
        "ValidationException",
    ];
    matches!(error.kind(), ErrorKind::Service { code, .. } if names.contains(&code.as_str()))
}

/// A token lives for 300 seconds, so each listing that has to start again has failed slowly.
const RESTARTS_MAX: u32 = 2;

/// Ten times the largest quota that AWS states; a listing beyond it goes in circles.
/// Source: <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const SHARDS_MAX: usize = 200_000;

/// As many pages as those shards have at 1,000 on each, five times over.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const PAGES_MAX: usize = 1_000;

/// So long a token lives. The largest stream has a few dozen pages, each of which takes milliseconds.
const LISTING_TIME_MAX: Duration = Duration::from_secs(300);
