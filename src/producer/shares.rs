//! How the queue limit is divided among streams.
//!
//! Pure: what may be taken in, and what a refusal is due to. The limit is the sum over all streams. Of
//! it each active stream has a reserve that the others leave alone, so that one stream that takes
//! nothing for a while cannot fill the queue for all. Half of the limit is reserved, and the other half
//! goes to the streams that put first; a stream that is alone has all of it. A stream may have taken
//! more than its part while there were fewer streams. Until its records settle, the streams that came
//! last have smaller reserves.

/// What records take, and to which stream it is charged.
#[derive(Default)]
pub(super) struct Shares {
    records: Resource,
    bytes: Resource,
    /// In the order in which the streams were first put to.
    accounts: Vec<Account>,
    active: usize,
    /// Counts the looks at who is still active.
    round: u32,
}

/// One of the two things that are limited.
#[derive(Default)]
struct Resource {
    limit: usize,
    used: usize,
    /// What active streams have not taken of their reserves, all together.
    unmet: usize,
}

/// One stream's.
#[derive(Clone, Default)]
struct Account {
    records: Part,
    bytes: Part,
    /// Puts that wait for room.
    waiting: usize,
    is_active: bool,
    /// The round of its last put.
    touched: u32,
}

/// What one stream has of a resource.
#[derive(Clone, Copy, Default)]
struct Part {
    used: usize,
    /// What it may count on.
    reserve: usize,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Bytes,
    Records,
}

/// Why a record is not taken in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub full: Full,
    /// Whether the stream's own records are in the way, and not those of others.
    pub is_own: bool,
}

impl Shares {
    pub fn new(records: usize, bytes: usize) -> Shares {
        let resource = |limit| Resource {
            limit,
            ..Resource::default()
        };
        Shares {
            records: resource(records),
            bytes: resource(bytes),
            ..Shares::default()
        }
    }

    /// How many records are in.
    pub fn records(&self) -> usize {
        self.records.used
    }

    /// Says whether nothing can be taken in, whoever asks.
    pub fn is_full(&self) -> bool {
        self.records.used >= self.records.limit
    }

    /// Says whether a record of so many bytes may come in, beyond its stream's reserve only if
    /// `beyond` says so.
    pub fn admits(&self, account: usize, bytes: usize, beyond: bool) -> Result<(), Refusal> {
        let own = self.account(account);
        let records = self.records.admits(own.records, 1, beyond);
        records.map_err(|is_own| Refusal {
            full: Full::Records,
            is_own,
        })?;
        let bytes = self.bytes.admits(own.bytes, bytes, beyond);
        bytes.map_err(|is_own| Refusal {
            full: Full::Bytes,
            is_own,
        })
    }

    /// Notes that a stream wants something in: from now on it has a reserve.
    pub fn touch(&mut self, account: usize) {
        if self.accounts.len() <= account {
            self.accounts.resize(account + 1, Account::default());
        }
        let round = self.round;
        let touched = &mut self.accounts[account];
        touched.touched = round;
        if !touched.is_active {
            touched.is_active = true;
            self.active += 1;
            self.divide();
        }
    }

    /// Charges a record, which [`admits`](Shares::admits) let in, to a stream that was touched.
    pub fn take(&mut self, account: usize, bytes: usize) {
        let own = &mut self.accounts[account];
        self.records.grow(&mut own.records, 1);
        self.bytes.grow(&mut own.bytes, bytes);
    }

    /// Takes the charge for settled records back.
    pub fn give_back(&mut self, account: usize, records: usize, bytes: usize) {
        let Some(own) = self.accounts.get_mut(account) else {
            return;
        };
        self.records.shrink(&mut own.records, records);
        self.bytes.shrink(&mut own.bytes, bytes);
    }

    /// Notes that a put of this stream begins to wait, or ends.
    pub fn wait(&mut self, account: usize, begins: bool) {
        let waiting = &mut self.accounts[account].waiting;
        *waiting = match begins {
            true => *waiting + 1,
            false => waiting.saturating_sub(1),
        };
    }

