//! The way of every call: encode, sign, send, judge, and perhaps wait and send again.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};

use crate::client::Client;
use crate::client::permits::Permit;
use crate::client::service_time::{Attempt, ServerTime};
use crate::client::wire::{self, Exchange};
use crate::credentials::CredentialsProvider;
use crate::error::{Error, ErrorKind, Result, TransportError, Verdict};
use crate::http::{encoding_refused, page};
use crate::model::Timestamp;
use crate::retry::RetryPolicy;
use crate::sign::{Credentials, server_time};
use crate::sys::clock::{Clock, later};
use crate::sys::lock::lock;

/// An attempt that failed, and whether the clock that signed it has been corrected since.
struct Failure {
    error: Error,
    was_clock_wrong: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            error,
            was_clock_wrong: false,
        }
    }
}

/// What helps once in a call: if it did not, it will not.
#[derive(Default)]
struct Remedies {
    credentials: bool,
    clock: bool,
}

impl Remedies {
    /// Says whether something was put right, so that another attempt is due at once.
    fn apply(&mut self, failure: &Failure) -> bool {
        let Remedies { credentials, clock } = self;
        let used = match failure.error.verdict() {
            // The provider is asked anew for the next attempt.
            Verdict::RefreshCredentials => credentials,
            _ if failure.was_clock_wrong => clock,
            _ => return false,
        };
        !std::mem::replace(used, true)
    }
}

/// A member that could not be read. The same one in two answers running is no accident on the way, and no call reads it.
#[derive(Default)]
struct Oddity(Option<String>);

impl Oddity {
    fn judged(&mut self, mut failure: Failure) -> Failure {
        let member = failure.error.odd_member().map(str::to_owned);
        if member.is_some() && member == self.0 {
            failure.error = failure.error.of_member_again();
        }
        self.0 = member;
        failure
    }
}

impl Client {
    /// Makes a call, again and again as far as its policy, the verdicts on its errors and its time
    /// allow.
    pub(super) fn call<E: Exchange>(&self, exchange: &E) -> Result<E::Answer> {
        self.call_timed(exchange).map(|(answer, _)| answer)
    }

    /// The same, and when the service carried out the attempt that succeeded.
    pub(super) fn call_timed<E: Exchange>(&self, exchange: &E) -> Result<(E::Answer, ServerTime)> {
        let (clock, policy) = (&self.shared.sys.clock, self.policy(E::OPERATION));
        let (body, started) = (exchange.body_in(&self.shared.buffers), clock.now());
        let deadline = later(started, self.shared.call_timeout);
        let (mut remedies, mut oddity) = (Remedies::default(), Oddity::default());
        for retry in 0.. {
            let failure = match self.attempt_in_turn(exchange, &body, deadline) {
                Ok(answer) => return Ok(answer),
                Err(failure) => oddity.judged(failure),
            };
            let is_remedied = remedies.apply(&failure);
            let elapsed = clock.now() - started;
            let error = told(
                failure.error,
                exchange,
                &self.shared.endpoint,
                retry + 1,
                elapsed,
            );
            let backoff = match is_remedied {
                true => Duration::ZERO,
                false if is_repeated(exchange, &error) && policy.allows(retry) => {
                    self.backoff(policy, retry)
                }
                false => return Err(error),
            };
            let next = later(clock.now(), backoff);
            if next >= deadline {
                return Err(error.within(|context| context.is_out_of_time = true));
            }
            log::debug!("{error}; again in {} ms", backoff.as_millis());
            if !clock.wait_until(next, &self.stop) {
                return Err(error);
            }
        }
        Err(Error::new(ErrorKind::Closed))
    }

    /// Makes an attempt once the client has a connection for it.
    fn attempt_in_turn<E: Exchange>(
        &self,
        exchange: &E,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<(E::Answer, ServerTime), Failure> {
        // One for each attempt: a call that pauses keeps no other one waiting.
        let _permit = self.permit(deadline)?;
        let timeout = deadline.saturating_duration_since(self.shared.sys.clock.now());
        self.watched(exchange, body, timeout)
    }

    /// Waits for the right to make a call. Without one nothing was sent.
    fn permit(&self, deadline: Instant) -> Result<Permit<'_>> {
        let shared = &*self.shared;
        let permit = shared
            .permits
            .acquire(&*shared.sys.clock, deadline, &self.stop);
        permit.ok_or_else(|| match self.stop.is_stopped() {
            true => Error::new(ErrorKind::Closed),
            false => {
                let limit = shared.permits.limit();
                let reason = format!("all {limit} connections of the client are in use");
                let reason = io::Error::new(io::ErrorKind::TimedOut, reason);
                TransportError::Connect(reason).into()
            }
        })
    }

