//! The fake through both of its doors, as a program sees it.

mod operations;
