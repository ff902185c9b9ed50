use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::error::TransportError;
use crate::fake::fault::Delivery;
use crate::fake::service::Service;
use crate::http::HttpTransport;
use crate::sys::clock::later;
use crate::sys::stop::Stop;

/// The door in memory: no socket, no copy. Waits on the fake's clock, never past the time-out.
pub(super) struct InMemory(pub Arc<Service>);

impl HttpTransport for InMemory {
    fn round_trip(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let reply = self.0.answer(&request);
        let takes = match reply.delivery {
            Delivery::Never => timeout,
            Delivery::Slow(time) => reply.delay.saturating_add(time),
            _ => reply.delay,
        };
        self.wait(takes.min(timeout));
        if takes >= timeout {
            return Err(TransportError::Timeout(timeout));
        }
        match reply.delivery {
            Delivery::Broken | Delivery::Torn => Err(broken(io::ErrorKind::ConnectionReset)),
            Delivery::Cut => Err(broken(io::ErrorKind::UnexpectedEof)),
            Delivery::Unreachable => Err(broken(io::ErrorKind::HostUnreachable)),
            Delivery::Last | Delivery::Never | Delivery::Slow(_) | Delivery::Whole => {
                Ok(reply.response)
            }
        }
    }
}

impl InMemory {
    fn wait(&self, time: Duration) {
        let clock = &self.0.clock;
        if !time.is_zero() {
            // The time-out bounds it; the transport is not told of any other end.
            clock.wait_until(later(clock.now(), time), &Stop::never());
        }
    }
}

fn broken(kind: io::ErrorKind) -> TransportError {
    TransportError::Io(kind.into())
}
