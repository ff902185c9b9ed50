//! The fake through both of its doors, as a program sees it.

mod faults;
mod limits;
mod operations;
mod raw;
mod streams;
mod time;
