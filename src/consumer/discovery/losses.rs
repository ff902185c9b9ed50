//! What discovery makes of shards that listings do not show, or not as they were.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::consumer::checkpoint::{Replaced, age};
use crate::consumer::discovery::{Discovery, Found, reference};
use crate::consumer::fate::Fate;
use crate::consumer::known::{Known, State};
use crate::consumer::listing::Listing;
use crate::model::{Gap, GapCause, SequenceNumber, Shard, ShardId, ShardPosition, ShardRef};

impl Discovery {
    /// Lets go of what was known of a stream that was deleted and made anew: its shards have the
    /// names of those before, and other records.
    pub(super) fn drop_recreated(
        &mut self,
        listing: &Listing,
        changed: &[Shard],
        found: &mut Found,
    ) {
        let name = &listing.stream;
        let mut reborn = Vec::new();
        for shard in changed {
            let at = reference(name, &shard.id);
            let stream = self.streams.get(name);
            match stream.and_then(|stream| stream.get(&shard.id)) {
                Some(known) if !known.is_reborn(shard) => {}
                Some(known) => match known.state() {
                    // Its thread knows how far it came, so it is the one to report.
                    State::Reading => {
                        let starting = shard.starting_sequence_number.clone();
                        found.fates.push((at, Fate::Recreated(starting)));
                    }
                    // Nobody reads it, and the next start finds out.
                    State::Resting | State::Passed => {}
                    _ => reborn.push(at),
                },
                None if self.is_of_another(&at, shard) => reborn.push(at),
                None => {}
            }
        }
        let is_recreated =
            !(reborn.is_empty() && found.fates.is_empty()) || self.is_newer_than_restored(listing);
        if is_recreated {
            self.report_unfollowed(listing, found);
            self.drop_waiting(listing, found);
        }
        let stream = self.stream_mut(name);
        // What is read of the old one may take a while to end, and the new one is listed meanwhile.
        stream.listed_before = match is_recreated {
            true => stream.listed_before.or(stream.listed),
            false => None,
        };
        self.begin_anew(reborn, listing, found);
    }

    /// Says whether the first listing is of a newer stream than the restored checkpoint, by shards of other
    /// names than the restored ones. A stream counts its shards up as they begin.
    fn is_newer_than_restored(&self, listing: &Listing) -> bool {
        let name = &listing.stream;
        let stream = self.streams.get(name);
        if stream.is_some_and(|stream| stream.listed.is_some()) {
            return false;
        }
        let origins = self.restored.origins.iter();
        let of_stream = origins.filter(|(at, _)| at.stream == *name);
        let newest = of_stream.max_by_key(|(at, _)| age(&at.shard_id));
        let oldest = listing.shards().iter().min_by_key(|shard| age(&shard.id));
        let (Some((newest, origin)), Some(oldest)) = (newest, oldest) else {
            return false;
        };
        let order = origin
            .starting
            .compare_alike(&oldest.starting_sequence_number);
        age(&newest.shard_id) >= age(&oldest.id) && order == Some(Ordering::Less)
    }

    /// Lets go of shards of a stream that was made anew which have waited for their parents: nobody reads
    /// them any more, so nobody else tells of them.
    fn drop_waiting(&mut self, listing: &Listing, found: &mut Found) {
        let name = &listing.stream;
        let starting = |shard: &Shard| shard.starting_sequence_number.clone();
        let Some(oldest) = listing.shards().iter().map(starting).min() else {
            return;
        };
        let is_older =
            |shard: &Shard| starting(shard).compare_alike(&oldest) == Some(Ordering::Less);
        let waiting = self.stream_mut(name).all().filter(|(id, known)| {
            known.state() == State::Waiting && !listing.shows(id) && is_older(&known.shard)
        });
        let waiting: Vec<_> = waiting.map(|(id, _)| reference(name, id)).collect();
        for at in waiting {
            found.gaps.push(self.gap(&at, GapCause::StreamRecreated));
            self.stream_mut(name).remove(&at.shard_id);
            found.foreign.push(at);
        }
    }

