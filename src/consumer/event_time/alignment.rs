use std::sync::Arc;
use std::time::Duration;

use crate::consumer::event_time::exchange::{Exchange, Global, Local};
use crate::consumer::record::Stamp;
use crate::model::Timestamp;

/// Whose record is next when shards are held together in event time: the oldest, if it is not too far
/// ahead. Pure but for the [`Exchange`] it reads.
///
/// It cannot lock up: what is reported of a shard is the watermark that its next record brings, and the
/// shard that is furthest behind is never the one that waits, whatever the look-ahead.
pub(in crate::consumer) struct Alignment {
    lookahead: Duration,
    /// Lets one record past the look-ahead, as Flink's connector does.
    one_past: bool,
    exchange: Option<Arc<Exchange>>,
    /// How far the merged output may run ahead of shards of which nothing is there.
    within: Option<Duration>,
    /// The answer by which the turn was given, and what it allows.
    version: u64,
    limit: Timestamp,
}

/// The next record of a shard.
#[derive(Clone, Copy, Debug)]
pub(in crate::consumer) struct Head {
    pub slot: usize,
    /// What counts against the look-ahead: its event time, or that of the record before it.
    pub time: Timestamp,
    /// The shard's, with this record handed out.
    pub watermark: Timestamp,
}

/// What a shard may hand out before another choice is made: records up to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Turn {
    pub slot: usize,
    pub until: Timestamp,
}

/// How far those are that have nothing to hand out.
#[derive(Clone, Copy, Debug)]
pub(in crate::consumer) struct Awaited {
    pub local: Local,
    /// The lowest of the shards from which something may come at any time.
    pub lowest: Option<Timestamp>,
}

impl Alignment {
    pub fn new(
        lookahead: Duration,
        one_past: bool,
        exchange: Option<Arc<Exchange>>,
        within: Option<Duration>,
    ) -> Alignment {
        Alignment {
            lookahead,
            one_past,
            exchange,
            within,
            version: 0,
            limit: LAST,
        }
    }

    /// Until it has been asked how far all are, every shard has to say how far it is.
    pub fn is_joining(&self) -> bool {
        let global = self.exchange.as_ref().map(|exchange| exchange.read().1);
        global == Some(Global::Joining)
    }

    /// Says whether the turn is over because all are further, or further back, than when it was given.
    pub fn is_outdated(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_some_and(|exchange| exchange.version() != self.version)
    }

    /// Says whether a record has to wait for others, and not only for its turn.
    pub fn is_beyond(&self, head: &Head) -> bool {
        head.time > self.limit
    }

    /// The time that counts of a shard's next record.
    pub fn time_of(&self, next: Stamp, last: Option<Timestamp>) -> Timestamp {
        let last = last.filter(|_| self.one_past);
        last.unwrap_or(next.event_time)
    }

    /// Tells the others how far this consumer is, and gives a shard its turn, or none.
    pub fn choose(&mut self, heads: &[Head], awaited: Awaited) -> Option<Turn> {
        self.limit = Timestamp::MIN;
        let global = self.exchange(awaited.local)?;
        let merged = self.limit_of_merged(awaited.lowest);
        let limit = match global {
            Some(global) => global.saturating_add(self.lookahead).min(merged),
            None => merged,
        };
        self.limit = limit;
        let oldest = heads.iter().min_by_key(|head| head.time)?;
        let others = heads.iter().filter(|head| head.slot != oldest.slot);
        let second = others.map(|head| head.time).min().unwrap_or(LAST);
        let until = second.min(limit);
        let slot = oldest.slot;
        if oldest.time <= limit {
            return Some(Turn { slot, until });
        }
        let is_furthest_behind = |head: &&Head| {
            let is_known = head.watermark > Timestamp::MIN;
            is_known && global.is_some_and(|global| head.watermark <= global) && head.time <= merged
        };
        let slot = heads.iter().find(is_furthest_behind)?.slot;
        Some(Turn { slot, until })
    }

