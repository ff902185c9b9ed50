use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// Which subtasks' shards a checkpoint has, by the parallelism they were part of.
///
/// Empty if it has the shards of all subtasks, or if nothing is known of that: an older version did
/// not note it, and neither does a checkpoint made by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::consumer) struct Subtasks(BTreeMap<usize, BTreeSet<usize>>);

impl Subtasks {
    /// One subtask of so many.
    pub fn one(index: usize, parallelism: usize) -> Subtasks {
        Subtasks::from_iter([(parallelism, BTreeSet::from([index]))])
    }

    /// The subtasks of two checkpoints together. Where one of the two has all of them, so has the sum.
    pub fn merge(self, other: Subtasks) -> Subtasks {
        match self.is_complete() || other.is_complete() {
            true => Subtasks::default(),
            false => self.0.into_iter().chain(other.0).collect(),
        }
    }

    pub fn is_complete(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether these subtasks of so many are among them.
    pub fn have(&self, mut wanted: Range<usize>, parallelism: usize) -> bool {
        let same = self.0.get(&parallelism);
        self.is_complete() || same.is_some_and(|same| wanted.all(|index| same.contains(&index)))
    }

    /// Says whether it has no other subtasks than these of so many.
    pub fn are_among(&self, range: Range<usize>, parallelism: usize) -> bool {
        let is_among = |(of, subtasks): (usize, &BTreeSet<usize>)| {
            of == parallelism && subtasks.iter().all(|index| range.contains(index))
        };
        !self.is_complete() && self.iter().all(is_among)
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &BTreeSet<usize>)> {
        self.0.iter().map(|(parallelism, all)| (*parallelism, all))
    }
}

/// Puts them together; all subtasks of one parallelism have everything.
impl FromIterator<(usize, BTreeSet<usize>)> for Subtasks {
    fn from_iter<T: IntoIterator<Item = (usize, BTreeSet<usize>)>>(parts: T) -> Subtasks {
        let mut all: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (parallelism, subtasks) in parts {
            all.entry(parallelism).or_default().extend(subtasks);
        }
        let is_whole = |(parallelism, subtasks): (&usize, &BTreeSet<usize>)| {
            subtasks.range(..*parallelism).count() == *parallelism
        };
        match all.iter().any(is_whole) {
            true => Subtasks::default(),
            false => Subtasks(all),
        }
    }
}

/// `0 and 2 of 3`.
impl fmt::Display for Subtasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (parallelism, subtasks)) in self.iter().enumerate() {
            let lead = if n > 0 { ", and " } else { "" };
            let named: Vec<_> = subtasks
                .iter()
                .take(NAMED_MAX)
                .map(usize::to_string)
                .collect();
            let more = if subtasks.len() > NAMED_MAX {
                ", ..."
            } else {
                ""
            };
            write!(f, "{lead}{}{more} of {parallelism}", named.join(", "))?;
        }
        Ok(())
    }
}

/// A message stays readable.
const NAMED_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parallelism: usize, subtasks: &[usize]) -> Subtasks {
        let one = |index: &usize| Subtasks::one(*index, parallelism);
        let all = subtasks.iter().map(one).reduce(Subtasks::merge);
        all.expect("at least one")
    }

    #[test]
    fn all_subtasks_together_have_everything() {
        assert!(Subtasks::one(0, 1).is_complete());
        assert!(!of(3, &[0, 2]).is_complete());
        assert!(of(3, &[2, 0, 1]).is_complete());
        let two = of(3, &[0, 1]).merge(of(2, &[0]));
        assert!(!two.is_complete());
        assert!(two.clone().merge(of(2, &[1])).is_complete());
        assert!(two.merge(Subtasks::default()).is_complete());
    }

    #[test]
    fn a_subtask_is_had_with_its_parallelism_only() {
        let two = of(3, &[0, 1]);
        assert!(two.have(0..1, 3) && two.have(0..2, 3));
        assert!(!two.have(0..3, 3) && !two.have(0..1, 2));
        assert!(of(1, &[0]).have(4..7, 9));
        assert!(two.are_among(0..2, 3) && two.are_among(0..3, 3));
        assert!(!two.are_among(0..1, 3) && !two.are_among(0..2, 2));
        assert!(!of(1, &[0]).are_among(0..1, 1), "all are not only these");
    }

    #[test]
    fn messages_name_them() {
        assert_eq!(of(3, &[0, 2]).to_string(), "0, 2 of 3");
        let ten: Vec<_> = (0..10).collect();
        let text = of(30, &ten).to_string();
        assert_eq!(text, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 of 30");
        let many: Vec<_> = (0..20).collect();
        let text = of(30, &many).merge(of(2, &[1])).to_string();
        assert_eq!(text, "1 of 2, and 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... of 30");
    }
}
