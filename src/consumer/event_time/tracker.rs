use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::consumer::event_time::participants::Participants;
use crate::model::Timestamp;
use crate::sys::lock::lock;

/// Where consumers tell each other how far they are, so that none runs far ahead of the others.
///
/// Ready-made are [`MemoryWatermarkTracker`] for consumers in one process and
/// [`DirectoryWatermarkTracker`](crate::DirectoryWatermarkTracker) for processes with a directory in
/// common. Calls come from a thread of the consumer's own, and may block: a record never waits for
/// one. When they fail, the last answer counts for as long as the timeout; after that the consumer
/// aligns its own shards only.
///
/// Flink's `WatermarkTracker`.
pub trait WatermarkTracker: Send + Sync {
    /// Takes a report in, and returns the lowest watermark of all that were reported lately, this one
    /// included; `None` if there is none.
    ///
    /// Whose last watermark is older than the report's timeout does not count. One subtask's never go
    /// back within one run of it.
    ///
    /// # Errors
    /// Whatever keeps it from answering. It is asked again after the sync interval.
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>>;

    /// Takes note that a subtask has nothing to read for now, or has ended, and is not to be waited
    /// for. Unless told otherwise does nothing: its last watermark is too old after a while.
    ///
    /// # Errors
    /// As of [`update`](WatermarkTracker::update).
    fn withdraw(&self, report: &WatermarkReport<'_>) -> io::Result<()> {
        let _ = report;
        Ok(())
    }
}

impl<T: WatermarkTracker + ?Sized> WatermarkTracker for Arc<T> {
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>> {
        (**self).update(report)
    }

    fn withdraw(&self, report: &WatermarkReport<'_>) -> io::Result<()> {
        (**self).withdraw(report)
    }
}

/// What one consumer tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatermarkReport<'a> {
    /// Its name among those that share a tracker, such as `orders-0`.
    pub subtask: &'a str,
    /// Another number for each start of it.
    pub run: u64,
    /// How many consumers there are to be, as [`subtask`](crate::ConsumerBuilder::subtask) was told.
    pub parallelism: usize,
    /// Whether it has just begun, and waits for those that are to be there: while they are not, the
    /// lowest watermark is [`Timestamp::MIN`].
    pub is_joining: bool,
    /// The watermark that its next record would bring; `None` if it only asks for the others', and its
    /// last report is to grow old.
    pub watermark: Option<Timestamp>,
    /// After how long a report does not count any more.
    pub timeout: Duration,
    /// The consumer's clock: only times of one machine can be compared.
    pub now: Instant,
}

impl<'a> WatermarkReport<'a> {
    /// Makes the report of a consumer that is alone, with Flink's timeout of one minute.
    pub fn new(
        subtask: &'a str,
        watermark: Option<Timestamp>,
        now: Instant,
    ) -> WatermarkReport<'a> {
        WatermarkReport {
            subtask,
            run: 0,
            parallelism: 1,
            is_joining: false,
            watermark,
            timeout: Duration::from_secs(60),
            now,
        }
    }
}

/// Aligns consumers of one process: give each of them a clone.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::fake::FakeKinesis;
/// use kinesis_blocking::{Consumer, MemoryWatermarkTracker};
///
/// let client = FakeKinesis::new().with_stream("orders", 2).client();
/// let tracker = MemoryWatermarkTracker::new();
/// let subtask = |index| {
///     let builder = Consumer::builder(client.clone()).stream("orders").subtask(index, 2);
///     builder.watermark_tracker(tracker.clone()).start()
/// };
/// let (first, second) = (subtask(0)?, subtask(1)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryWatermarkTracker(Arc<Mutex<Participants>>);

impl MemoryWatermarkTracker {
    /// Makes a tracker that nobody has reported to.
    pub fn new() -> MemoryWatermarkTracker {
        MemoryWatermarkTracker::default()
    }
}

impl WatermarkTracker for MemoryWatermarkTracker {
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>> {
        let mut participants = lock(&self.0);
        participants.report(report);
        Ok(participants.lowest(report))
    }

    fn withdraw(&self, report: &WatermarkReport<'_>) -> io::Result<()> {
        let mut participants = lock(&self.0);
        participants.withdraw(report);
        Ok(())
    }
}

impl fmt::Debug for MemoryWatermarkTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryWatermarkTracker")
    }
}