    /// Takes the reserve from streams that have nothing in and put nothing since the last look.
    pub fn retire(&mut self) {
        let round = self.round;
        let idle = |own: &&mut Account| {
            own.is_active && own.records.used == 0 && own.waiting == 0 && own.touched != round
        };
        let mut retired = 0;
        for own in self.accounts.iter_mut().filter(idle) {
            own.is_active = false;
            retired += 1;
        }
        self.round = round.wrapping_add(1);
        self.active -= retired;
        self.divide();
    }

    fn account(&self, account: usize) -> Account {
        self.accounts.get(account).cloned().unwrap_or_default()
    }

    fn divide(&mut self) {
        let (mut records, mut bytes) = (self.records.division(), self.bytes.division());
        for own in self.accounts.iter_mut().filter(|own| own.is_active) {
            records.reserve(&mut own.records, self.active);
            bytes.reserve(&mut own.bytes, self.active);
        }
        (self.records.unmet, self.bytes.unmet) = (records.unmet, bytes.unmet);
    }
}

/// A resource while it is divided anew.
struct Division {
    limit: usize,
    left: usize,
    unmet: usize,
}

impl Division {
    /// Half of the limit in equal parts, or what those before it have left of it.
    fn reserve(&mut self, own: &mut Part, streams: usize) {
        let equal = (self.limit / 2 / streams.max(1)).max(1);
        let unmet = equal.saturating_sub(own.used).min(self.left);
        own.reserve = equal.min(own.used.saturating_add(unmet));
        self.left -= unmet;
        self.unmet = self.unmet.saturating_add(unmet);
    }
}

impl Part {
    fn unmet(self) -> usize {
        self.reserve.saturating_sub(self.used)
    }
}

impl Resource {
    fn division(&self) -> Division {
        Division {
            limit: self.limit,
            left: self.limit.saturating_sub(self.used),
            unmet: 0,
        }
    }

    /// Says whether so much more fits; `Err` says whether the stream's own is in the way.
    fn admits(&self, own: Part, amount: usize, beyond: bool) -> Result<(), bool> {
        let grown = own.used.saturating_add(amount);
        let sum = self.used.saturating_add(amount);
        // A stream's first record may be larger than its reserve: so each gets on.
        let is_reserved = own.used == 0 || grown <= own.reserve;
        // What is larger than the whole room goes in when nothing else is.
        if sum > self.limit && self.used > 0 {
            return Err(!is_reserved);
        }
        let others = self.unmet - own.unmet().min(self.unmet);
        let is_left = beyond && sum.saturating_add(others) <= self.limit;
        match is_reserved || is_left || self.used == 0 {
            true => Ok(()),
            false => Err(true),
        }
    }

    fn grow(&mut self, own: &mut Part, amount: usize) {
        let before = own.unmet();
        own.used = own.used.saturating_add(amount);
        self.used = self.used.saturating_add(amount);
        self.unmet = self.unmet.saturating_sub(before - own.unmet());
    }

