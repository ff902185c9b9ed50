//! Pages for people: how the inside works, and what it tells of itself.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[doc = include_str!("manual/metrics.md")]
pub mod metrics {}

#[doc = include_str!("manual/scenarios.md")]
pub mod scenarios {}
