//! The aggregation codec against bytes that other libraries made and took apart.

mod vectors;

mod malformed;
mod published;
