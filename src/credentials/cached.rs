//! Credentials that are asked for rarely and are at hand always.
//!
//! Two locks: one for the state, held for a moment, and one for asking the provider, held as long
//! as that takes. Threads that still have good credentials never touch the second one but to try
//! it; threads that have none wait behind it, and share the outcome of whoever held it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use crate::credentials::CredentialsProvider;
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::sign::Credentials;
use crate::sys::clock::{Clock, SystemClock};
use crate::sys::lock::lock;

/// A provider's credentials, kept until they are about to expire.
///
/// - New ones are asked for when a fifth of their time is left, at most 5 minutes, by one thread at
///   a time; the others go on with the old ones meanwhile.
/// - If that fails, the old ones are used as long as they are good, and the next attempt is made
///   10 s later.
/// - Credentials that the service refuses as expired are forgotten.
/// - Credentials without an expiry are asked for again after a minute, in case they are changed in
///   their place.
///
/// A [`Client`](crate::Client) puts this around the provider that it is given.
///
/// ```
/// use kinesis_blocking::credentials::{Cached, Profile};
///
/// let provider = Cached::new(Profile::new("readers"));
/// # drop(provider);
/// ```
pub struct Cached<P> {
    provider: P,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    asking: Mutex<()>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// How often the provider has answered, well or not.
    answers: u64,
    /// The last answer, if it was an error.
    error: Option<Error>,
}

struct Kept {
    credentials: Credentials,
    good_until: Timestamp,
    /// When to ask for new ones.
    refresh_at: Timestamp,
}

impl<P: CredentialsProvider> Cached<P> {
    /// Keeps what a provider gives.
    pub fn new(provider: P) -> Cached<P> {
        Cached::on_clock(provider, Arc::new(SystemClock))
    }