    /// Reports ended shards of a stream that was made anew, where perhaps nobody has seen their children.
    ///
    /// The children had records of the old stream. Those that this process was to read are reported by
    /// their own names, and those that were listed are known to the processes that read them.
    fn report_unfollowed(&mut self, listing: &Listing, found: &mut Found) {
        let name = &listing.stream;
        let Some(stream) = self.streams.get(name) else {
            return;
        };
        let is_unfollowed = |(id, known): &(&ShardId, &Known)| {
            let is_ended = known.state() == State::Ended && !known.is_told_anew;
            is_ended && !listing.shows(id) && !stream.has_seen_children(id)
        };
        let ended = stream.all().filter(is_unfollowed);
        let ended: Vec<_> = ended.map(|(id, _)| reference(name, id)).collect();
        let restored = self.restored.iter();
        let restored = restored.filter(|(at, position)| {
            let is_known = at.stream != *name || stream.knows(&at.shard_id);
            !is_known
                && **position == ShardPosition::ShardEnd
                && !listing.shows(&at.shard_id)
                && !self.has_restored_children(at)
        });
        let restored: Vec<_> = restored.map(|(at, _)| at.clone()).collect();
        for at in &ended {
            if let Some(known) = self.stream_mut(name).get_mut(&at.shard_id) {
                known.is_told_anew = true;
            }
        }
        let mine = restored.iter().filter(|at| self.reports(at));
        let gaps: Vec<_> = (ended.iter().chain(mine))
            .map(|at| self.gap(at, GapCause::StreamRecreated))
            .collect();
        found.gaps.extend(gaps);
        for at in restored {
            self.restored.shards.remove(&at);
            // Nothing more can come of it, and no listing will ever let a checkpoint forget it.
            found.foreign.push(at);
        }
    }

    /// Says whether the restored checkpoint has positions in shards that opened later and that together
    /// have all hash keys of an ended one.
    fn has_restored_children(&self, at: &ShardRef) -> bool {
        let origins = &self.restored.origins;
        let is_later = |other: &ShardRef| {
            other.stream == at.stream
                && age(&other.shard_id) > age(&at.shard_id)
                && self.restored.position(other).is_some()
        };
        let later = origins.iter().filter(|(other, _)| is_later(other));
        let later = later.map(|(_, origin)| origin.range);
        let ended = origins.get(at);
        ended.is_some_and(|ended| ended.range.is_covered_by(later))
    }

    /// What the restored checkpoint says of shards whose streams were made anew, as far as it is for this
    /// process to report what was lost of them.
    pub fn replaced(&self) -> impl Iterator<Item = (&ShardRef, &Replaced)> {
        let is_alone = self.is_alone();
        let assignment = &self.plan.assignment;
        let all = self.restored.replaced.iter();
        all.filter(move |(at, replaced)| is_alone || assignment.owns(at, replaced.range))
    }

    /// Reports what was lost of shards that other processes have read of a stream that was made anew,
    /// while this one's position is in the new one already.
    pub(super) fn report_replaced(&self, name: &Arc<str>, found: &mut Found) {
        let replaced = self.replaced().filter(|(at, _)| at.stream == *name);
        let gap = |(at, replaced): (&ShardRef, &Replaced)| Gap {
            after: replaced.after.clone(),
            ..Gap::new(at.clone(), GapCause::StreamRecreated)
        };
        found.gaps.extend(replaced.map(gap));
    }

    /// Says whether the restored checkpoint is of this process alone.
    fn is_alone(&self) -> bool {
        let assignment = &self.plan.assignment;
        let mine = assignment.subtask(0)..assignment.subtask(assignment.members);
        (self.restored.subtasks).are_among(mine, assignment.subtasks())
    }

