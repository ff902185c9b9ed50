#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod http;
mod model;
#[cfg(feature = "client")]
mod sys;

#[cfg(feature = "client")]
pub use error::{Error, ErrorKind, Result, TransportError};
#[cfg(feature = "client")]
pub use http::HttpTransport;
pub use model::*;