    fn watched<E: Exchange>(
        &self,
        exchange: &E,
        body: &Bytes,
        timeout: Duration,
    ) -> Result<(E::Answer, ServerTime), Failure> {
        let Some(watch) = &self.watch else {
            return self.attempt(exchange, body, timeout);
        };
        let clock = &self.shared.sys.clock;
        let begun = clock.now();
        let outcome = self.attempt(exchange, body, timeout);
        let error = outcome.as_ref().err().map(|failure| &failure.error);
        watch.attempted(E::OPERATION, clock.now() - begun, error);
        outcome
    }

    fn backoff(&self, policy: &RetryPolicy, retry: u32) -> Duration {
        policy.backoff(retry, &mut lock(&self.shared.jitter))
    }

    fn attempt<E: Exchange>(
        &self,
        exchange: &E,
        body: &Bytes,
        timeout: Duration,
    ) -> Result<(E::Answer, ServerTime), Failure> {
        let shared = &*self.shared;
        let credentials = shared.credentials.credentials()?;
        let signed_at = shared.signing_clock.wall();
        let request = self.signed(exchange, body.clone(), &credentials, signed_at)?;
        let clock = &shared.sys.clock;
        let (sent, sent_wall) = (clock.now(), clock.wall());
        let timeout = timeout.min(shared.request_timeout);
        let response = shared
            .transport
            .round_trip(request, timeout)
            .map_err(Error::from)?;
        let attempt = Attempt {
            sent,
            sent_wall,
            received: clock.now(),
            received_wall: clock.wall(),
        };
        let server_time = server_time(response.headers());
        if let Some(server_time) = server_time {
            shared.service_time.note(&attempt, server_time);
        }
        let answered_at = attempt.answered_at(server_time);
        log::trace!(
            "{}: {} in {} bytes",
            E::OPERATION,
            response.status(),
            response.body().len()
        );
        let (headers, outcome) = judged(exchange, response);
        let outcome = outcome.map(|answer| (answer, answered_at));
        outcome.map_err(|error| {
            if error.verdict() == Verdict::RefreshCredentials {
                shared.credentials.refused(&credentials);
            }
            let clock = &shared.signing_clock;
            Failure {
                was_clock_wrong: clock.is_corrected_by(error.kind(), &headers, signed_at),
                error: error.within(|context| context.request_id = request_id(&headers)),
            }
        })
    }

    fn signed<E: Exchange>(
        &self,
        _: &E,
        body: Bytes,
        credentials: &Credentials,
        at: Timestamp,
    ) -> Result<Request<Bytes>> {
        let shared = &*self.shared;
        let host = shared
            .endpoint
            .authority()
            .map_or("", |authority| authority.as_str());
        let mut request = Request::post(&shared.endpoint)
            .header("host", host)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Kinesis_20131202.{}", E::OPERATION))
            .body(body)
            .map_err(|error| Error::malformed("request", error))?;
        shared.signer.sign(&mut request, credentials, at)?;
        Ok(request)
    }
}

fn is_repeated<E: Exchange>(exchange: &E, error: &Error) -> bool {
    error.is_retryable() && exchange.is_repeated_after(error)
}

/// The error, told with what was being done.
fn told<E: Exchange>(
    error: Error,
    exchange: &E,
    endpoint: &Uri,
    attempts: u32,
    elapsed: Duration,
) -> Error {
    let sent = !matches!(error.kind(), ErrorKind::Credentials { .. });
    error.within(|context| {
        context.operation = Some(E::OPERATION);
        context.endpoint = Some(endpoint.to_string());
        context.attempts = if sent { attempts } else { attempts - 1 };
        context.elapsed = elapsed;
        exchange.subject(context);
    })
}

