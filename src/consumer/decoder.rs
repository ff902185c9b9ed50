use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::consumer::chunk::Chunk;
use crate::consumer::meters::ShardMeter;
use crate::consumer::queue::Message;
use crate::consumer::record::{Record, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::thread;

/// What to do with a record that the [decoder](crate::ConsumerBuilder::decoder) refuses: one that is
/// no longer, or not yet, understood, and would be refused again.
///
/// A record that is left out counts as handed out once the caller has come past it, so it never comes
/// again; one that ended a shard's reading or the consumer's is not covered by any checkpoint, and
/// comes again once the decoder is repaired.
#[derive(Default)]
#[non_exhaustive]
pub enum PoisonPolicy {
    /// Give it to somebody else and leave it out: see [`dead_letter`](PoisonPolicy::dead_letter).
    DeadLetter(Box<DeadLetterHandler>),
    /// End the consumer with [`Poison`](crate::ErrorKind::Poison).
    #[default]
    Fail,
    /// Read its shard no further, and say so by [`ShardHalted`](crate::Event::ShardHalted). The
    /// other shards go on; the shard's children are not started.
    HaltShard,
    /// Leave it out, count it and log its place.
    Skip,
}

/// Takes a record that was refused, and why it was.
pub type DeadLetterHandler = dyn Fn(&Record, &Error) -> Result<(), Cause> + Send + Sync;

/// What a decoder, or the handler of dead letters, says is wrong.
type Cause = Box<dyn StdError + Send + Sync>;

impl PoisonPolicy {
    /// Gives refused records to a handler, on the thread that reads their shard, and leaves them out.
    ///
    /// That is before a checkpoint covers them: a restart may bring one to the handler again, but
    /// none is forgotten. If the handler fails, the consumer does, with the record not covered.
    pub fn dead_letter<E: Into<Cause>>(
        handler: impl Fn(&Record, &Error) -> Result<(), E> + Send + Sync + 'static,
    ) -> PoisonPolicy {
        let handler =
            move |record: &Record, error: &Error| handler(record, error).map_err(Into::into);
        PoisonPolicy::DeadLetter(Box::new(handler))
    }
}

impl fmt::Debug for PoisonPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PoisonPolicy::DeadLetter(_) => "DeadLetter",
            PoisonPolicy::Fail => "Fail",
            PoisonPolicy::HaltShard => "HaltShard",
            PoisonPolicy::Skip => "Skip",
        })
    }
}

/// The user's decoder, and what to do when it refuses.
#[derive(Default)]
pub(super) struct Decoding {
    decode: Option<Box<Decode>>,
    pub policy: PoisonPolicy,
}

type Decode = dyn Fn(&Record) -> Result<Value, Cause> + Send + Sync;

impl Decoding {
    pub fn set<T: Any + Send + Sync, E: Into<Cause>>(
        &mut self,
        decode: impl Fn(&Record) -> Result<T, E> + Send + Sync + 'static,
    ) {
        let decode = move |record: &Record| match decode(record) {
            Ok(value) => Ok(Arc::new(value) as Value),
            Err(cause) => Err(cause.into()),
        };
        self.decode = Some(Box::new(decode));
    }

    /// Gives the records of an answer their values. What is returned, if anything, has to follow them.
    pub fn apply(&self, records: &mut Chunk, meter: &ShardMeter) -> Option<Message> {
        let decode = self.decode.as_deref()?;
        let (mut refused, mut left_out, mut first) = (0, 0, None);
        let last = records.decode(|record| {
            let cause = match run(decode, record) {
                Ok(value) => {
                    record.value = Some(value);
                    return ControlFlow::Continue(());
                }
                Err(cause) => cause,
            };
            refused += 1;
            if let Some(last) = self.refuse(record, poison(record, cause)) {
                return ControlFlow::Break(last);
            }
            left_out += 1;
            first.get_or_insert_with(|| record.clone());
            ControlFlow::Continue(())
        });
        self.tell(first.as_ref(), left_out, refused, meter);
        last
    }

    /// What ends the reading, if the record does.
    fn refuse(&self, record: &mut Record, error: Error) -> Option<Message> {
        match &self.policy {
            PoisonPolicy::Fail => return Some(Message::Failed(error)),
            PoisonPolicy::HaltShard => {
                log::warn!("{error}; its shard is read no further");
                return Some(Message::Halted(error));
            }
            PoisonPolicy::Skip => {}
            PoisonPolicy::DeadLetter(handler) => {
                if let Err(cause) = run(|record| handler(record, &error), record) {
                    let cause = format!("its handler failed as well: {cause}");
                    return Some(Message::Failed(poison(record, cause.into())));
                }
            }
        }
        record.leave_out();
        None
    }

    /// One line an answer: not in the decoder's words, which may quote the record.
    fn tell(&self, first: Option<&Record>, left_out: u64, refused: u64, meter: &ShardMeter) {
        let is_dead_letter = matches!(self.policy, PoisonPolicy::DeadLetter(_));
        meter.refused(refused, if is_dead_letter { left_out } else { 0 });
        if let Some(first) = first {
            log::warn!(
                "{}: {left_out} records from {} on are left out: the decoder refused them",
                first.shard(),
                first.sequence_number()
            );
        }
    }
}

