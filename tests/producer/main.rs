//! The producer, as its users see it, on the fake.

mod auto;
mod bounded;
mod closing;
mod delivery;
mod failure;
mod metrics;
mod ordered;
mod pressure;
#[path = "../support/quiet.rs"]
mod quiet;
mod reshard;
mod scenarios;
mod start;
mod streams;
mod support;
