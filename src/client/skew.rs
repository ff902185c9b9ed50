//! Whether the service refused a call because this machine's clock is wrong.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::error::ErrorKind;
use crate::model::Timestamp;

/// How far the service's time of day is from this machine's, in milliseconds: between two bounds, as
/// an answer says when it was made and not when that was here.
#[derive(Debug, Default)]
pub(super) struct ClockOffset {
    least: AtomicI64,
    most: AtomicI64,
}

impl ClockOffset {
    /// Takes what an answer says. It was made while the call was under way, however long that took.
    pub fn note(&self, sent: Timestamp, received: Timestamp, server: Timestamp) {
        let server = server.as_millis();
        let least = server.saturating_sub(received.as_millis());
        let most = server
            .saturating_add(SECOND)
            .saturating_sub(sent.as_millis());
        self.least.store(least, Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
    }

    /// The service's time of day, and not later.
    pub fn earliest(&self, wall: Timestamp) -> Timestamp {
        shifted(wall, &self.least)
    }

    /// The service's time of day, and not earlier.
    pub fn latest(&self, wall: Timestamp) -> Timestamp {
        shifted(wall, &self.most)
    }
}

fn shifted(wall: Timestamp, offset: &AtomicI64) -> Timestamp {
    let offset = offset.load(Ordering::Relaxed);
    Timestamp::from_millis(wall.as_millis().saturating_add(offset))
}

/// The time of day of whoever answered. To the second, and never ahead of it.
pub(super) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get("date")?.to_str().ok()?;
    let date = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    Some(Timestamp::from_millis(
        date.unix_timestamp().checked_mul(1_000)?,
    ))
}

/// Says whether a call that was signed at `signed_at` failed because of that time.
///
/// Either the refusal says so, or the server's time is so far from it that nothing else explains it.
pub(super) fn is_about_time(refusal: &ErrorKind, signed_at: Timestamp, server: Timestamp) -> bool {
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

/// Dates are told to the second.
const SECOND: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_long_on_its_way_tells_less() {
        let at = Timestamp::from_millis;
        let offset = ClockOffset::default();
        assert_eq!(offset.earliest(at(7)), at(7), "nothing is known");
        for (sent, received, earliest, latest) in [
            (9_500, 9_600, -2_600, -1_500),
            (9_000, 99_000, -92_000, -1_000),
        ] {
            offset.note(at(sent), at(received), at(7_000));
            let now = 100_000;
            let bounds = (offset.earliest(at(now)), offset.latest(at(now)));
            assert_eq!(bounds, (at(now + earliest), at(now + latest)));
        }
    }

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