    /// How far all are, if that limits anything; `None` at all: nothing may be handed out yet.
    fn exchange(&mut self, local: Local) -> Option<Option<Timestamp>> {
        let Some(exchange) = &self.exchange else {
            return Some(None);
        };
        // In this order: an answer that comes in between outdates the turn.
        self.version = exchange.version();
        exchange.tell(local);
        match (exchange.read().1, local) {
            (Global::Joining, _) | (Global::Unknown, Local::At(_)) => None,
            (Global::At(global), _) => Some(Some(global)),
            (Global::Unknown, _) => Some(None),
        }
    }

    fn limit_of_merged(&self, awaited: Option<Timestamp>) -> Timestamp {
        let limit = |within| Some(awaited?.saturating_add(within));
        self.within.and_then(limit).unwrap_or(LAST)
    }
}

/// After every other time.
const LAST: Timestamp = Timestamp::from_millis(i64::MAX);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::consumer::shelf::Bell;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Shards with records of these times, which are their own watermarks but for a delay.
    struct Shards {
        alignment: Alignment,
        exchange: Arc<Exchange>,
        records: Vec<VecDeque<i64>>,
        last: Vec<Option<Timestamp>>,
        delay: Duration,
    }

    impl Shards {
        fn new(lookahead: u64, one_past: bool, records: &[&[i64]]) -> Shards {
            let exchange = Arc::new(Exchange::new(Bell::new().0));
            let lookahead = Duration::from_millis(lookahead);
            let mine = Some(exchange.clone());
            Shards {
                alignment: Alignment::new(lookahead, one_past, mine, None),
                exchange,
                records: records
                    .iter()
                    .map(|all| all.iter().copied().collect())
                    .collect(),
                last: vec![None; records.len()],
                delay: Duration::ZERO,
            }
        }

        fn heads(&self) -> Vec<Head> {
            let head = |(slot, records): (usize, &VecDeque<i64>)| {
                let event_time = at(*records.front()?);
                let watermark = event_time.saturating_sub(self.delay);
                let stamp = Stamp {
                    event_time,
                    watermark,
                };
                let time = self.alignment.time_of(stamp, self.last[slot]);
                Some(Head {
                    slot,
                    time,
                    watermark,
                })
            };
            self.records.iter().enumerate().filter_map(head).collect()
        }

        fn local(&self) -> Local {
            let heads = self.heads();
            let lowest = heads.iter().map(|head| head.watermark).min();
            lowest.map_or(Local::Idle, Local::At)
        }

        /// Hands out what may be handed out.
        fn drain(&mut self) -> Vec<i64> {
            let mut all = Vec::new();
            loop {
                let (heads, local) = (self.heads(), self.local());
                let awaited = Awaited {
                    local,
                    lowest: None,
                };
                let Some(turn) = self.alignment.choose(&heads, awaited) else {
                    return all;
                };
                let millis = self.records[turn.slot].pop_front().expect("a head");
                self.last[turn.slot] = Some(at(millis));
                all.push(millis);
            }
        }

        /// All others are that far; tells how far this one is.
        fn sync(&mut self, global: i64) -> Local {
            self.exchange.answer(Global::At(at(global)));
            self.exchange.read().0
        }
    }

    /// `RecordEmitterTest.test`.
    #[test]
    fn records_come_in_the_order_of_their_times() {
        let mut shards = Shards::new(0, false, &[&[1, 5, 10], &[2]]);
        shards.sync(100);
        assert_eq!(shards.drain(), [1, 2, 5, 10]);
    }

    /// `RecordEmitterTest.testRetainMinAfterReachingLimit`, strictly and as it is there.
    #[test]
    fn nothing_goes_beyond_the_look_ahead_or_one_record_if_that_is_chosen() {
        let records: [&[i64]; 2] = [&[1, 2, 3, 10, 11], &[20, 30]];
        for (one_past, first, second) in [
            (false, vec![1, 2, 3], vec![10, 11]),
            (true, vec![1, 2, 3, 10], vec![11]),
        ] {
            let mut shards = Shards::new(1, one_past, &records);
            shards.sync(5);
            assert_eq!(shards.drain(), first);
            shards.sync(10);
            assert_eq!(shards.drain(), second);
            assert_eq!(shards.records[1].len(), 2, "20 and 30 stay");
        }
    }

    /// `FlinkKinesisConsumerTest.testSourceSynchronization`: out of order by 5. Its look-ahead of 5 was
    /// raised to three intervals of 1,001 ms.
    #[test]
    fn the_next_buffered_watermark_is_what_the_others_are_told() {
        let mut shards = Shards::new(3 * 1_001, false, &[&[1]]);
        shards.delay = Duration::from_millis(5);
        assert_eq!(shards.drain(), NOTHING, "nobody has been asked");
        assert_eq!(shards.sync(-4), Local::At(at(-4)));
        assert_eq!(shards.drain(), [1]);
        shards.records[0].push_back(3_005);
        assert_eq!(shards.drain(), NOTHING, "3005 is buffered");
        assert_eq!(shards.sync(-4), Local::At(at(3_000)), "what is told next");
        assert_eq!(shards.drain(), NOTHING);
        shards.sync(3_000);
        assert_eq!(shards.drain(), [3_005]);
    }

    /// Would it be held to the look-ahead by its time, it would wait for itself.
    #[test]
    fn the_shard_that_is_furthest_behind_never_waits() {
        let mut shards = Shards::new(0, false, &[&[100, 200], &[150]]);
        shards.delay = Duration::from_secs(3_600);
        let mut all = Vec::new();
        for _ in 0..3 {
            shards.drain();
            let Local::At(local) = shards.sync(0) else {
                panic!("it has records");
            };
            shards.sync(local.as_millis());
            all.append(&mut shards.drain());
        }
        assert_eq!(all, [100, 150, 200]);
    }

    #[test]
    fn a_limit_at_either_end_of_time_does_not_overflow() {
        let mut shards = Shards::new(u64::MAX, false, &[&[1]]);
        shards.sync(i64::MAX - 1);
        assert_eq!(shards.drain(), [1]);
        let mut held = Shards::new(1, false, &[&[1]]);
        held.sync(i64::MIN);
        assert_eq!(held.drain(), NOTHING, "somebody is expected");
        let mut free = Shards::new(1, false, &[&[1]]);
        free.exchange.answer(Global::Unknown);
        assert_eq!(free.drain(), NOTHING, "all are asked first");
        free.sync(0);
        assert_eq!(free.drain(), [1]);
    }

    #[test]
    fn an_answer_ends_the_turn() {
        let mut shards = Shards::new(1, false, &[&[1]]);
        shards.sync(1);
        shards.drain();
        assert!(!shards.alignment.is_outdated());
        shards.sync(2);
        assert!(shards.alignment.is_outdated());
    }

    #[test]
    fn merged_output_waits_for_shards_of_which_nothing_is_there() {
        let within = Some(Duration::from_millis(10));
        let mut merged = Alignment::new(Duration::ZERO, false, None, within);
        let head = |slot, millis| Head {
            slot,
            time: at(millis),
            watermark: at(millis),
        };
        let mut choose = |heads: &[Head], lowest: Option<i64>| {
            let lowest = lowest.map(at);
            let local = Local::Unknown;
            merged.choose(heads, Awaited { local, lowest })
        };
        let turn = |slot, until| Some(Turn { slot, until });
        let heads = [head(0, 30), head(1, 20)];
        assert_eq!(choose(&heads, None), turn(1, at(30)));
        assert_eq!(choose(&heads, Some(10)), turn(1, at(20)));
        assert_eq!(choose(&heads, Some(9)), None);
        assert_eq!(choose(&heads, Some(i64::MIN)), None);
        assert_eq!(choose(&heads[..1], None), turn(0, LAST));
    }

    const NOTHING: Vec<i64> = Vec::new();
}
