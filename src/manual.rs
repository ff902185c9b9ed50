//! Pages for people: how the inside works.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[doc = include_str!("manual/performance.md")]
pub mod performance {}
