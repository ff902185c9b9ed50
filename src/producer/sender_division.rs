//! How the senders are divided among streams, so that those that hang leave some to those that answer.
//!
//! Pure, and counted anew for each call. A stream whose last call was not answered is doubtful: its next
//! one may hang. One that answers may begin to hang at any time, and then with all its calls.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::producer::stream_state::StreamState;

/// Who has how many calls under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SenderDivision {
    pub senders: usize,
    /// Streams that records were put to of late.
    pub active: usize,
    /// Calls under way of doubtful streams.
    pub doubtful: usize,
    /// Doubtful streams that have a call under way, or want one.
    pub wanting: usize,
    /// Calls under way of the stream that has most of them, of those that answer.
    pub busiest: usize,
}

impl SenderDivision {
    /// Counts the calls of streams that have some under way, or want to make one.
    pub fn count<'a>(
        senders: usize,
        active: usize,
        streams: &HashMap<Arc<str>, StreamState>,
        busy: impl Iterator<Item = &'a Arc<str>>,
    ) -> SenderDivision {
        let mut division = SenderDivision {
            senders,
            active,
            doubtful: 0,
            wanting: 0,
            busiest: 0,
        };
        if active <= 1 {
            // A stream that is alone has all senders: nothing is to be counted.
            return division;
        }
        let mut counted = HashSet::new();
        for (name, stream) in busy.filter_map(|name| Some((name, streams.get(name)?))) {
            if !counted.insert(name) {
                continue;
            }
            if stream.is_silent {
                division.doubtful += stream.calls;
                division.wanting += 1;
            } else {
                division.busiest = division.busiest.max(stream.calls);
            }
        }
        division
    }

    /// Says whether a stream may have one more call under way.
    ///
    /// A doubtful one has one at a time, and all of them together have half of the senders. A quarter of
    /// the senders stays free of doubtful calls and of those of any single stream that answers, should it
    /// begin to hang: whichever of the two comes first, the other takes no more than what is left. One
    /// doubtful stream is always heard, so that each gets on.
    pub fn allows(&self, stream: &StreamState) -> bool {
        if self.active <= 1 {
            return stream.existence.is_confirmed() || stream.calls == 0;
        }
        let (half, quarter) = ((self.senders / 2).max(1), (self.senders / 4).max(1));
        let shared = self.senders.saturating_sub(quarter);
        if stream.is_silent {
            let is_left = self.doubtful < half && self.doubtful + self.busiest < shared;
            return stream.calls == 0 && (self.doubtful == 0 || is_left);
        }
        let doubtful = self.doubtful.max(self.wanting.clamp(1, half));
        stream.calls < shared.saturating_sub(doubtful).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProducerConfig;
    use crate::producer::existence::Existence;
    use crate::sys::rng::Rng;

    /// One stream that answers begins to hang, and doubtful ones hang: in any order of their calls.
    #[test]
    fn whatever_hangs_a_quarter_is_left_and_one_doubtful_stream_is_heard() {
        for seed in 0..2_000 {
            let mut rng = Rng::from_seed(seed);
            let mut pick = |below: usize| (rng.next_u64() % below as u64) as usize;
            let (senders, doubtful) = (4 + pick(60), pick(30));
            let mut streams = streams(1 + doubtful);
            for _ in 0..500 {
                // The first is the one that answers; those that have calls do not get them back.
                let name: Arc<str> = pick(1 + doubtful).to_string().into();
                let busy: Vec<_> = streams.keys().filter(|_| pick(2) == 0).cloned().collect();
                let with_calls = streams.iter().filter(|(_, stream)| stream.calls > 0);
                let with_calls: Vec<_> = with_calls.map(|(name, _)| name.clone()).collect();
                let busy = busy.iter().chain(&with_calls).chain([&name]);
                let division = SenderDivision::count(senders, 2, &streams, busy);
                let stream = streams.get_mut(&name).expect("one of them");
                stream.calls += usize::from(division.allows(stream));
            }
            let calls: usize = streams.values().map(|stream| stream.calls).sum();
            let left = senders - calls;
            assert!(left >= senders / 4, "SEED={seed}: {left} of {senders}");
            let heard = streams
                .iter()
                .any(|(name, one)| &**name != "0" && one.calls > 0);
            assert!(heard || doubtful == 0, "SEED={seed}");
        }
    }

    #[test]
    fn each_stream_is_counted_once_and_none_beside_one_that_is_alone() {
        let mut streams = streams(3);
        for (name, calls) in [("0", 4), ("1", 1), ("2", 2)] {
            streams.get_mut(name).expect("one of them").calls = calls;
        }
        let busy = ["0", "1", "1", "2", "gone"].map(Arc::from);
        let count = |active| SenderDivision::count(20, active, &streams, busy.iter());
        let alone = SenderDivision {
            senders: 20,
            active: 1,
            doubtful: 0,
            wanting: 0,
            busiest: 0,
        };
        assert_eq!(count(1), alone);
        let several = SenderDivision {
            active: 2,
            doubtful: 3,
            wanting: 2,
            busiest: 4,
            ..alone
        };
        assert_eq!(count(2), several);
    }

    /// Of 20 senders, half are 10, and a quarter is 5.
    #[test]
    fn a_stream_has_as_many_calls_as_the_others_leave_it() {
        let rows = [
            // A doubtful one: its calls, those of the doubtful, those of the busiest.
            (true, 0, 0, 0, 20, true),
            (true, 1, 0, 0, 0, false),
            (true, 1, 1, 1, 0, false),
            (true, 0, 9, 9, 0, true),
            (true, 0, 10, 10, 0, false),
            (true, 0, 5, 5, 9, true),
            (true, 0, 5, 5, 10, false),
            // One that answers: one sender more stays free for a doubtful one.
            (false, 0, 0, 0, 0, true),
            (false, 13, 0, 0, 13, true),
            (false, 14, 0, 0, 14, false),
            (false, 11, 0, 3, 11, true),
            (false, 12, 0, 3, 12, false),
            (false, 4, 0, 30, 4, true),
            (false, 5, 0, 30, 5, false),
            (false, 0, 15, 30, 0, true),
            (false, 1, 15, 30, 1, false),
        ];
        let mut streams = streams(1);
        let stream = streams.get_mut("0").expect("one");
        for row in rows {
            let (is_silent, calls, doubtful, wanting, busiest, allowed) = row;
            (stream.is_silent, stream.calls) = (is_silent, calls);
            let division = SenderDivision {
                senders: 20,
                active: 2,
                doubtful,
                wanting,
                busiest,
            };
            assert_eq!(division.allows(stream), allowed, "{row:?}");
        }
    }

    #[test]
    fn a_stream_that_is_alone_has_all_senders_once_it_is_known_to_exist() {
        let division = SenderDivision::count(20, 1, &HashMap::new(), std::iter::empty());
        let mut streams = streams(1);
        let stream = streams.get_mut("0").expect("one");
        for (calls, confirmed, allowed) in [
            (0, true, true),
            (100, true, true),
            (0, false, true),
            (1, false, false),
        ] {
            stream.calls = calls;
            stream.existence = match confirmed {
                true => Existence::confirmed(),
                false => Existence::default(),
            };
            assert_eq!(division.allows(stream), allowed, "{calls}, {confirmed}");
        }
    }

    fn streams(count: usize) -> HashMap<Arc<str>, StreamState> {
        let config = ProducerConfig::builder().build().expect("valid");
        let stream = |n: usize| {
            let mut stream = StreamState::new(&config);
            stream.existence = Existence::confirmed();
            stream.is_silent = n > 0;
            (n.to_string().into(), stream)
        };
        (0..count).map(stream).collect()
    }
}