    pub(crate) fn on_clock(provider: P, clock: Arc<dyn Clock>) -> Cached<P> {
        Cached {
            provider,
            clock,
            state: Mutex::default(),
            asking: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Asks the provider. Only one thread is in here.
    fn ask(&self) -> Result<Credentials> {
        let answer = self.provider.credentials();
        let now = self.clock.wall();
        let mut state = self.state();
        state.answers += 1;
        state.error = answer.as_ref().err().cloned();
        match answer {
            Ok(credentials) => {
                state.kept = Some(Kept::new(credentials.clone(), now));
                Ok(credentials)
            }
            Err(error) => state.after_failure(error, now),
        }
    }

    /// Waits until credentials are there, unless another thread finds meanwhile that there are none.
    fn wait(&self, answers_seen: u64) -> Result<Credentials> {
        let _asking = lock(&self.asking);
        let state = self.state();
        if let Some(credentials) = state.good(self.clock.wall()) {
            return Ok(credentials.clone());
        }
        if let Some(error) = state
            .error
            .as_ref()
            .filter(|_| state.answers > answers_seen)
        {
            return Err(error.clone());
        }
        drop(state);
        self.ask()
    }

    /// Asks for new credentials ahead of time, unless another thread is at it: then the old ones will do.
    fn refresh(&self, old: Credentials, now: Timestamp) -> Result<Credentials> {
        let _asking = match self.asking.try_lock() {
            Ok(asking) => asking,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(old),
        };
        // Another thread may have been quicker by one step.
        match self.state().kept.as_ref() {
            Some(kept) if now < kept.refresh_at => return Ok(kept.credentials.clone()),
            _ => {}
        }
        self.ask()
    }
}

impl<P: CredentialsProvider> CredentialsProvider for Cached<P> {
    fn credentials(&self) -> Result<Credentials> {
        let now = self.clock.wall();
        let (credentials, answers_seen) = {
            let state = self.state();
            match &state.kept {
                Some(kept) if now < kept.refresh_at => return Ok(kept.credentials.clone()),
                _ => (state.good(now).cloned(), state.answers),
            }
        };
        match credentials {
            Some(credentials) => self.refresh(credentials, now),
            None => self.wait(answers_seen),
        }
    }

    fn refused(&self, credentials: &Credentials) {
        // Many threads may hear of the same expiry; only what they used is forgotten.
        let mut state = self.state();
        if state
            .kept
            .as_ref()
            .is_some_and(|kept| kept.credentials.is_same(credentials))
        {
            log::debug!("the service says that {credentials:?} have expired");
            state.kept = None;
        }
        drop(state);
        self.provider.refused(credentials);
    }
}

impl State {
    fn good(&self, now: Timestamp) -> Option<&Credentials> {
        let kept = self.kept.as_ref().filter(|kept| now < kept.good_until);
        kept.map(|kept| &kept.credentials)
    }

    fn after_failure(&mut self, error: Error, now: Timestamp) -> Result<Credentials> {
        match &mut self.kept {
            Some(kept) if now < kept.good_until => {
                log::warn!("{error}; the old credentials are used while they are good");
                kept.refresh_at = now.saturating_add(PAUSE).min(kept.good_until);
                Ok(kept.credentials.clone())
            }
            _ => Err(error),
        }
    }
}

impl Kept {
    fn new(credentials: Credentials, now: Timestamp) -> Kept {
        let Some(expires_at) = credentials.expires_at().map(Timestamp::from) else {
            return Kept {
                credentials,
                good_until: Timestamp::from_millis(i64::MAX),
                refresh_at: now.saturating_add(KEPT_WITHOUT_EXPIRY),
            };
        };
        let left = expires_at.saturating_since(now);
        if left.is_zero() {
            // Either this machine's clock is wrong or the place is late; the service will tell.
            log::warn!("{credentials:?} have expired before they came; used all the same");
            let until = now.saturating_add(PAUSE);
            return Kept {
                credentials,
                good_until: until,
                refresh_at: until,
            };
        }
        let ahead = (left / 5).min(AHEAD_MAX);
        Kept {
            credentials,
            good_until: expires_at,
            refresh_at: now.saturating_add(left - ahead),
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for Cached<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cached").field(&self.provider).finish()
    }
}

/// EC2 has new credentials at least this long before the old ones expire.
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html>
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// Between a refresh that failed and the next one.
const PAUSE: Duration = Duration::from_secs(10);

/// How soon a key that is changed in a file is seen.
const KEPT_WITHOUT_EXPIRY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::credentials::canned::HandClock;
    use crate::credentials::lacks;

    /// Gives from a list; `None` is a failure, and so is whatever comes after the list.
    #[derive(Default)]
    struct Listed {
        list: Mutex<VecDeque<Option<Credentials>>>,
        asked: AtomicU32,
        refused: AtomicU32,
    }

    impl CredentialsProvider for Arc<Listed> {
        fn credentials(&self) -> Result<Credentials> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let next = self.list.lock().expect("sound").pop_front().flatten();
            next.ok_or_else(|| lacks("list", "nothing left"))
        }

        fn refused(&self, _: &Credentials) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn good_until(name: &str, second: i64) -> Option<Credentials> {
        let at = Timestamp::from_millis(second * 1_000).into();
        Some(Credentials::new(name, "s").with_expiry(at))
    }

    fn cached(
        list: impl IntoIterator<Item = Option<Credentials>>,
    ) -> (Cached<Arc<Listed>>, Arc<Listed>, HandClock) {
        let listed = Arc::new(Listed {
            list: Mutex::new(list.into_iter().collect()),
            ..Listed::default()
        });
        let clock = HandClock::at_second(0);
        let cached = Cached::on_clock(listed.clone(), Arc::new(clock.clone()));
        (cached, listed, clock)
    }

    /// At each second the name of what is given, `-` for nothing; and how often the list was asked.
    fn history(
        list: impl IntoIterator<Item = Option<Credentials>>,
        seconds: &[i64],
    ) -> Vec<(i64, String, u32)> {
        let (cached, listed, clock) = cached(list);
        let mut history = Vec::new();
        for second in seconds {
            clock.set_second(*second);
            let given = cached.credentials();
            let given = given.map_or_else(
                |_| "-".to_owned(),
                |credentials| credentials.access_key_id().to_owned(),
            );
            history.push((*second, given, listed.asked.load(Ordering::Relaxed)));
        }
        history
    }

    fn told(history: &[(i64, &str, u32)]) -> Vec<(i64, String, u32)> {
        let owned =
            |(second, name, asked): &(i64, &str, u32)| (*second, (*name).to_owned(), *asked);
        history.iter().map(owned).collect()
    }

    #[test]
    fn new_credentials_are_asked_for_ahead_of_the_old_ones_expiry() {
        let list = || [good_until("A", 3_600), good_until("B", 7_200)];
        assert_eq!(
            history(list(), &[0, 3_299, 3_300, 6_899]),
            told(&[
                (0, "A", 1),
                (3_299, "A", 1),
                (3_300, "B", 2),
                (6_899, "B", 2)
            ])
        );
        // A fifth of a short life.
        let list = [good_until("A", 10), good_until("B", 100)];
        assert_eq!(
            history(list, &[0, 7, 8]),
            told(&[(0, "A", 1), (7, "A", 1), (8, "B", 2)])
        );
    }

    #[test]
    fn a_failed_refresh_leaves_the_old_ones_in_use_while_they_are_good() {
        let list = [good_until("A", 100), None, None, None, good_until("B", 300)];
        assert_eq!(
            history(list, &[0, 80, 89, 90, 99, 100, 101]),
            told(&[
                (0, "A", 1),
                (80, "A", 2),
                (89, "A", 2),
                (90, "A", 3),
                (99, "A", 3),
                (100, "-", 4),
                (101, "B", 5),
            ])
        );
    }

    #[test]
    fn a_pause_after_a_failure_ends_with_the_old_ones() {
        // The next attempt would be due at 105, when A is no longer good.
        let list = [good_until("A", 100), None, good_until("B", 300)];
        assert_eq!(
            history(list, &[0, 95, 99, 100]),
            told(&[(0, "A", 1), (95, "A", 2), (99, "A", 2), (100, "B", 3)])
        );
    }

    #[test]
    fn credentials_without_expiry_are_looked_at_again_after_a_minute() {
        let forever = |name: &str| Some(Credentials::new(name, "s"));
        let list = [forever("A"), forever("B"), None];
        assert_eq!(
            history(list, &[0, 59, 60, 119, 120, 129, 130]),
            told(&[
                (0, "A", 1),
                (59, "A", 1),
                (60, "B", 2),
                (119, "B", 2),
                (120, "B", 3),
                (129, "B", 3),
                (130, "B", 4),
            ])
        );
    }

    #[test]
    fn a_thread_that_finds_the_old_ones_replaced_does_not_ask_again() {
        let (cached, listed, clock) = cached([good_until("A", 100), good_until("B", 300)]);
        let old = cached.credentials().expect("A");
        clock.set_second(90);
        // The second thread saw the state before the first one's answer.
        for _ in 0..2 {
            let given = cached.refresh(old.clone(), clock.wall()).expect("B");
            assert_eq!(given.access_key_id(), "B");
        }
        assert_eq!(listed.asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn credentials_are_good_until_their_expiry_and_not_at_it() {
        let (cached, ..) = cached([good_until("A", 100)]);
        cached.credentials().expect("A");
        for (millis, is_good) in [(99_999, true), (100_000, false)] {
            let good = cached
                .state()
                .good(Timestamp::from_millis(millis))
                .is_some();
            assert_eq!(good, is_good, "{millis}");
        }
    }

    #[test]
    fn credentials_that_come_expired_are_used_for_a_while() {
        let list = [good_until("A", -1), good_until("B", 0)];
        assert_eq!(
            history(list, &[0, 9, 10]),
            told(&[(0, "A", 1), (9, "A", 1), (10, "B", 2)])
        );
    }

    #[test]
    fn refused_credentials_are_forgotten_once_by_however_many_threads_hear_of_it() {
        let list = [good_until("A", 3_600), good_until("B", 3_600)];
        let (cached, listed, _) = cached(list);
        let first = cached.credentials().expect("A");
        for _ in 0..3 {
            cached.refused(&first);
            assert_eq!(cached.credentials().expect("B").access_key_id(), "B");
        }
        let counts = [&listed.asked, &listed.refused].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [2, 3]);
    }

    /// Blocks in its first answer until told, so that others can be seen waiting.
    struct Slow {
        inside: Barrier,
        go_on: Barrier,
        asked: AtomicU32,
        answer: Option<Credentials>,
    }

    impl CredentialsProvider for Arc<Slow> {
        fn credentials(&self) -> Result<Credentials> {
            if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
                self.inside.wait();
                self.go_on.wait();
            }
            self.answer.clone().ok_or_else(|| lacks("slow", "nothing"))
        }
    }

    #[test]
    fn threads_that_have_nothing_share_one_answer_even_a_bad_one() {
        for answer in [good_until("A", 3_600), None] {
            let slow = Arc::new(Slow {
                inside: Barrier::new(2),
                go_on: Barrier::new(2),
                asked: AtomicU32::new(0),
                answer: answer.clone(),
            });
            let clock = HandClock::at_second(0);
            let cached = Cached::on_clock(slow.clone(), Arc::new(clock));
            std::thread::scope(|scope| {
                let first = scope.spawn(|| cached.credentials().is_ok());
                slow.inside.wait();
                // The others have seen the state before the first one's answer.
                let others = [(); 3].map(|()| scope.spawn(|| cached.wait(0).is_ok()));
                slow.go_on.wait();
                for thread in others.into_iter().chain([first]) {
                    assert_eq!(thread.join().expect("no panic"), answer.is_some());
                }
            });
            assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_refresh_ahead_of_time_holds_nobody_up() {
        let slow = Arc::new(Slow {
            inside: Barrier::new(2),
            go_on: Barrier::new(2),
            asked: AtomicU32::new(0),
            answer: good_until("B", 3_600),
        });
        let clock = HandClock::at_second(90);
        let cached = Cached::on_clock(slow.clone(), Arc::new(clock));
        let old = good_until("A", 100).expect("some");
        cached.state().kept = Some(Kept::new(old, Timestamp::from_millis(0)));
        let name = || {
            cached
                .credentials()
                .expect("some")
                .access_key_id()
                .to_owned()
        };
        std::thread::scope(|scope| {
            let refreshing = scope.spawn(name);
            slow.inside.wait();
            assert_eq!(name(), "A");
            slow.go_on.wait();
            assert_eq!(refreshing.join().expect("no panic"), "B");
        });
        assert_eq!(
            (name(), slow.asked.load(Ordering::Relaxed)),
            ("B".to_owned(), 1)
        );
    }
}
