use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::sys::lock::lock;
use crate::sys::stop::Stop;

/// Bounds the bytes that answers of all shards hold until the caller has taken them.
///
/// A shard reserves room before a call, by its [`Expectation`], and corrects it by what came. An answer
/// may be larger than was expected, so the limit is exceeded by one answer per call under way at most.
/// Where there is room for less than one answer, one shard calls at a time.
///
/// The budget cannot lock up: whoever waits, waits for what the caller is about to take, or for a call
/// under way; what a paused shard holds is not counted, and where nothing is counted every size fits.
#[derive(Clone)]
pub(super) struct Budget(Arc<Inner>);

struct Inner {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: u64,
    /// Calls whose answers have not come yet.
    calls: usize,
    /// The largest answer so far, of all shards.
    largest: Option<u64>,
    accounts: BTreeMap<u64, Held>,
    next_account: u64,
    /// First come, first served.
    waiting: VecDeque<Waiting>,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    paused: bool,
}

struct Waiting {
    account: u64,
    /// `None` before the shard's first answer.
    bytes: Option<u64>,
    /// Tells how many bytes were taken.
    granted: Sender<u64>,
}

/// One shard's part in it.
pub(super) struct Account {
    budget: Budget,
    id: u64,
}

/// Bytes that are taken; given back when dropped.
pub(super) struct Room {
    account: Arc<Account>,
    bytes: u64,
    /// The answer that the room was taken for has come.
    is_answered: bool,
}

/// How many bytes a shard's next answer may bring, as far as can be told from the last.
#[derive(Debug, Default)]
pub(super) struct Expectation(Option<Last>);

/// The last answer.
#[derive(Debug)]
struct Last {
    called: Instant,
    bytes: u64,
    at_tip: bool,
}

impl Expectation {
    /// `None` before the first answer. At the tip of a shard what the shard may have taken in since
    /// counts: after an outage of seconds, every shard has a large answer waiting.
    pub fn bytes(&self, now: Instant) -> Option<u64> {
        let last = self.0.as_ref()?;
        let elapsed = now.saturating_duration_since(last.called);
        let taken_in = match last.at_tip {
            true => taken_in(elapsed).min(ANSWER_BYTES_MAX),
            false => 0,
        };
        Some(last.bytes.max(taken_in).max(ANSWER_BYTES_MIN))
    }

    /// Takes note of the answer to a call that began at `called`.
    pub fn answered(&mut self, called: Instant, bytes: u64, at_tip: bool) {
        self.0 = Some(Last {
            called,
            bytes,
            at_tip,
        });
    }
}

/// The most that a shard takes in in that time.
fn taken_in(time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    millis.saturating_mul(SHARD_BYTES_PER_SECOND) / 1_000
}

impl Budget {
    pub fn new(limit: u64) -> Budget {
        let state = Mutex::default();
        Budget(Arc::new(Inner { limit, state }))
    }

    pub fn account(&self) -> Arc<Account> {
        let mut state = lock(&self.0.state);
        let id = state.next_account;
        state.next_account += 1;
        state.accounts.insert(id, Held::default());
        let budget = self.clone();
        Arc::new(Account { budget, id })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.0.state);
        change(&mut state);
        state.serve(self.0.limit);
    }
}

impl Account {
    /// Takes room, and waits until there is; `None` if told to stop.
    ///
    /// A first answer is taken for as large as the largest of all shards so far, or for all that one may
    /// bring. Were it the latter for good, a few first calls that hang would keep all other shards waiting.
    pub fn reserve(self: &Arc<Account>, bytes: Option<u64>, stop: &Stop) -> Option<Room> {
        let room = |bytes| Room {
            account: self.clone(),
            bytes,
            is_answered: false,
        };
        let granted = self.ask(bytes);
        select! {
            recv(granted) -> bytes => Some(room(bytes.unwrap_or(0))),
            recv(stop.channel()) -> _ => {
                self.withdraw(&granted);
                None
            }
        }
    }

    /// Leaves what this shard holds out of the count, as nobody is about to take it, or counts it again.
    pub fn set_paused(&self, paused: bool) {
        self.budget.change(|state| {
            let held = state.accounts.entry(self.id).or_default();
            if std::mem::replace(&mut held.paused, paused) != paused {
                let bytes = held.bytes;
                state.used = match paused {
                    true => state.used.saturating_sub(bytes),
                    false => state.used.saturating_add(bytes),
                };
            }
        });
    }

    fn ask(&self, bytes: Option<u64>) -> Receiver<u64> {
        let (granted, is_granted) = channel::bounded(1);
        let account = self.id;
        self.budget.change(|state| {
            state.waiting.push_back(Waiting {
                account,
                bytes,
                granted,
            })
        });
        is_granted
    }