    /// Says whether the restored position of a shard is from another one of that name.
    fn is_of_another(&self, at: &ShardRef, shard: &Shard) -> bool {
        let start = &shard.starting_sequence_number;
        match self.restored.position(at) {
            Some(ShardPosition::After {
                sequence_number, ..
            }) => sequence_number.compare_alike(start) == Some(Ordering::Less),
            Some(_) => {
                let origin = self.restored.origins.get(at);
                origin.is_some_and(|origin| origin.starting != *start)
            }
            None => false,
        }
    }

    /// Says whether the restored position of a shard is from before the shard's parent began.
    pub(super) fn is_older(&self, at: &ShardRef, parent: &SequenceNumber) -> bool {
        let starting = self.restored.origins.get(at).map(|origin| &origin.starting);
        let known = match self.restored.position(at) {
            Some(ShardPosition::After {
                sequence_number, ..
            }) => Some(sequence_number),
            Some(_) => starting,
            None => None,
        };
        known.is_some_and(|known| known.compare_alike(parent) == Some(Ordering::Less))
    }

    /// Says whether the restored position of a shard is certainly from this one.
    fn is_of_this(&self, at: &ShardRef, shard: &Shard) -> bool {
        let start = &shard.starting_sequence_number;
        match self.restored.position(at) {
            Some(ShardPosition::After {
                sequence_number, ..
            }) => (sequence_number.compare_alike(start)).is_some_and(Ordering::is_ge),
            Some(_) => {
                let origin = self.restored.origins.get(at);
                origin.is_some_and(|origin| origin.starting == *start)
            }
            None => false,
        }
    }

    /// Takes shards in anew that had ended, and that have looked open for long: they are new ones.
    pub(super) fn drop_reborn(&mut self, listing: &Listing, found: &mut Found) {
        let name = &listing.stream;
        let reborn = self.stream_mut(name).reborn_for_long();
        let shards = reborn
            .iter()
            .filter_map(|id| self.streams.get(name)?.get(id));
        let shards: Vec<_> = shards.map(|known| known.shard.clone()).collect();
        let reborn = reborn.iter().map(|id| reference(name, id)).collect();
        self.begin_anew(reborn, listing, found);
        for shard in shards {
            self.take_in(listing.at, name, shard, found);
        }
    }

    fn begin_anew(&mut self, reborn: Vec<ShardRef>, listing: &Listing, found: &mut Found) {
        if reborn.is_empty() {
            return;
        }
        let name = &listing.stream;
        let before = self.restored.listed(name);
        let stream = self.stream_mut(name);
        let mut awaited = std::mem::take(&mut stream.awaited);
        awaited.retain(|id| !listing.shows(id));
        // All of it is new, unless the start was still to come when the old stream was listed last: the
        // new one may have records from before the start.
        let before = stream.listed_before.or(stream.listed).or(before);
        let before = before.unwrap_or(listing.at);
        stream.since = stream.since.filter(|since| *since > before);
        let gone: Vec<_> = awaited.iter().map(|id| reference(name, id)).collect();
        for at in reborn.iter().chain(&gone) {
            let is_reported = match self.stream_mut(name).get(&at.shard_id) {
                Some(known) => known.member.is_some() && !known.is_told_anew,
                None => self.reports(at),
            };
            if is_reported {
                found.gaps.push(self.gap(at, GapCause::StreamRecreated));
            }
            self.stream_mut(name).remove(&at.shard_id);
        }
        // The new stream counts from the beginning: a shard of that name may yet open, and is another one.
        found.foreign.extend(gone);
        // A process that was killed while its shards went over to the new stream has positions in both.
        let of_new = listing.shards().iter().filter(|shard| {
            let at = reference(name, &shard.id);
            !reborn.contains(&at) && self.is_of_this(&at, shard)
        });
        let of_new = of_new.map(|shard| shard.id.clone()).collect();
        self.restored.forget_stream(name, &of_new);
    }

