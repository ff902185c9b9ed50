//! The aggregation codec against bytes that other libraries made and took apart.

mod vectors;

mod interop;
mod malformed;
mod mutations;
mod properties;
mod published;
