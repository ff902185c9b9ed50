use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Sender};

use crate::model::Timestamp;
use crate::sys::clock::{Clock, SystemClock, Timer, later};
use crate::sys::lock::lock;
use crate::sys::stop::Stop;

/// Time that moves only when told to. Cheap to clone; clones show the same time.
///
/// Everything that waits on it (a poll's interval, a back-off, a fault's delay) waits until
/// [`advance`](VirtualClock::advance) has come that far, so an hour of polling is over in
/// milliseconds and always goes the same way.
///
/// ```
/// use std::time::Duration;
/// use kinesis_blocking::Timestamp;
/// use kinesis_blocking::fake::VirtualClock;
///
/// let clock = VirtualClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
/// clock.advance(Duration::from_secs(3_600));
/// assert_eq!(clock.time(), Timestamp::from_millis(1_700_003_600_000));
/// ```
#[derive(Clone)]
pub struct VirtualClock {
    shared: Arc<Shared>,
    /// How far this machine's time of day is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
}

struct Shared {
    state: Mutex<State>,
    /// Someone began to wait.
    waiter: Condvar,
}

struct State {
    /// What `now` was when the clock stood at `start`.
    base: Instant,
    start: Timestamp,
    elapsed: Duration,
    next_id: u64,
    timers: BTreeMap<(Duration, u64), Sender<Instant>>,
    /// With so many waiting, time moves by itself.
    auto_advance: Option<usize>,
}

impl VirtualClock {
    /// Makes a clock that stands still at `time`.
    pub fn starting_at(time: Timestamp) -> VirtualClock {
        let shared = Shared {
            state: Mutex::new(State {
                base: SystemClock.now(),
                start: time,
                elapsed: Duration::ZERO,
                next_id: 0,
                timers: BTreeMap::new(),
                auto_advance: None,
            }),
            waiter: Condvar::new(),
        };
        VirtualClock {
            shared: Arc::new(shared),
            ahead: Arc::default(),
        }
    }

    /// Returns the clock of another machine. Time passes there as it does here, but its time of day
    /// can be [set](VirtualClock::step) without this one's. It shows the same time at first.
    ///
    /// ```
    /// use kinesis_blocking::Timestamp;
    /// use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
    ///
    /// let clock = VirtualClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
    /// let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 2);
    /// let device = clock.of_another_machine();
    /// let client = fake.client_builder_on(&device).build();
    /// device.step(-3_600_000);
    /// assert_eq!(device.time(), Timestamp::from_millis(1_699_996_400_000));
    /// assert_eq!(clock.time(), Timestamp::from_millis(1_700_000_000_000));
    /// # assert!(client.is_ok());
    /// ```
    #[must_use]
    pub fn of_another_machine(&self) -> VirtualClock {
        let ahead = self.ahead.load(Ordering::Relaxed);
        VirtualClock {
            shared: self.shared.clone(),
            ahead: Arc::new(AtomicI64::new(ahead)),
        }
    }

    /// Moves this machine's time of day by so many milliseconds, forward or back, as NTP or an
    /// operator may. Waits are not affected: they are measured on a clock that nobody sets.
    pub fn step(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }

