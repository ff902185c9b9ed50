use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::sys::stop::Stop;

/// Bounds the bytes that answers of all shards hold until the caller has taken them.
///
/// Room is taken before a call, by what the last one brought, and set right by what came. It cannot
/// lock up: whoever waits, waits for what the caller is about to take, or for a call under way; what
/// a paused shard holds is not counted, and where nothing is counted every size fits.
#[derive(Clone)]
pub(super) struct Budget(Arc<Inner>);

struct Inner {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: u64,
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
    bytes: u64,
    granted: Sender<()>,
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
}

impl Budget {
    pub fn new(limit: u64) -> Budget {
        let state = Mutex::default();
        Budget(Arc::new(Inner { limit, state }))
    }

    pub fn account(&self) -> Arc<Account> {
        let mut state = self.lock();
        let id = state.next_account;
        state.next_account += 1;
        state.accounts.insert(id, Held::default());
        let budget = self.clone();
        Arc::new(Account { budget, id })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.serve(self.0.limit);
    }
}

impl Account {
    /// Takes room, and waits until there is; `None` if told to stop.
    pub fn reserve(self: &Arc<Account>, bytes: u64, stop: &Stop) -> Option<Room> {
        let room = |bytes| Room {
            account: self.clone(),
            bytes,
        };
        let granted = self.ask(bytes);
        select! {
            recv(granted) -> _ => Some(room(bytes)),
            recv(stop.channel()) -> _ => {
                self.withdraw(&granted, bytes);
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

    fn ask(&self, bytes: u64) -> Receiver<()> {
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

    fn withdraw(&self, granted: &Receiver<()>, bytes: u64) {
        self.budget.change(|state| {
            // Between the two it may have been granted after all.
            if granted.try_recv().is_ok() {
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
    /// Sets right what was only estimated.
    pub fn resize(&mut self, bytes: u64) {
        let account = self.account.clone();
        account
            .budget
            .change(|state| state.take(account.id, self.bytes, bytes));
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.resize(0);
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
            let fits = self.used.saturating_add(first.bytes) <= limit;
            if !(fits || self.used == 0 || paused) {
                return;
            }
            let Some(first) = self.waiting.pop_front() else {
                return;
            };
            self.take(first.account, 0, first.bytes);
            // It has room for one, and whoever waits holds the other end.
            let _ = first.granted.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stop::StopSource;

    fn stopped() -> Stop {
        StopSource::new().stop()
    }

    /// Takes room if there is some: a wait is given up at once.
    fn reserve(account: &Arc<Account>, bytes: u64) -> Option<Room> {
        let granted = account.ask(bytes);
        match granted.try_recv() {
            Ok(()) => Some(Room {
                account: account.clone(),
                bytes,
            }),
            Err(_) => {
                account.withdraw(&granted, bytes);
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
        six.resize(1);
        assert!(reserve(&a, 5).is_some());
        drop((six, four));
        assert_eq!(budget.lock().used, 0);
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
        assert_eq!(budget.lock().used, 20);
        drop((held, taken));
        assert_eq!(budget.lock().used, 0);
    }

    #[test]
    fn who_waits_is_served_in_turn() {
        let budget = Budget::new(10);
        let (a, b, c) = (budget.account(), budget.account(), budget.account());
        let all = reserve(&a, 10).expect("room");
        let (large, small) = (b.ask(8), c.ask(2));
        assert!(large.try_recv().is_err() && small.try_recv().is_err());
        let mut all = all;
        all.resize(8);
        assert!(small.try_recv().is_err(), "the large one came first");
        drop(all);
        assert!(large.try_recv().is_ok() && small.try_recv().is_ok());
    }

    #[test]
    fn a_wait_ends_when_told_to_stop_and_leaves_nothing_behind() {
        let budget = Budget::new(10);
        let (a, b) = (budget.account(), budget.account());
        let all = reserve(&a, 10).expect("room");
        assert!(b.reserve(1, &stopped()).is_none());
        assert!(budget.lock().waiting.is_empty());
        drop((all, a, b));
        let state = budget.lock();
        assert_eq!((state.used, state.accounts.len()), (0, 0));
    }
}
