//! Pages for people: how the inside works, what can be set, what it tells of itself, and how to do and
//! test the hard things.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[cfg(feature = "client")]
#[doc = include_str!("manual/configuration.md")]
pub mod configuration {}

#[doc = include_str!("manual/exactly_once.md")]
pub mod exactly_once {}

#[doc = include_str!("manual/metrics.md")]
pub mod metrics {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/testing.md")]
pub mod testing {}