    /// Returns the time it shows.
    pub fn time(&self) -> Timestamp {
        let time = lock(&self.shared.state).wall().as_millis();
        Timestamp::from_millis(time.saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// Counts the waits under way; one that is over or given up no longer counts.
    pub fn waiters(&self) -> usize {
        lock(&self.shared.state).timers.len()
    }

    /// Blocks until the clock has been moved on by `by`: by another thread, or by itself.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use kinesis_blocking::Timestamp;
    /// use kinesis_blocking::fake::VirtualClock;
    ///
    /// let clock = VirtualClock::starting_at(Timestamp::from_millis(0));
    /// clock.auto_advance(1);
    /// clock.sleep(Duration::from_secs(3_600));
    /// assert_eq!(clock.time(), Timestamp::from_millis(3_600_000));
    /// ```
    pub fn sleep(&self, by: Duration) {
        let clock: &dyn Clock = self;
        clock.wait_until(later(clock.now(), by), &Stop::never());
    }

    /// Moves time forward at once, and ends every wait that is due by then.
    pub fn advance(&self, by: Duration) {
        let mut state = lock(&self.shared.state);
        let target = state.elapsed.saturating_add(by);
        state.move_to(target);
    }

    /// Moves time to the earliest deadline waited for, and returns how far that was.
    ///
    /// `None` if nobody waits: time then stands still.
    pub fn advance_to_next(&self) -> Option<Duration> {
        lock(&self.shared.state).move_to_next()
    }

    /// Blocks, in real time, until `threads` threads wait on this clock.
    ///
    /// `false` if they do not within a minute: a thread has ended, or is stuck elsewhere.
    pub fn await_waiters(&self, threads: usize) -> bool {
        let few = |state: &mut State| state.timers.len() < threads;
        let waited = self
            .shared
            .waiter
            .wait_timeout_while(lock(&self.shared.state), PATIENCE, few);
        let (_state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// Moves time forward by `by`, from deadline to deadline, as `threads` threads live through it.
    ///
    /// Before each step waits in real time until that many threads wait, so that none is left
    /// behind. `false` if they do not within a minute.
    pub fn advance_with(&self, threads: usize, by: Duration) -> bool {
        let end = lock(&self.shared.state).elapsed.saturating_add(by);
        loop {
            if !self.await_waiters(threads) {
                return false;
            }
            let mut state = lock(&self.shared.state);
            let next = state.next_deadline().filter(|next| *next <= end);
            state.move_to(next.unwrap_or(end));
            if next.is_none() {
                return true;
            }
        }
    }

    /// From now on moves by itself to the earliest deadline whenever `threads` threads wait.
    ///
    /// With 1, a single-threaded program never waits at all. 0 turns it off. Threads beyond that number do
    /// not hold time up while they are busy: with too few, records may expire before the thread that
    /// sends them has begun.
    pub fn auto_advance(&self, threads: usize) {
        let mut state = lock(&self.shared.state);
        state.auto_advance = (threads > 0).then_some(threads);
        state.move_by_itself();
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        let state = lock(&self.shared.state);
        later(state.base, state.elapsed)
    }

    fn wall(&self) -> Timestamp {
        self.time()
    }

    fn at(&self, deadline: Instant) -> Timer {
        let (fire, fires) = channel::bounded(1);
        let mut state = lock(&self.shared.state);
        let due = deadline.saturating_duration_since(state.base);
        if due <= state.elapsed {
            // The channel has room for one, so this cannot block.
            let _ = fire.send(deadline);
            return Timer::new(fires, None);
        }
        state.next_id += 1;
        let key = (due, state.next_id);
        state.timers.insert(key, fire);
        state.move_by_itself();
        drop(state);
        self.shared.waiter.notify_all();
        let clock = self.clone();
        Timer::new(fires, Some(Box::new(Withdraw { clock, key })))
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualClock")
            .field("time", &self.time())
            .field("waiters", &self.waiters())
            .finish()
    }
}

/// Takes a wait back from the clock that it is no longer waited for.
struct Withdraw {
    clock: VirtualClock,
    key: (Duration, u64),
}

impl Drop for Withdraw {
    fn drop(&mut self) {
        let mut state = lock(&self.clock.shared.state);
        state.timers.remove(&self.key);
        // Who is awake may never wait again, and the others still do.
        state.move_by_itself();
    }
}

impl State {
    fn wall(&self) -> Timestamp {
        self.start.saturating_add(self.elapsed)
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.timers.keys().next().map(|(due, _)| *due)
    }

    fn move_to(&mut self, target: Duration) {
        self.elapsed = target;
        let rest = self.timers.split_off(&(target, u64::MAX));
        for ((due, _), fire) in std::mem::replace(&mut self.timers, rest) {
            let _ = fire.send(later(self.base, due));
        }
    }

    fn move_to_next(&mut self) -> Option<Duration> {
        let (before, next) = (self.elapsed, self.next_deadline()?);
        self.move_to(next);
        Some(next.saturating_sub(before))
    }

    fn move_by_itself(&mut self) {
        let enough = self.auto_advance.unwrap_or(usize::MAX);
        if self.timers.len() >= enough {
            self.move_to_next();
        }
    }
}

/// A test that has not come to rest after so long never will.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use crossbeam::channel::{Receiver, select};

    use super::*;
    use crate::sys::stop::StopSource;
    use crate::sys::thread;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const STACK_BYTES: usize = 64 * 1024;

    #[test]
    fn time_moves_only_when_told_to() {
        let clock = VirtualClock::starting_at(START);
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now() - before, Duration::from_millis(1_500));
        assert_eq!(clock.wall(), Timestamp::from_millis(1_700_000_001_500));
    }

    #[test]
    fn a_machine_whose_time_of_day_is_set_waits_as_the_others_do() {
        let clock = VirtualClock::starting_at(START);
        let device = clock.of_another_machine();
        let timer = device.at(device.now() + Duration::from_millis(200));
        device.step(86_400_000);
        assert!(timer.channel().try_recv().is_err());
        clock.advance(Duration::from_millis(200));
        assert!(timer.channel().try_recv().is_ok());
        assert_eq!(device.now(), clock.now());
        let third = device.of_another_machine();
        device.step(-86_400_000);
        let shown = [&clock, &device, &third].map(|clock| clock.wall().as_millis());
        let later = START.as_millis() + 200;
        assert_eq!(shown, [later, later, later + 86_400_000]);
    }

    #[test]
    fn the_longest_time_is_waited_for_and_passed_without_a_panic() {
        let clock = VirtualClock::starting_at(START);
        let timer = clock.at(later(clock.now(), Duration::MAX));
        clock.advance(Duration::MAX);
        assert!(timer.channel().try_recv().is_ok());
        clock.advance(Duration::MAX);
        assert!(clock.now() >= later(clock.now(), Duration::ZERO));
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let clock = VirtualClock::starting_at(START);
        let timer = clock.at(clock.now() + Duration::from_millis(200));
        for (by, fired) in [(199, false), (1, true)] {
            clock.advance(Duration::from_millis(by));
            assert_eq!(timer.channel().try_recv().is_ok(), fired, "{by}");
        }
        assert_eq!(clock.waiters(), 0);
        assert!(clock.at(clock.now()).channel().try_recv().is_ok());
    }

    #[test]
    fn a_wait_that_was_given_up_is_not_counted() {
        let clock = VirtualClock::starting_at(START);
        let (work, worked) = channel::bounded(1);
        let _ = work.send(());
        let timer = clock.at(clock.now() + Duration::from_secs(30));
        assert_eq!(clock.waiters(), 1);
        select! {
            recv(worked) -> _ => {}
            recv(timer.channel()) -> _ => panic!("the clock stands still"),
        }
        drop(timer);
        assert_eq!(clock.waiters(), 0);
    }

    #[test]
    fn an_hour_of_polls_in_three_threads_takes_no_time() {
        let clock = VirtualClock::starting_at(START);
        let stop = StopSource::new();
        let (counted, counts) = channel::bounded(3);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (clock, stop, counted) = (clock.clone(), stop.stop(), counted.clone());
                thread::spawn("poll".to_owned(), STACK_BYTES, move || {
                    let _ = counted.send(poll(&clock, stop.channel()));
                })
                .expect("a thread")
            })
            .collect();
        assert!(clock.advance_with(3, Duration::from_secs(3_600)));
        assert!(clock.await_waiters(3));
        stop.signal();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(counts.try_iter().collect::<Vec<_>>(), [18_000; 3]);
        assert_eq!(clock.waiters(), 0);
    }

