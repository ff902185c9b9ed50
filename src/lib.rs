#![forbid(unsafe_code)]

pub mod aggregation;
mod model;

pub use model::*;
