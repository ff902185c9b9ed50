//! The outside world, made exchangeable: time, chance, files, the environment and threads.

pub(crate) mod base64;
pub(crate) mod buffers;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod env;
pub(crate) mod hex;
pub(crate) mod lock;
pub(crate) mod percent;
pub(crate) mod process;
pub(crate) mod rng;
pub(crate) mod stop;
mod target;
pub(crate) mod thread;

use std::sync::Arc;

use clock::{Clock, SystemClock};
use env::{Env, SystemEnv};
use rng::Rng;

/// One cheap handle to everything outside the program's own values.
#[derive(Clone)]
pub(crate) struct Sys {
    pub clock: Arc<dyn Clock>,
    pub env: Arc<dyn Env>,
    rng: Rng,
}

impl Sys {
    /// The machine this runs on.
    pub fn real() -> Sys {
        Sys {
            clock: Arc::new(SystemClock),
            env: Arc::new(SystemEnv),
            rng: Rng::from_entropy(),
        }
    }

    /// The same world on another clock, with chance from a seed.
    #[cfg(any(test, feature = "fake"))]
    pub fn on_clock(clock: Arc<dyn Clock>, seed: u64) -> Sys {
        Sys {
            clock,
            env: Arc::new(SystemEnv),
            rng: Rng::from_seed(seed),
        }
    }

    /// This machine, with an environment written down by a test.
    #[cfg(test)]
    pub fn with_env<const N: usize>(env: [(&'static str, &'static str); N]) -> Sys {
        Sys {
            env: Arc::new(std::collections::HashMap::from(env)),
            ..Sys::real()
        }
    }

    /// A generator for one thread, by its name: the order in which threads start changes nothing.
    pub fn rng(&self, name: &str) -> Rng {
        self.rng.fork(name)
    }
}