    fn poll(clock: &dyn Clock, stop: &Receiver<std::convert::Infallible>) -> u64 {
        let mut polls = 0;
        let mut next = clock.now();
        loop {
            next += Duration::from_millis(200);
            let timer = clock.at(next);
            select! {
                recv(stop) -> _ => return polls,
                recv(timer.channel()) -> _ => polls += 1,
            }
        }
    }

    #[test]
    fn it_goes_on_by_itself_when_one_of_many_has_been_woken() {
        let clock = VirtualClock::starting_at(START);
        let [first, second] = [3, 5].map(|secs| clock.at(clock.now() + Duration::from_secs(secs)));
        clock.auto_advance(1);
        assert!(first.channel().try_recv().is_ok());
        assert!(second.channel().try_recv().is_err());
        drop(first);
        assert!(second.channel().try_recv().is_ok());
        assert_eq!(clock.time(), START.saturating_add(Duration::from_secs(5)));
    }

    #[test]
    fn it_moves_by_itself_when_everyone_waits() {
        let clock = VirtualClock::starting_at(START);
        let first = clock.at(clock.now() + Duration::from_secs(5));
        clock.auto_advance(2);
        assert!(first.channel().try_recv().is_err());
        let second = clock.at(clock.now() + Duration::from_secs(3));
        assert!(second.channel().try_recv().is_ok());
        assert_eq!(clock.time(), START.saturating_add(Duration::from_secs(3)));
        assert_eq!(clock.advance_to_next(), Some(Duration::from_secs(2)));
        assert_eq!(clock.advance_to_next(), None);
    }
}