    /// Says of which shards being read it is certain that they are gone.
    pub(super) fn find_fates(&mut self, name: &Arc<str>, found: &mut Found) {
        let stream = self.stream_mut(name);
        let gone = stream
            .doubted
            .iter()
            .filter(|id| stream.missing.is_gone(id));
        let gone = gone.map(|id| (reference(name, id), Fate::Gone));
        found.fates.extend(gone);
    }

    /// Takes shards for gone that are certain not to be listed any more.
    pub(super) fn drop_vanished(&mut self, name: &Arc<str>, found: &mut Found) {
        let stream = self.stream_mut(name);
        let gone = stream
            .awaited
            .iter()
            .filter(|id| stream.missing.is_gone(id));
        let gone: Vec<_> = gone.map(|id| reference(name, id)).collect();
        for at in gone {
            if self.reports(&at) {
                found.gaps.push(self.gap(&at, GapCause::ShardVanished));
            }
            // Nothing more can come of it.
            self.stream_mut(name).awaited.remove(&at.shard_id);
            let shards = &mut self.restored.shards;
            shards.insert(at.clone(), ShardPosition::ShardEnd);
            found.vanished.push(at);
        }
    }

    /// Says whether it is this process that has to tell of the loss of a shard that is not listed: of
    /// those that have its position exactly one.
    fn reports(&self, at: &ShardRef) -> bool {
        let assignment = &self.plan.assignment;
        if self.restored.position(at).is_none() {
            let range = self.range_of_unlisted(at);
            return range.is_none_or(|range| assignment.owns(at, range));
        }
        match self.restored.origins.get(at) {
            // From a checkpoint that nobody else has.
            _ if self.is_alone() => true,
            Some(origin) => assignment.owns(at, origin.range),
            // An older version wrote it: rather twice than not at all.
            None => true,
        }
    }

    /// What may be lost of a shard behind its restored position.
    fn gap(&self, at: &ShardRef, cause: GapCause) -> Gap {
        let after = match self.restored.position(at) {
            Some(ShardPosition::After {
                sequence_number, ..
            }) => Some(sequence_number.clone()),
            _ => None,
        };
        Gap {
            after,
            ..Gap::new(at.clone(), cause)
        }
    }

    /// Looks out for the parents of new shards that nobody has ever seen: they came and went since the
    /// listing before, or this one is late.
    pub(super) fn await_unseen(&mut self, listing: &Listing, new: &[ShardId], found: &mut Found) {
        let name = &listing.stream;
        let Some(stream) = self.streams.get(name) else {
            return;
        };
        // A restart knows of shards that others read by their names alone: the service counts them up.
        let newest = self
            .restored
            .newest
            .get(name)
            .filter(|_| stream.listed.is_none());
        let is_newer = |id: &ShardId| newest.is_none_or(|newest| age(id) > age(newest));
        let is_restored = |id: &ShardId| self.restored.position(&reference(name, id)).is_some();
        let is_known = |id: &ShardId| stream.knows(id) || is_restored(id) || !is_newer(id);
        let is_new = |known: &&Known| {
            let id = &known.shard.id;
            match newest {
                Some(_) => is_newer(id),
                None => known.member.is_some() && !is_restored(id),
            }
        };
        let new = new.iter().filter_map(|id| stream.get(id)).filter(is_new);
        let unseen = new.flat_map(|known| known.shard.parents());
        let unseen = unseen
            .filter(|id| !is_known(id))
            .map(|id| reference(name, id));
        let unseen: BTreeSet<_> = unseen.filter(|at| self.reports(at)).collect();
        let place = self.place_of_new(name);
        let awaited = &mut self.stream_mut(name).awaited;
        awaited.extend(unseen.iter().map(|at| at.shard_id.clone()));
        let unseen = unseen.into_iter().map(|at| (at, place.clone()));
        found.awaited.extend(unseen);
    }
}
