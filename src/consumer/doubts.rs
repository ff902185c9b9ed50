//! Stretches that were read on the strength of a retention which no later reading has confirmed yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::consumer::checkpoint::{Checkpoint, Unconfirmed};
use crate::model::{Gap, GapCause, SequenceNumber, ShardPosition, ShardRef};
use crate::sys::lock::lock;

/// The unconfirmed stretches of all shards, for their readers and for checkpoints.
///
/// The reader hands records out before the next reading of the retention, at most 5 minutes later. A
/// process that is killed in between must not forget the doubt: its last record is still there, so
/// nothing else would show that records before it are missing. An entry stays until the retention
/// confirms its stretch, or until the caller has the gap.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts(Arc<Mutex<BTreeMap<ShardRef, Vec<Unconfirmed>>>>);

impl Doubts {
    /// Takes over what a checkpoint says.
    pub fn restore(&self, restored: &Checkpoint) {
        let all = restored.unconfirmed.iter();
        self.all()
            .extend(all.map(|(shard, one)| (shard.clone(), vec![one.clone()])));
    }

    /// Returns the unconfirmed stretch of a shard that is read from `position`.
    pub fn of(&self, shard: &ShardRef, position: &ShardPosition) -> Option<Unconfirmed> {
        let all = self.all();
        let stretches = all.get(shard)?.iter();
        let stretches = stretches.filter(|one| one.is_before(position)).cloned();
        // `None` is the beginning, and comes first.
        stretches.reduce(|one, other| Unconfirmed {
            after: one.after.min(other.after),
            lag: one.lag.max(other.lag),
        })
    }

    /// Notes a stretch before any record of it is handed over.
    pub fn note(&self, shard: &ShardRef, unconfirmed: &Unconfirmed) {
        let mut all = self.all();
        let stretches = all.entry(shard.clone()).or_default();
        match stretches
            .iter_mut()
            .find(|known| known.after == unconfirmed.after)
        {
            Some(known) => known.lag = known.lag.max(unconfirmed.lag),
            None => stretches.push(unconfirmed.clone()),
        }
    }

    /// The retention is as long as it was: nothing is missing.
    pub fn confirmed(&self, shard: &ShardRef, after: Option<&SequenceNumber>) {
        self.remove(shard, |known| known.after.as_ref() == after);
    }

    /// The caller has a gap.
    pub fn told(&self, gap: &Gap) {
        match gap.cause {
            GapCause::Trimmed => {
                self.remove(&gap.shard, |known| known.after >= gap.after);
            }
            // Nothing of what was read before is there any more.
            GapCause::StreamRecreated | GapCause::ShardVanished => {
                self.all().remove(&gap.shard);
            }
            _ => {}
        }
    }

    /// Completes a checkpoint with the stretches that its positions cover.
    pub fn complete(&self, checkpoint: &mut Checkpoint) {
        if self.all().is_empty() {
            return;
        }
        let unconfirmed = |(shard, position): (&ShardRef, &ShardPosition)| {
            Some((shard.clone(), self.of(shard, position)?))
        };
        checkpoint.unconfirmed = checkpoint.iter().filter_map(unconfirmed).collect();
    }

    fn remove(&self, shard: &ShardRef, is_settled: impl Fn(&Unconfirmed) -> bool) {
        let mut all = self.all();
        if let Some(stretches) = all.get_mut(shard) {
            stretches.retain(|one| !is_settled(one));
            if stretches.is_empty() {
                all.remove(shard);
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<ShardRef, Vec<Unconfirmed>>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::StartPosition;

    fn shard() -> ShardRef {
        ShardRef::new("orders", "a")
    }

    fn number(number: u64) -> SequenceNumber {
        number.to_string().parse().expect("a number")
    }

    fn after(n: u64) -> ShardPosition {
        ShardPosition::After {
            sequence_number: number(n),
            sub_sequence_number: None,
        }
    }

    fn unconfirmed(after: u64, hours: u64) -> Unconfirmed {
        Unconfirmed {
            after: Some(number(after)),
            lag: Duration::from_secs(hours * 3_600),
        }
    }

    fn in_checkpoint(doubts: &Doubts, position: ShardPosition) -> Option<Unconfirmed> {
        let mut checkpoint = Checkpoint::default();
        checkpoint.insert(shard(), position, None);
        doubts.complete(&mut checkpoint);
        let read = Checkpoint::from_json(&checkpoint.to_json()).expect("a checkpoint");
        assert_eq!(read, checkpoint);
        checkpoint.unconfirmed.get(&shard()).cloned()
    }

    #[test]
    fn a_checkpoint_says_what_it_covers_unconfirmed_until_the_caller_has_the_gap() {
        let doubts = Doubts::default();
        doubts.note(&shard(), &unconfirmed(3, 30));
        doubts.note(&shard(), &unconfirmed(3, 29));
        doubts.note(&shard(), &unconfirmed(7, 25));
        assert_eq!(
            in_checkpoint(&doubts, after(3)),
            None,
            "nothing of it was handed out"
        );
        assert_eq!(in_checkpoint(&doubts, after(4)), Some(unconfirmed(3, 30)));
        assert_eq!(in_checkpoint(&doubts, after(9)), Some(unconfirmed(3, 30)));
        let gap = Gap {
            after: Some(number(3)),
            before: Some(number(7)),
            ..Gap::new(shard(), GapCause::StreamRecreated)
        };
        doubts.confirmed(&shard(), Some(&number(7)));
        assert_eq!(in_checkpoint(&doubts, after(9)), Some(unconfirmed(3, 30)));
        let cause = GapCause::Trimmed;
        doubts.told(&Gap { cause, ..gap });
        assert_eq!(in_checkpoint(&doubts, after(9)), None);
    }

    #[test]
    fn each_stretch_is_confirmed_by_itself_and_all_go_with_their_stream() {
        let doubts = Doubts::default();
        for stretch in [unconfirmed(3, 30), unconfirmed(7, 25), unconfirmed(7, 26)] {
            doubts.note(&shard(), &stretch);
        }
        doubts.confirmed(&shard(), Some(&number(3)));
        assert_eq!(doubts.of(&shard(), &after(9)), Some(unconfirmed(7, 26)));
        doubts.told(&Gap::new(shard(), GapCause::UnknownPosition));
        assert_eq!(doubts.of(&shard(), &after(9)), Some(unconfirmed(7, 26)));
        doubts.told(&Gap::new(shard(), GapCause::StreamRecreated));
        assert_eq!(doubts.of(&shard(), &after(9)), None);
    }

    #[test]
    fn a_restart_takes_over_what_its_checkpoint_doubts() {
        let (doubts, restarted) = (Doubts::default(), Doubts::default());
        doubts.note(&shard(), &unconfirmed(3, 30));
        let mut checkpoint = Checkpoint::default();
        checkpoint.insert(shard(), after(4), None);
        doubts.complete(&mut checkpoint);
        restarted.restore(&checkpoint);
        assert_eq!(restarted.of(&shard(), &after(4)), Some(unconfirmed(3, 30)));
        let anew = ShardPosition::Start(StartPosition::TrimHorizon);
        assert_eq!(restarted.of(&shard(), &anew), None, "another stream's");
    }
}