/// Runs the user's code; a panic is a refusal like any other.
fn run<T>(code: impl Fn(&Record) -> Result<T, Cause>, record: &Record) -> Result<T, Cause> {
    thread::caught("decoder", || code(record))?
}

fn poison(record: &Record, cause: Cause) -> Error {
    let kind = ErrorKind::Poison {
        sequence_number: record.sequence_number().clone(),
        sub_sequence_number: record.sub_sequence_number(),
        cause,
    };
    Error::new(kind).within(|context| context.shard = Some(record.shard().clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::client::RawRecord;
    use crate::model::{ShardRef, Timestamp};

    fn records(texts: &[&'static str]) -> Chunk {
        let record = |(at, text): (usize, &&'static str)| RawRecord {
            data: (*text).into(),
            partition_key: "key".into(),
            sequence_number: at.to_string().parse().expect("a number"),
            approximate_arrival: Timestamp::default(),
        };
        let answer = texts.iter().enumerate().map(record).collect();
        Chunk::for_tests(&ShardRef::new("orders", "a"), answer)
    }

    fn numbers(policy: PoisonPolicy) -> Decoding {
        let mut decoding = Decoding {
            policy,
            ..Decoding::default()
        };
        decoding.set(|record| {
            let text = String::from_utf8_lossy(record.data());
            assert_ne!(text, "panic");
            text.parse::<u32>()
        });
        decoding
    }

    /// The values, `None` for what is left out, and what follows.
    fn decoded(decoding: &Decoding, texts: &[&'static str]) -> (Vec<Option<u32>>, Option<String>) {
        let (mut records, meter) = (records(texts), ShardMeter::default());
        let last = decoding.apply(&mut records, &meter);
        let value = |record: Record| {
            assert_ne!(record.is_left_out(), record.decoded::<u32>().is_some());
            record.decoded().copied()
        };
        let last = last.map(|message| match message {
            Message::Failed(error) => format!("failed: {error}"),
            Message::Halted(error) => format!("halted: {error}"),
            message => panic!("{message:?}"),
        });
        (records.map(value).collect(), last)
    }

    #[test]
    fn each_policy_does_with_a_refused_record_what_it_says() {
        let texts = ["1", "x", "3", "panic", "5"];
        let all = vec![Some(1), None, Some(3), None, Some(5)];
        let message = "stream orders, shard a: the decoder refused the record at 1: invalid digit \
                       found in string; repair the decoder, or choose what to do with such records: \
                       ConsumerBuilder::on_poison";
        for (policy, values, last) in [
            (PoisonPolicy::Skip, all.clone(), None),
            (PoisonPolicy::Fail, vec![Some(1)], Some("failed")),
            (PoisonPolicy::HaltShard, vec![Some(1)], Some("halted")),
            (
                PoisonPolicy::dead_letter(|_, _| Ok::<(), Error>(())),
                all,
                None,
            ),
        ] {
            let last = last.map(|word| format!("{word}: {message}"));
            let name = format!("{policy:?}");
            assert_eq!(decoded(&numbers(policy), &texts), (values, last), "{name}");
        }
        let good = decoded(&numbers(PoisonPolicy::Fail), &["1", "2"]);
        assert_eq!(good, (vec![Some(1), Some(2)], None));
    }

    #[test]
    fn a_dead_letter_is_handed_over_with_the_reason_or_ends_the_reading() {
        let letters: Arc<Mutex<Vec<String>>> = Arc::default();
        let taken = letters.clone();
        let policy = PoisonPolicy::dead_letter(move |record, error| {
            let letter = format!("{:?}: {error}", String::from_utf8_lossy(record.data()));
            let mut letters = taken.lock().expect("not poisoned");
            if letters.len() == 1 {
                return Err("the letter box is full");
            }
            letters.push(letter);
            Ok(())
        });
        let (values, last) = decoded(&numbers(policy), &["1", "panic", "3", "x", "5"]);
        assert_eq!(values, [Some(1), None, Some(3)]);
        let last = last.expect("it ends");
        let expected = "failed: stream orders, shard a: the decoder refused the record at 3: its \
                        handler failed as well: the letter box is full; ";
        assert!(last.starts_with(expected), "{last}");
        let letters = letters.lock().expect("not poisoned");
        assert!(
            letters[0].starts_with("\"panic\": stream orders, shard a: the decoder refused the record at 1: thread decoder died: "),
            "{letters:?}"
        );
    }

    #[test]
    fn refusals_are_counted() {
        for (policy, expected) in [
            (PoisonPolicy::Skip, (2, 0)),
            (PoisonPolicy::Fail, (1, 0)),
            (
                PoisonPolicy::dead_letter(|_, _| Ok::<(), Error>(())),
                (2, 2),
            ),
        ] {
            let meter = ShardMeter::default();
            numbers(policy).apply(&mut records(&["x", "2", "y"]), &meter);
            assert_eq!(meter.refusals(), expected);
        }
    }

    #[test]
    fn without_a_decoder_records_stay_as_they_are() {
        let (mut some, meter) = (records(&["x"]), ShardMeter::default());
        assert!(Decoding::default().apply(&mut some, &meter).is_none());
        let record = some.next().expect("a record");
        assert!(!record.is_left_out() && record.decoded::<u32>().is_none());
    }
}
