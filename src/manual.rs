//! Pages for people: how the inside works, and how to test what is built on it.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/testing.md")]
pub mod testing {}
