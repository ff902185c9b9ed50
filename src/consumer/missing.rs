use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::consumer::listing::Times;
use crate::model::ShardId;

/// Tells a shard that is gone from one that a late listing does not show, by how long that has been so.
#[derive(Debug, Default)]
pub(super) struct Missing(BTreeMap<ShardId, (Shown, Spell)>);

/// What a listing shows of a shard that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// The shard, and none of its children.
    Childless,
    /// The shard with children, be they all or not.
    Children,
}

/// Listings in a row that showed the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spell {
    /// When the first of them was there.
    since: Instant,
    /// When the last of them was asked for.
    until: Instant,
    listings: u32,
}

impl Spell {
    pub fn begin(times: Times) -> Spell {
        Spell {
            since: times.answered,
            until: times.asked,
            listings: 1,
        }
    }

    pub fn go_on(self, times: Times) -> Spell {
        Spell {
            until: times.asked,
            listings: self.listings.saturating_add(1),
            ..self
        }
    }

    /// Says whether it has lasted for longer than any listing lags behind.
    ///
    /// By the clock, as many shards may end at once, and each end is followed by a listing; and by
    /// listings, as the process may have been suspended between two of them.
    pub fn is_long(&self) -> bool {
        self.until.saturating_duration_since(self.since) >= LAG_MAX && self.listings >= LISTINGS_MIN
    }
}

impl Missing {
    /// Takes in what a listing shows of the shards that are looked for, and forgets all others.
    pub fn on_listing(&mut self, times: Times, shown: impl Iterator<Item = (ShardId, Shown)>) {
        let old = std::mem::take(&mut self.0);
        let spell = |(id, shown): (ShardId, Shown)| {
            let before = old.get(&id).filter(|(before, _)| *before == shown);
            let spell = before.map_or_else(|| Spell::begin(times), |(_, spell)| spell.go_on(times));
            (id, (shown, spell))
        };
        self.0 = shown.map(spell).collect();
    }

    /// Says whether a shard is gone for good.
    pub fn is_gone(&self, id: &ShardId) -> bool {
        self.is_long(id, Shown::Nothing)
    }

    /// Says whether listings have shown the same of a shard for long.
    pub fn is_long(&self, id: &ShardId, shown: Shown) -> bool {
        let spell = self.0.get(id).filter(|(last, _)| *last == shown);
        spell.is_some_and(|(_, spell)| spell.is_long())
    }
}

/// Listings lag behind by seconds at most.
pub(super) const LAG_MAX: Duration = Duration::from_secs(60);

const LISTINGS_MIN: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn a() -> ShardId {
        "a".into()
    }

    /// Listings each of which takes a second, asked for at these seconds.
    fn listed(missing: &mut Missing, shown: Shown, seconds: impl IntoIterator<Item = u64>) {
        for second in seconds {
            missing.on_listing(at(second), [(a(), shown)].into_iter());
        }
    }

    fn at(second: u64) -> Times {
        thread_local!(static START: Instant = Instant::now());
        let asked = START.with(|start| *start) + Duration::from_secs(second);
        let answered = asked + Duration::from_secs(1);
        Times { asked, answered }
    }

    #[test]
    fn a_shard_is_gone_after_a_minute_without_it() {
        let mut missing = Missing::default();
        listed(&mut missing, Shown::Nothing, 0..61);
        assert!(!missing.is_gone(&a()));
        listed(&mut missing, Shown::Childless, [61]);
        listed(&mut missing, Shown::Nothing, [62]);
        assert!(!missing.is_gone(&a()), "it was seen in between");
        listed(&mut missing, Shown::Nothing, 63..124);
        assert!(missing.is_gone(&a()));
    }

    #[test]
    fn many_listings_in_no_time_say_nothing() {
        let mut missing = Missing::default();
        listed(&mut missing, Shown::Nothing, [7; 1_000]);
        assert!(!missing.is_gone(&a()));
    }

    #[test]
    fn much_time_with_few_listings_says_nothing() {
        let mut missing = Missing::default();
        listed(&mut missing, Shown::Nothing, [0, 86_400]);
        assert!(!missing.is_gone(&a()));
        listed(&mut missing, Shown::Nothing, [86_401]);
        assert!(missing.is_gone(&a()));
    }

    #[test]
    fn children_are_waited_for_as_long() {
        let mut missing = Missing::default();
        let is_long = |missing: &Missing, shown| missing.is_long(&a(), shown);
        listed(&mut missing, Shown::Childless, 0..61);
        assert!(!is_long(&missing, Shown::Childless));
        listed(&mut missing, Shown::Childless, [61]);
        assert!(is_long(&missing, Shown::Childless));
        listed(&mut missing, Shown::Children, 62..123);
        assert!(!is_long(&missing, Shown::Childless) && !is_long(&missing, Shown::Children));
        listed(&mut missing, Shown::Children, [123]);
        assert!(is_long(&missing, Shown::Children));
    }
}