fn judged<E: Exchange>(exchange: &E, response: Response<Bytes>) -> (HeaderMap, Result<E::Answer>) {
    let error = encoding_refused(&response).or_else(|| match response.status().is_success() {
        true => page(&response),
        false => Some(wire::service_error(&response)),
    });
    let (parts, body) = response.into_parts();
    let outcome = error.map_or_else(|| exchange.answer(body), Err);
    (parts.headers, outcome)
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let names = ["x-amzn-requestid", "x-amz-request-id"];
    let value = names.iter().find_map(|name| headers.get(*name))?;
    // Short and plain, or it is not one.
    value
        .to_str()
        .ok()
        .filter(|id| id.len() <= 128)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::http::HttpTransport;
    use crate::model::Operation;

    type Answer = Result<Response<Bytes>, TransportError>;

    /// Answers from a list, and counts what it was asked.
    #[derive(Clone, Default)]
    struct Canned(Arc<Mutex<(VecDeque<Answer>, u32)>>);

    impl HttpTransport for Canned {
        fn round_trip(&self, request: Request<Bytes>, _: Duration) -> Answer {
            assert_eq!(
                request.headers()["x-amz-target"],
                "Kinesis_20131202.ListShards"
            );
            assert!(request.headers().contains_key("authorization"));
            let mut canned = self.0.lock().expect("not poisoned");
            canned.1 += 1;
            canned.0.pop_front().expect("an answer for each call")
        }
    }

    fn answer(status: u16, body: &'static str) -> Answer {
        let response = Response::builder()
            .status(status)
            .header("x-amzn-requestid", "7c1f");
        let response = response.header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        Ok(response
            .body(Bytes::from_static(body.as_bytes()))
            .expect("a response"))
    }

    /// Lists shards with two retries and no waits; gives the outcome, the calls made and the client.
    fn list(answers: impl IntoIterator<Item = Answer>) -> (Result<usize>, u32, Client) {
        let canned = Canned::default();
        canned.0.lock().expect("not poisoned").0.extend(answers);
        let policy = RetryPolicy {
            max_retries: Some(2),
            backoff_base: Duration::ZERO,
            ..RetryPolicy::default_for(Operation::ListShards)
        };
        let client = Client::builder()
            .region("us-east-1")
            .credentials(Credentials::new("AKID", "secret"))
            .transport(canned.clone())
            .retry(Operation::ListShards, policy)
            .build()
            .expect("a client");
        let outcome = client.list_shards("orders").map(|shards| shards.len());
        let calls = canned.0.lock().expect("not poisoned").1;
        (outcome, calls, client)
    }

    const NONE: &str = r#"{"Shards":[]}"#;
    const THROTTLED: &str = r#"{"__type":"LimitExceededException","message":"Rate exceeded"}"#;
    const EXPIRED: &str = r#"{"__type":"ExpiredTokenException"}"#;

    fn reset() -> Answer {
        Err(TransportError::Io(io::ErrorKind::ConnectionReset.into()))
    }

    #[test]
    fn what_may_pass_is_tried_again_and_the_rest_is_not() {
        let missing = r#"{"__type":"ResourceNotFoundException","message":"no"}"#;
        for (what, answers, calls, succeeds) in [
            ("at once", vec![answer(200, NONE)], 1, true),
            (
                "after trouble",
                vec![reset(), answer(500, "oops"), answer(200, NONE)],
                3,
                true,
            ),
            (
                "garbled",
                vec![answer(200, "<html>"), answer(200, NONE)],
                2,
                true,
            ),
            (
                "too often",
                vec![answer(400, THROTTLED), reset(), answer(400, THROTTLED)],
                3,
                false,
            ),
            ("for good", vec![answer(400, missing)], 1, false),
            (
                "one new token",
                vec![answer(400, EXPIRED), answer(200, NONE)],
                2,
                true,
            ),
            (
                "no new token",
                vec![answer(400, EXPIRED), answer(400, EXPIRED)],
                2,
                false,
            ),
        ] {
            let (outcome, made, _) = list(answers);
            assert_eq!(
                (made, outcome.is_ok()),
                (calls, succeeds),
                "{what}: {outcome:?}"
            );
        }
    }

    #[test]
    fn a_member_that_cannot_be_read_twice_ends_the_call_by_its_name() {
        const ODD: &str = r#"{"Shards":[{"ShardId":{}}]}"#;
        const OTHER: &str = r#"{"Shards":{}}"#;
        let (outcome, made, _) = list([answer(200, ODD), answer(200, ODD)]);
        let error = outcome.expect_err("cannot be read");
        assert_eq!((made, error.is_retryable()), (2, false));
        assert_eq!(
            error.to_string(),
            "ListShards on stream orders at https://kinesis.us-east-1.amazonaws.com/: every response is malformed: \
             Shards[0].ShardId is no text, in two responses (2 attempts in 0.0 s, request 7c1f)"
        );
        // Apart they may be two accidents.
        let (outcome, made, _) = list([answer(200, ODD), answer(200, OTHER), answer(200, NONE)]);
        assert_eq!((outcome.ok(), made), (Some(0), 3));
    }

    #[test]
    fn an_encoding_that_nobody_asked_for_ends_the_call_by_its_name() {
        for (status, code) in [(200, "gzip"), (400, "br")] {
            let response = Response::builder()
                .status(status)
                .header("content-encoding", code);
            let response = response
                .body(Bytes::from_static(b"\x1f\x8b\x08\x00"))
                .expect("a response");
            let (outcome, made, _) = list([Ok(response)]);
            let text = outcome.expect_err("cannot be read").to_string();
            let told = format!("the answer has Content-Encoding {code}, which was not asked for");
            assert!(made == 1 && text.contains(&told), "{text}");
            assert!(
                text.contains(" at https://kinesis.us-east-1.amazonaws.com/"),
                "{text}"
            );
        }
        let response = Response::builder().header("content-encoding", " Identity ");
        let response = response
            .body(Bytes::from_static(NONE.as_bytes()))
            .expect("a response");
        assert_eq!(list([Ok(response)]).0.ok(), Some(0));
    }

    #[test]
    fn a_listing_whose_token_has_expired_starts_again() {
        const MORE: &str = r#"{"Shards":[],"NextToken":"AAA"}"#;
        const OLD: &str = r#"{"__type":"ExpiredNextTokenException"}"#;
        let expired = || [answer(200, MORE), answer(400, OLD)];
        let good = [answer(200, MORE), answer(200, NONE)];
        let answers = expired().into_iter().chain(expired()).chain(good);
        let (outcome, made, _) = list(answers);
        assert_eq!((outcome.ok(), made), (Some(0), 6));
        let answers = expired().into_iter().chain(expired()).chain(expired());
        let (outcome, made, _) = list(answers);
        assert_eq!((outcome.is_err(), made), (true, 6));
    }

    #[test]
    fn the_last_error_tells_the_whole_story() {
        let (outcome, _, _) = list([answer(400, THROTTLED), reset(), answer(400, THROTTLED)]);
        let error = outcome.expect_err("throttled to the end");
        assert_eq!(
            error.to_string(),
            "ListShards on stream orders: LimitExceededException: Rate exceeded (3 attempts in 0.0 s, request 7c1f)"
        );
        assert_eq!((error.attempts(), error.request_id()), (3, Some("7c1f")));
    }

    #[test]
    fn the_services_time_of_day_is_learnt_from_its_answers() {
        let (_, _, client) = list([answer(200, NONE)]);
        let apart = client
            .server_time()
            .saturating_since(Timestamp::from_millis(784_111_777_000));
        assert!(apart < Duration::from_secs(60), "{apart:?}");
    }

    #[test]
    fn a_call_has_so_much_time_and_no_more() {
        let canned = Canned::default();
        canned
            .0
            .lock()
            .expect("not poisoned")
            .0
            .extend([reset(), reset()]);
        let impatient = Client::builder()
            .region("us-east-1")
            .credentials(Credentials::new("AKID", "secret"))
            .transport(canned.clone())
            .call_timeout(Duration::ZERO);
        let error = impatient.build().expect("a client").list_shards("orders");
        let error = error.expect_err("no time");
        assert_eq!(
            error.to_string(),
            "ListShards on stream orders at https://kinesis.us-east-1.amazonaws.com/: the connection failed: \
             connection reset (1 attempt in 0.0 s, no time left for another)"
        );
        assert!(error.is_retryable());
    }

    #[test]
    fn a_wait_ends_when_told_to_stop() {
        let stopped = crate::sys::stop::StopSource::new().stop();
        let patient = RetryPolicy {
            max_retries: None,
            ..RetryPolicy::default_for(Operation::ListShards)
        };
        let canned = Canned::default();
        canned.0.lock().expect("not poisoned").0.push_back(reset());
        let client = Client::builder()
            .region("us-east-1")
            .credentials(Credentials::new("AKID", "secret"))
            .transport(canned)
            .build()
            .expect("a client")
            .with_retry(Operation::ListShards, patient)
            .with_stop(stopped);
        drop(client.list_shards("orders").expect_err("stopped"));
    }

    #[test]
    fn without_credentials_nothing_is_sent() {
        struct Nowhere;
        impl CredentialsProvider for Nowhere {
            fn credentials(&self) -> Result<Credentials> {
                Err(Error::new(ErrorKind::Credentials {
                    tried: vec![("here".to_owned(), "nothing".to_owned())],
                    cause: None,
                }))
            }
        }
        let client = Client::builder()
            .region("us-east-1")
            .credentials(Nowhere)
            .transport(Canned::default());
        let error = client
            .build()
            .expect("a client")
            .list_shards("orders")
            .expect_err("no credentials");
        assert_eq!(
            error.to_string(),
            "ListShards on stream orders: no credentials: here: nothing; set one of them, or \
             give the client a provider of your own"
        );
    }
}