    fn shrink(&mut self, own: &mut Part, amount: usize) {
        let before = own.unmet();
        own.used = own.used.saturating_sub(amount);
        self.used = self.used.saturating_sub(amount);
        self.unmet = self.unmet.saturating_add(own.unmet() - before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::rng::Rng;

    /// Takes as many records of a byte in as there is room for.
    fn fill(shares: &mut Shares, account: usize) -> usize {
        shares.touch(account);
        let mut taken = 0;
        while shares.admits(account, 1, true).is_ok() {
            shares.take(account, 1);
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_stream_that_is_alone_has_the_whole_limit() {
        for limit in [1, 2, 10, 1_000] {
            assert_eq!(fill(&mut Shares::new(limit, usize::MAX), 0), limit);
        }
    }

    #[test]
    fn one_of_several_leaves_the_reserves_of_the_others() {
        let mut shares = Shares::new(1_000, usize::MAX);
        (0..4).for_each(|account| shares.touch(account));
        // A reserve is 1000 / (2 * 4).
        assert_eq!(fill(&mut shares, 0), 1_000 - 3 * 125);
        for account in 1..4 {
            assert_eq!(fill(&mut shares, account), 125);
        }
        assert!(shares.is_full());
        // What a stream with more than its reserve gives back goes to whoever comes first.
        shares.give_back(0, 100, 100);
        assert_eq!(fill(&mut shares, 1), 100);
        shares.give_back(2, 100, 100);
        assert_eq!((fill(&mut shares, 1), fill(&mut shares, 2)), (0, 100));
    }

    #[test]
    fn what_a_stream_took_before_others_came_is_not_reserved_for_two_of_them() {
        let mut shares = Shares::new(1_000, usize::MAX);
        shares.touch(0);
        assert_eq!(fill(&mut shares, 1), 750);
        // 250 are left. Of ten streams the first is promised a twentieth of 1000, and those that came
        // later have what the ones before them leave.
        let late: Vec<usize> = (2..10).map(|account| fill(&mut shares, account)).collect();
        assert!(late.iter().all(|taken| *taken > 0), "{late:?}");
        assert_eq!(fill(&mut shares, 0), 50);
        // What the second gives back is divided anew.
        shares.give_back(1, 750, 750);
        shares.retire();
        for account in 2..10 {
            assert!(fill(&mut shares, account) >= 7, "up to 50");
        }
    }

    #[test]
    fn bytes_are_divided_as_records_are() {
        let mut shares = Shares::new(usize::MAX, 1_000);
        (0..4).for_each(|account| shares.touch(account));
        assert_eq!(fill(&mut shares, 0), 1_000 - 3 * 125);
        let refusal = shares.admits(0, 1, true).expect_err("full");
        assert_eq!((refusal.full, refusal.is_own), (Full::Bytes, true));
        // The first record of a stream may be larger than its reserve, if there is room.
        assert_eq!(shares.admits(1, 375, true), Ok(()));
        let refusal = shares.admits(1, 376, true).expect_err("full");
        assert!(!refusal.is_own, "others are in the way");
    }

    #[test]
    fn with_more_streams_than_records_each_still_gets_on() {
        let mut shares = Shares::new(10, usize::MAX);
        (0..25).for_each(|account| shares.touch(account));
        for account in 0..25 {
            assert_eq!(fill(&mut shares, account), usize::from(account < 10));
        }
        shares.give_back(3, 1, 1);
        assert_eq!(shares.admits(24, 1, true), Ok(()));
    }

    #[test]
    fn a_stream_without_records_loses_its_reserve_after_a_while() {
        let mut shares = Shares::new(1_000, usize::MAX);
        (0..4).for_each(|account| shares.touch(account));
        shares.take(1, 1);
        shares.retire();
        shares.touch(2);
        shares.retire();
        // The third has been idle for a round, and the first and the last for two.
        assert_eq!(shares.active, 2);
        shares.wait(2, true);
        shares.retire();
        shares.retire();
        assert_eq!(shares.active, 2, "one has a record in, and one waits");
    }

    #[test]
    fn whatever_happens_the_sums_are_right() {
        for seed in 0..50 {
            let mut rng = Rng::from_seed(seed);
            let mut pick = |below: usize| (rng.next_u64() % below as u64) as usize;
            let (limit, bytes_limit) = (1 + pick(50), 1 + pick(500));
            let mut shares = Shares::new(limit, bytes_limit);
            let mut held: Vec<(usize, usize)> = Vec::new();
            for _ in 0..500 {
                match pick(5) {
                    0 => shares.retire(),
                    1 | 2 if !held.is_empty() => {
                        let (account, bytes) = held.swap_remove(pick(held.len()));
                        shares.give_back(account, 1, bytes);
                    }
                    _ => {
                        let (account, bytes) = (pick(7), 1 + pick(100));
                        shares.touch(account);
                        if shares.admits(account, bytes, pick(2) == 0).is_ok() {
                            shares.take(account, bytes);
                            held.push((account, bytes));
                        }
                    }
                }
                let bytes: usize = held.iter().map(|(_, bytes)| bytes).sum();
                assert_eq!(
                    (shares.records.used, shares.bytes.used),
                    (held.len(), bytes)
                );
                assert!(
                    held.len() <= limit && (bytes <= bytes_limit || held.len() == 1),
                    "seed {seed}"
                );
                let active = shares.accounts.iter().filter(|own| own.is_active);
                let (records, bytes) = active
                    .map(|own| (own.records.unmet(), own.bytes.unmet()))
                    .fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
                let unmet = (shares.records.unmet, shares.bytes.unmet);
                assert_eq!(unmet, (records, bytes), "seed {seed}");
            }
        }
    }
}