    fn withdraw(&self, granted: &Receiver<u64>) {
        self.budget.change(|state| {
            // Between the two it may have been granted after all.
            if let Ok(bytes) = granted.try_recv() {
                state.calls -= 1;
                state.take(self.id, bytes, 0);
            }
            state.waiting.retain(|waiting| waiting.account != self.id);
        });
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.change(|state| {
            state.accounts.remove(&self.id);
        });
    }
}

impl Room {
    /// Replaces the estimate by what the answer takes. The call is over.
    pub fn answered(&mut self, bytes: u64) {
        self.change(bytes, |state| {
            state.largest = state.largest.max(Some(bytes));
        });
    }

    fn change(&mut self, bytes: u64, also: impl FnOnce(&mut State)) {
        let account = self.account.clone();
        let was_answered = std::mem::replace(&mut self.is_answered, true);
        account.budget.change(|state| {
            state.calls -= usize::from(!was_answered);
            state.take(account.id, self.bytes, bytes);
            also(state);
        });
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.change(0, |_| {});
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({})", self.bytes)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.id)
    }
}

impl State {
    /// Replaces what an account holds.
    fn take(&mut self, account: u64, old: u64, new: u64) {
        let held = self.accounts.entry(account).or_default();
        held.bytes = held.bytes.saturating_sub(old).saturating_add(new);
        if !held.paused {
            self.used = self.used.saturating_sub(old).saturating_add(new);
        }
    }

    fn serve(&mut self, limit: u64) {
        while let Some(first) = self.waiting.front() {
            let paused = self.accounts.get(&first.account).is_some_and(|a| a.paused);
            let first_answer = self.largest.map_or(ANSWER_BYTES_MAX, |largest| {
                largest.clamp(ANSWER_BYTES_MIN, ANSWER_BYTES_MAX)
            });
            let bytes = first.bytes.unwrap_or(first_answer);
            let fits = self.used.saturating_add(bytes) <= limit;
            // Less than an answer's room: this one may exceed the limit, if no other one may.
            let is_only_call = self.calls == 0 && self.used < limit;
            if !(fits || is_only_call || self.used == 0 || paused) {
                return;
            }
            let Some(first) = self.waiting.pop_front() else {
                return;
            };
            self.take(first.account, 0, bytes);
            self.calls += 1;
            // It has room for one, and whoever waits holds the other end.
            let _ = first.granted.send(bytes);
        }
    }
}

/// What one answer may bring, and what one shard takes in:
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const ANSWER_BYTES_MAX: u64 = 10 << 20;
const SHARD_BYTES_PER_SECOND: u64 = 1 << 20;

