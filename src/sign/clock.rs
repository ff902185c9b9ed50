//! The time of day that requests are signed with.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::error::ErrorKind;
use crate::model::Timestamp;
use crate::sys::clock::{Clock, Timer};

/// This machine's time of day, as far as no service objected to it; one for a client, its
/// credentials and STS.
pub(crate) struct SigningClock {
    clock: Arc<dyn Clock>,
    /// What is added to this machine's time of day, in milliseconds: 0 until a service refuses a
    /// request because of its time.
    offset: AtomicI64,
}

impl SigningClock {
    pub fn new(clock: Arc<dyn Clock>) -> SigningClock {
        SigningClock {
            clock,
            offset: AtomicI64::new(0),
        }
    }

    /// Says whether a request that was signed at `signed_at` was refused because of that time; from
    /// then on the service's own time is told.
    pub fn is_corrected_by(
        &self,
        refusal: &ErrorKind,
        headers: &HeaderMap,
        signed_at: Timestamp,
    ) -> bool {
        let server = server_time(headers);
        let Some(server) = server.filter(|server| is_about_time(refusal, signed_at, *server))
        else {
            return false;
        };
        let ours = self.clock.wall().as_millis();
        let offset = server.as_millis().saturating_sub(ours);
        self.offset.store(offset, Ordering::Relaxed);
        log::warn!(
            "this machine's clock is off by {} s; calls are signed by the service's",
            offset / 1_000
        );
        true
    }
}

impl Clock for SigningClock {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        let millis = self.clock.wall().as_millis();
        Timestamp::from_millis(millis.saturating_add(self.offset.load(Ordering::Relaxed)))
    }

    fn at(&self, deadline: Instant) -> Timer {
        self.clock.at(deadline)
    }
}

/// The time of day of whoever answered. To the second, and never ahead of it.
pub(crate) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get("date")?.to_str().ok()?;
    let date = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    Some(Timestamp::from_millis(
        date.unix_timestamp().checked_mul(1_000)?,
    ))
}

/// Says whether a call that was signed at `signed_at` failed because of that time.
///
/// Either the refusal says so, or the server's time is so far from it that nothing else explains it.
fn is_about_time(refusal: &ErrorKind, signed_at: Timestamp, server: Timestamp) -> bool {
    let ErrorKind::Service { code, message, .. } = refusal else {
        return false;
    };
    let ahead = signed_at.saturating_since(server);
    let apart = ahead.max(server.saturating_since(signed_at));
    match code.as_str() {
        "RequestExpired" | "RequestInTheFuture" | "RequestTimeTooSkewed" => true,
        "AuthFailure" | "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            let says_so = ["Signature expired", "Signature not yet current"];
            apart > TOLERATED || says_so.iter().any(|words| message.contains(words))
        }
        _ => false,
    }
}

/// The service tolerates 15 minutes; AWS's own clients suspect their clock from 4 minutes on.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>
const TOLERATED: Duration = Duration::from_secs(240);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_about_time_if_it_says_so_or_nothing_else_explains_it() {
        let signature = "InvalidSignatureException";
        let expired = "Signature expired: 20261122T000000Z is now earlier than 20261122T001000Z";
        for (code, message, seconds_apart, expected) in [
            ("RequestTimeTooSkewed", "", 0, true),
            ("RequestExpired", "", 901, true),
            (signature, expired, 0, true),
            (signature, "Signature not yet current: x", 0, true),
            (signature, "The request signature we calculated", 240, false),
            (signature, "The request signature we calculated", 241, true),
            ("SignatureDoesNotMatch", "", -241, true),
            ("SignatureDoesNotMatch", "", -240, false),
            ("AccessDeniedException", expired, 901, false),
        ] {
            let kind = ErrorKind::Service {
                code: code.to_owned(),
                message: message.to_owned(),
                status: 400,
            };
            let server = Timestamp::from_millis(1_000_000_000 + seconds_apart * 1_000);
            let is_so = is_about_time(&kind, Timestamp::from_millis(1_000_000_000), server);
            assert_eq!(is_so, expected, "{code} {message} {seconds_apart}");
        }
    }

    #[test]
    fn a_server_s_time_is_in_its_date() {
        let read = |date: &'static str| {
            let headers =
                HeaderMap::from_iter([(http::header::DATE, http::HeaderValue::from_static(date))]);
            server_time(&headers).map(Timestamp::as_millis)
        };
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(read("yesterday"), None);
        assert_eq!(server_time(&HeaderMap::new()), None);
    }
}
