//! An outside made by a test: written down variables and files, canned answers, time by hand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel;
use http::{Request, Response};

use crate::credentials::Outside;
use crate::error::TransportError;
use crate::http::HttpTransport;
use crate::model::Timestamp;
use crate::sign::SigningClock;
use crate::sys::clock::{Clock, SystemClock, Timer};

pub(super) type Answer = Result<Response<Bytes>, TransportError>;

/// Answers from a list and notes what it was asked.
#[derive(Clone, Default)]
pub(super) struct Canned(Arc<Mutex<Script>>);

/// What is still to be answered, and what was asked.
type Script = (VecDeque<Answer>, Vec<Request<Bytes>>);

impl Canned {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Canned {
        Canned(Arc::new(Mutex::new((
            answers.into_iter().collect(),
            Vec::new(),
        ))))
    }

    /// What was asked: method, URL and the named header's value.
    pub fn asked(&self, header: &str) -> Vec<String> {
        let told = |request: &Request<Bytes>| {
            let value = request.headers().get(header);
            let value = value.map_or("", |value| value.to_str().expect("text"));
            let told = format!("{} {} {value}", request.method(), request.uri());
            told.trim_end().to_owned()
        };
        self.0.lock().expect("sound").1.iter().map(told).collect()
    }

    pub fn bodies(&self) -> Vec<Bytes> {
        let state = self.0.lock().expect("sound");
        state.1.iter().map(|asked| asked.body().clone()).collect()
    }
}

impl HttpTransport for Canned {
    fn round_trip(&self, request: Request<Bytes>, timeout: Duration) -> Answer {
        let mut state = self.0.lock().expect("sound");
        state.1.push(request);
        let answer = state.0.pop_front();
        answer.unwrap_or(Err(TransportError::Timeout(timeout)))
    }
}

pub(super) fn answer(status: u16, body: &'static str) -> Answer {
    let response = Response::builder().status(status);
    Ok(response
        .body(Bytes::from_static(body.as_bytes()))
        .expect("a response"))
}

/// The same answer, from a server that says what time it is.
pub(super) fn dated(answer: Answer, date: &'static str) -> Answer {
    let mut answer = answer?;
    let date = http::HeaderValue::from_static(date);
    answer.headers_mut().insert(http::header::DATE, date);
    Ok(answer)
}

/// A time of day that is set; waits end at once.
#[derive(Clone)]
pub(super) struct HandClock(pub Arc<Mutex<Timestamp>>);

impl HandClock {
    pub fn at_second(second: i64) -> HandClock {
        HandClock(Arc::new(Mutex::new(Timestamp::from_millis(second * 1_000))))
    }

    pub fn set_second(&self, second: i64) {
        *self.0.lock().expect("sound") = Timestamp::from_millis(second * 1_000);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn wall(&self) -> Timestamp {
        *self.0.lock().expect("sound")
    }

    fn at(&self, _: Instant) -> Timer {
        Timer::new(channel::at(SystemClock.now()), None)
    }
}

pub(super) fn outside(
    env: &[(&'static str, &'static str)],
    answers: impl IntoIterator<Item = Answer>,
) -> (Outside, Canned) {
    let canned = Canned::new(answers);
    let outside = Outside {
        env: Arc::new(env.iter().copied().collect::<HashMap<_, _>>()),
        clock: Arc::new(SigningClock::new(Arc::new(HandClock::at_second(
            1_440_938_160,
        )))),
        service: Arc::new(canned.clone()),
        metadata: Arc::new(canned.clone()),
        region: None,
    };
    (outside, canned)
}
