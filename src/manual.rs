//! Pages for people: how the inside works, and what it was held against.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[doc = include_str!("manual/producer_scenarios.md")]
pub mod producer_scenarios {}
