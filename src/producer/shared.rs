use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::client::PutRecordOutput;
use crate::config::ProducerConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::producer::closed::Closed;
use crate::producer::front::Front;
use crate::producer::group::Outcome;
use crate::producer::intake::Intake;
use crate::producer::kinesis_record::{KinesisRecord, Run};
use crate::producer::ledger::{Standing, Ticket};
use crate::producer::metrics::ProducerMetrics;
use crate::producer::own_thread::ProducerId;
use crate::producer::pipeline::{Effects, Settlement};
use crate::producer::report::Reports;
use crate::producer::tally::Tally;
use crate::sys::clock::Clock;
use crate::sys::lock::lock;

/// What the callers and the producer's threads have in common.
pub(super) struct Shared {
    pub id: ProducerId,
    pub config: ProducerConfig,
    pub clock: Arc<dyn Clock>,
    pub front: Front,
    pub intake: Intake,
    pub failure: Failure,
    pub tallies: Mutex<Tallies>,
    /// Set if somebody wants to be told of every result.
    pub reports: Option<Reports>,
}

/// What was measured.
#[derive(Default)]
pub(super) struct Tallies {
    since_start: Tally,
    closed: Closed,
    /// Since it was taken the last time, if somebody takes it.
    #[cfg(feature = "cloudwatch")]
    window: Option<Tally>,
}

/// The first failure that the caller is to be told of, once and for all.
pub(super) struct Failure {
    fail_on_error: bool,
    is_set: AtomicBool,
    first: Mutex<Option<Error>>,
}

/// What settled records held: given back together, as each time wakes who waits for it.
#[derive(Default)]
pub(super) struct Released {
    /// Records and bytes of each ticket.
    tickets: Vec<(Ticket, usize, usize)>,
}

impl Shared {
    /// Tells everyone what became of records.
    ///
    /// The results are there before the room is given back and the counters drop: who sees that nothing
    /// is outstanding sees every failure.
    pub fn settle(&self, settled: Vec<Settlement>) {
        let mut released = Released::default();
        for Settlement { record, result } in settled {
            let tell = |run: Run, outcome| {
                run.group.settle(run.range.clone(), outcome);
                match &self.reports {
                    Some(reports) => reports.lay_down(run),
                    None => released.add(&run),
                }
            };
            match result {
                Ok(output) => deliver(record, &output, tell),
                Err(error) => {
                    self.failure.note(&error);
                    if is_the_end(&error) {
                        let tickets = record.runs.iter().filter_map(|run| run.ticket.as_ref());
                        tickets.for_each(Ticket::abandon);
                    }
                    let default_stream = self.front.default_stream().map(|name| &**name);
                    give_up(record, &error, default_stream, tell);
                }
            }
        }
        self.release(released);
    }

    /// Adds up what was measured, before anybody is told of it.
    pub fn measure(&self, effects: &Effects) {
        let Effects { calls, settled, .. } = effects;
        if calls.is_empty() && settled.is_empty() {
            return;
        }
        let mut tallies = self.tallies();
        let measure = |tally: &mut Tally| {
            calls.iter().for_each(|call| tally.call(call));
            settled.iter().for_each(|one| tally.settlement(one));
        };
        let closed = &mut tallies.closed;
        settled.iter().for_each(|one| closed.count(one));
        measure(&mut tallies.since_start);
        #[cfg(feature = "cloudwatch")]
        tallies.window.as_mut().map(measure);
    }

    /// What was measured since the last time this was asked.
    #[cfg(feature = "cloudwatch")]
    pub fn take_window(&self) -> Tally {
        let window = self.tallies().window.replace(Tally::default());
        window.unwrap_or_default()
    }

    /// What each stream has taken in.
    pub fn standings(&self) -> Vec<(String, Standing)> {
        let streams = self.front.streams().into_iter();
        streams
            .map(|stream| (stream.name.to_string(), stream.standing()))
            .collect()
    }

    pub fn metrics(&self) -> ProducerMetrics {
        let mut metrics = self.tallies().since_start.metrics();
        for (name, standing) in self.standings() {
            let of_stream = metrics.streams.entry(name).or_default();
            for measures in [&mut metrics.total, &mut of_stream.total] {
                measures.user_records_pending += standing.pending;
                measures.user_records_received += standing.received;
            }
        }
        metrics
    }

    /// What became of the records that have settled.
    pub fn closed(&self) -> Closed {
        self.tallies().closed
    }

    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        lock(&self.tallies)
    }

    /// Gives the room of settled records back, and lets those go on who wait for them.
    pub fn release(&self, released: Released) {
        if released.tickets.is_empty() {
            return;
        }
        let rooms = released.tickets.iter();
        let rooms = rooms.map(|(ticket, records, bytes)| (ticket.account(), *records, *bytes));
        self.intake.give_back(rooms);
        for (ticket, records, _) in released.tickets {
            ticket.leave(records);
        }
    }
}

impl Released {
    pub fn add(&mut self, run: &Run) {
        let (records, bytes) = (run.len() as usize, run.bytes);
        // Every record has one from the moment it is finished.
        let Some(ticket) = &run.ticket else { return };
        match self.tickets.last_mut() {
            Some((last, sum, sum_bytes)) if last.counts_with(ticket) => {
                *sum += records;
                *sum_bytes += bytes;
            }
            _ => self.tickets.push((ticket.clone(), records, bytes)),
        }
    }
}

impl Failure {
    pub fn new(fail_on_error: bool) -> Failure {
        Failure {
            fail_on_error,
            is_set: AtomicBool::new(false),
            first: Mutex::default(),
        }
    }

    /// Notes that a record was not delivered.
    fn note(&self, error: &Error) {
        if self.fail_on_error {
            self.set(error);
        }
    }

    /// Notes what ended the producer.
    pub fn set(&self, error: &Error) {
        let mut first = lock(&self.first);
        first.get_or_insert_with(|| error.clone());
        self.is_set.store(true, Ordering::Release);
    }

    /// # Errors
    /// The first failure.
    pub fn check(&self) -> Result<()> {
        if !self.is_set.load(Ordering::Acquire) {
            return Ok(());
        }
        let first = lock(&self.first);
        first.clone().map_or(Ok(()), Err)
    }
}

/// Says whether a record was given up because the producer ends, and not by itself.
fn is_the_end(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed)
}

/// Tells what became of each run of a stored record.
fn deliver(record: KinesisRecord, output: &PutRecordOutput, mut tell: impl FnMut(Run, Outcome)) {
    let is_aggregate = record.is_aggregate();
    let mut sub = 0;
    for run in record.runs {
        let first_sub = is_aggregate.then_some(sub);
        sub += u64::from(run.len());
        let outcome = Outcome::Delivered {
            shard_id: output.shard_id.clone(),
            sequence_number: output.sequence_number.clone(),
            first_sub,
            attempts: run.attempts(&record.attempts),
        };
        tell(run, outcome);
    }
}

/// Tells what became of each run of a record that was given up, and gives the user records back.
fn give_up(
    record: KinesisRecord,
    error: &Error,
    default_stream: Option<&str>,
    mut tell: impl FnMut(Run, Outcome),
) {
    let mut records = record.take_apart(default_stream).into_iter();
    for run in record.runs {
        let outcome = Outcome::Undelivered {
            records: records.by_ref().take(run.len() as usize).collect(),
            error: error.clone(),
            stored: record.stored,
            attempts: run.attempts(&record.attempts),
        };
        tell(run, outcome);
    }
}
