//! Pages for people: how the inside works, what can be set, what it tells of itself, how to do and
//! test the hard things, and what it was held against.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[cfg(feature = "client")]
#[doc = include_str!("manual/configuration.md")]
pub mod configuration {}

#[doc = include_str!("manual/configuration_scenarios.md")]
pub mod configuration_scenarios {}

#[cfg(feature = "client")]
#[doc = include_str!("manual/event_time.md")]
pub mod event_time {}

#[doc = include_str!("manual/exactly_once.md")]
pub mod exactly_once {}

#[doc = include_str!("manual/metrics.md")]
pub mod metrics {}

#[doc = include_str!("manual/producer_scenarios.md")]
pub mod producer_scenarios {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/testing.md")]
pub mod testing {}

#[doc = include_str!("manual/scenarios.md")]
pub mod scenarios {}

#[doc = include_str!("manual/performance.md")]
pub mod performance {}
