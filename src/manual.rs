//! Pages for people: how to use it, what it promises, what can be set, how to come from other
//! libraries, how to test and run the hard things, and how the inside works.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[doc = include_str!("manual/changelog.md")]
pub mod changelog {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/coming_from_flink.md")]
pub mod coming_from_flink {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/coming_from_kcl.md")]
pub mod coming_from_kcl {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/coming_from_kpl.md")]
pub mod coming_from_kpl {}

#[doc = include_str!("manual/configuration.md")]
pub mod configuration {}

#[doc = include_str!("manual/environment.md")]
pub mod environment {}

#[cfg(feature = "client")]
#[doc = include_str!("manual/event_time.md")]
pub mod event_time {}

#[doc = include_str!("manual/exactly_once.md")]
pub mod exactly_once {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("manual/limits.md")]
pub mod limits {}

#[doc = include_str!("manual/logging.md")]
pub mod logging {}

#[doc = include_str!("manual/metrics.md")]
pub mod metrics {}

#[doc = include_str!("manual/performance.md")]
pub mod performance {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/stopping.md")]
pub mod stopping {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/testing.md")]
pub mod testing {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/tools.md")]
pub mod tools {}

#[doc = include_str!("manual/tuning.md")]
pub mod tuning {}
