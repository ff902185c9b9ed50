use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::error::TransportError;
use crate::fake::service::Service;
use crate::http::HttpTransport;

/// The door in memory: no socket, no copy.
pub(super) struct InMemory(pub Arc<Service>);

impl HttpTransport for InMemory {
    fn round_trip(
        &self,
        request: Request<Bytes>,
        _timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        Ok(self.0.answer(&request))
    }
}
