//! Pages for people: how the inside works, what can be set, how to test what is built on it.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[cfg(feature = "client")]
#[doc = include_str!("manual/configuration.md")]
pub mod configuration {}

#[cfg(feature = "fake")]
#[doc = include_str!("manual/testing.md")]
pub mod testing {}