/// What an answer of a quiet shard has room for.
const ANSWER_BYTES_MIN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stop::StopSource;

    fn stopped() -> Stop {
        StopSource::new().stop()
    }

    /// Takes room if there is some: a wait is given up at once.
    fn reserve(account: &Arc<Account>, bytes: impl Into<Option<u64>>) -> Option<Room> {
        let granted = account.ask(bytes.into());
        match granted.try_recv() {
            Ok(bytes) => Some(Room {
                account: account.clone(),
                bytes,
                is_answered: false,
            }),
            Err(_) => {
                account.withdraw(&granted);
                None
            }
        }
    }

    #[test]
    fn room_is_there_up_to_the_limit_and_comes_back() {
        let budget = Budget::new(10);
        let (a, b) = (budget.account(), budget.account());
        let six = reserve(&a, 6).expect("room");
        assert!(reserve(&b, 5).is_none());
        let four = reserve(&b, 4).expect("room");
        drop(six);
        let mut six = reserve(&b, 6).expect("room again");
        six.answered(1);
        assert!(reserve(&a, 5).is_some());
        drop((six, four));
        assert_eq!(lock(&budget.0.state).used, 0);
    }

    #[test]
    fn what_is_larger_than_the_limit_fits_when_nothing_else_is_there() {
        let budget = Budget::new(10);
        let account = budget.account();
        let large = reserve(&account, 100).expect("room");
        assert!(reserve(&account, 1).is_none());
        drop(large);
        assert!(reserve(&account, 1).is_some());
    }

    #[test]
    fn what_a_paused_shard_holds_keeps_nobody_waiting() {
        let budget = Budget::new(10);
        let (paused, other) = (budget.account(), budget.account());
        let held = reserve(&paused, 10).expect("room");
        assert!(reserve(&other, 1).is_none());
        paused.set_paused(true);
        paused.set_paused(true);
        let taken = reserve(&other, 10).expect("room");
        assert!(reserve(&paused, 5).is_some(), "nobody waits for it");
        paused.set_paused(false);
        assert_eq!(lock(&budget.0.state).used, 20);
        drop((held, taken));
        assert_eq!(lock(&budget.0.state).used, 0);
    }

    #[test]
    fn with_room_for_less_than_an_answer_one_call_at_a_time_exceeds_the_limit() {
        let budget = Budget::new(10);
        let (a, b, c) = (budget.account(), budget.account(), budget.account());
        let mut first = reserve(&a, 100).expect("room");
        assert!(reserve(&b, 100).is_none(), "a call is under way");
        first.answered(7);
        let mut second = reserve(&b, 100).expect("room for a part of it");
        assert!(reserve(&c, 100).is_none(), "a call is under way");
        assert!(reserve(&c, 3).is_none(), "the answer may bring all it can");
        second.answered(3);
        assert!(reserve(&c, 1).is_none(), "the limit is reached");
        drop(first);
        let failed = reserve(&c, 100).expect("room again");
        drop(failed);
        assert!(reserve(&a, 100).is_some(), "the call that failed is over");
        drop(second);
        let state = lock(&budget.0.state);
        assert_eq!((state.used, state.calls), (0, 0));
    }

    #[test]
    fn answers_of_many_shards_exceed_the_limit_by_one_per_call_under_way() {
        let budget = Budget::new(1 << 20);
        let accounts: Vec<_> = (0..100).map(|_| budget.account()).collect();
        let now = Instant::now();
        let mut rooms = Vec::new();
        // Nobody takes anything: first answers of 10 MiB each.
        for account in &accounts {
            rooms.extend(reserve(account, None));
            assert!(lock(&budget.0.state).calls <= 1);
            for room in &mut rooms {
                room.answered(ANSWER_BYTES_MAX);
            }
        }
        assert_eq!(lock(&budget.0.state).used, ANSWER_BYTES_MAX);
        drop(rooms);
        // All were at the tip, and now each has as much as it may have.
        let mut expectation = Expectation::default();
        expectation.answered(now, 0, true);
        let soon = now + Duration::from_millis(250);
        let mut rooms: Vec<_> = accounts
            .iter()
            .filter_map(|account| reserve(account, expectation.bytes(soon)))
            .collect();
        assert_eq!(rooms.len(), 4);
        rooms
            .iter_mut()
            .for_each(|room| room.answered(ANSWER_BYTES_MAX));
        assert!(lock(&budget.0.state).used <= (1 << 20) + 4 * ANSWER_BYTES_MAX);
    }

    #[test]
    fn a_first_answer_is_taken_for_the_largest_so_far_or_for_all_it_may_bring() {
        let budget = Budget::new(100 << 20);
        let accounts: Vec<_> = (0..20).map(|_| budget.account()).collect();
        let mut hanging: Vec<_> = accounts.iter().filter_map(|a| reserve(a, None)).collect();
        assert_eq!(hanging.len(), 10, "ten answers of 10 MiB fit");
        let waiting: Vec<_> = accounts[10..].iter().map(|a| a.ask(None)).collect();
        hanging.pop().expect("a room").answered(7);
        let granted = waiting.iter().map(|granted| granted.try_recv());
        assert!(granted.into_iter().all(|bytes| bytes == Ok(64 << 10)));
    }

    #[test]
    fn an_answer_is_expected_to_be_like_the_last_or_what_came_in_since() {
        let now = Instant::now();
        let mut expectation = Expectation::default();
        assert_eq!(expectation.bytes(now), None);
        let after = |millis| now + Duration::from_millis(millis);
        for (bytes, at_tip, millis, expected) in [
            (0, false, 60_000, 64 << 10),
            (5 << 20, false, 60_000, 5 << 20),
            (0, true, 10, 64 << 10),
            (0, true, 500, 512 << 10),
            (1 << 20, true, 500, 1 << 20),
            (0, true, 60_000, 10 << 20),
            (11 << 20, true, 60_000, 11 << 20),
        ] {
            expectation.answered(now, bytes, at_tip);
            let found = expectation.bytes(after(millis));
            assert_eq!(found, Some(expected), "{bytes} {at_tip} {millis}");
        }
    }

    #[test]
    fn who_waits_is_served_in_turn() {
        let budget = Budget::new(10);
        let (a, b, c) = (budget.account(), budget.account(), budget.account());
        let all = reserve(&a, 10).expect("room");
        let (large, small) = (b.ask(Some(8)), c.ask(Some(2)));
        assert!(large.try_recv().is_err() && small.try_recv().is_err());
        let mut all = all;
        all.answered(8);
        assert!(small.try_recv().is_err(), "the large one came first");
        drop(all);
        assert!(large.try_recv().is_ok() && small.try_recv().is_ok());
    }

    #[test]
    fn a_wait_ends_when_told_to_stop_and_leaves_nothing_behind() {
        let budget = Budget::new(10);
        let (a, b) = (budget.account(), budget.account());
        let all = reserve(&a, 10).expect("room");
        assert!(b.reserve(Some(1), &stopped()).is_none());
        assert!(lock(&budget.0.state).waiting.is_empty());
        drop((all, a, b));
        let state = lock(&budget.0.state);
        assert_eq!((state.used, state.accounts.len()), (0, 0));
    }
}
