#![forbid(unsafe_code)]

pub mod aggregation;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod model;

pub use model::*;
