use std::thread;
use std::time::{Duration, Instant};

/// So many turns a second and no more; without a rate, as many as there are.
pub struct Pace {
    rate: Option<f64>,
    start: Instant,
    turns: u64,
}

impl Pace {
    pub fn new(rate: Option<f64>) -> Pace {
        Pace {
            rate,
            start: Instant::now(),
            turns: 0,
        }
    }

    /// Says whether the next turn has to be waited for.
    pub fn is_ahead(&self) -> bool {
        self.due().is_some_and(|due| due > Instant::now())
    }

    /// Waits for the next turn, or until `is_over`; whoever changes that unparks this thread.
    pub fn wait(&mut self, is_over: impl Fn() -> bool) {
        while self.is_ahead() && !is_over() {
            let left = self
                .due()
                .map(|due| due.saturating_duration_since(Instant::now()));
            thread::park_timeout(left.unwrap_or_default());
        }
        self.turns += 1;
    }

    fn due(&self) -> Option<Instant> {
        let seconds = self.turns as f64 / self.rate?;
        self.start
            .checked_add(Duration::try_from_secs_f64(seconds).ok()?)
    }
}

/// Reads a rate: more than nothing a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match rate.is_finite() && rate > 0.0 {
        true => Ok(rate),
        false => Err("not a number above 0".to_owned()),
    }
}
