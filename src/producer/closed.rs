use std::fmt;

use crate::error::ErrorKind;
use crate::producer::delivery::Stored;
use crate::producer::pipeline::Settlement;

/// What became of all records that a producer ever took in; each is in one of the four counts.
///
/// [`Undelivered`](crate::Undelivered) tells of each record what the last three count together.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::fake::FakeKinesis;
/// use kinesis_blocking::{Producer, UserRecord};
///
/// let client = FakeKinesis::new().with_stream("orders", 2).client();
/// let producer = Producer::builder(client).stream("orders").start()?;
/// producer.put(UserRecord::new("customer-7", "order 1"))?;
///
/// let closed = producer.close()?;
/// assert_eq!((closed.delivered, closed.undelivered()), (1, 0));
/// assert_eq!(closed.to_string(), "1 delivered, 0 failed, 0 unknown, 0 unsent");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Stored, and the service said where.
    pub delivered: u64,
    /// Not stored: the service refused them, or did not take them within their time to live.
    pub failed: u64,
    /// Perhaps stored: given up after a call that carried them and whose answer was lost, or after
    /// they were stored where readers leave them out.
    pub unknown: u64,
    /// Not stored: still on their way when the producer stopped.
    pub unsent: u64,
}

impl Closed {
    /// Counts the records that are not known to be stored.
    pub fn undelivered(&self) -> u64 {
        self.failed + self.unknown + self.unsent
    }

    /// Counts the records of one more Kinesis record.
    pub(super) fn count(&mut self, settlement: &Settlement) {
        let Settlement { record, result } = settlement;
        let count = match (result, record.stored) {
            (Ok(_), _) => &mut self.delivered,
            (Err(_), Stored::Possibly) => &mut self.unknown,
            (Err(error), Stored::No) => match error.kind() {
                // Both are said of all that is left, and of nothing else that was not stored.
                ErrorKind::Closed | ErrorKind::Thread { .. } => &mut self.unsent,
                _ => &mut self.failed,
            },
        };
        *count += u64::from(record.users());
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Closed {
            delivered,
            failed,
            unknown,
            unsent,
        } = self;
        write!(
            f,
            "{delivered} delivered, {failed} failed, {unknown} unknown, {unsent} unsent"
        )
    }
}
