use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::fake::date;
use crate::fake::refusal::Refusal;
use crate::fake::stream::{Change, Status, Stream};
use crate::fake::{admin, list, read, write};
use crate::model::Timestamp;
use crate::sys::clock::Clock;
use crate::sys::rng::Rng;

/// The one state behind both doors.
pub(super) struct Service {
    pub clock: Arc<dyn Clock>,
    streams: Mutex<BTreeMap<String, Arc<Mutex<Stream>>>>,
    settings: Mutex<Settings>,
    calls: Mutex<BTreeMap<&'static str, u64>>,
    rng: Mutex<Rng>,
}

/// How the service behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settings {
    /// How long a stream stays CREATING, UPDATING or DELETING.
    pub stream_delay: Duration,
}

/// One operation: its name on the wire, and who answers it.
struct Handler {
    name: &'static str,
    answer: fn(&Service, &[u8]) -> Result<Vec<u8>, Refusal>,
}

const HANDLERS: [Handler; 13] = [
    handler("CreateStream", admin::create_stream),
    handler("DeleteStream", admin::delete_stream),
    handler("DescribeStream", list::describe_stream),
    handler("DescribeStreamSummary", list::describe_stream_summary),
    handler("GetRecords", read::get_records),
    handler("GetShardIterator", read::get_shard_iterator),
    handler("ListShards", list::list_shards),
    handler("ListStreams", list::list_streams),
    handler("MergeShards", admin::merge_shards),
    handler("PutRecord", write::put_record),
    handler("PutRecords", write::put_records),
    handler("SplitShard", admin::split_shard),
    handler("UpdateShardCount", admin::update_shard_count),
];

const fn handler(
    name: &'static str,
    answer: fn(&Service, &[u8]) -> Result<Vec<u8>, Refusal>,
) -> Handler {
    Handler { name, answer }
}

impl Service {
    pub fn new(clock: Arc<dyn Clock>) -> Service {
        Service {
            clock,
            streams: Mutex::default(),
            settings: Mutex::default(),
            calls: Mutex::default(),
            rng: Mutex::new(Rng::from_seed(REQUEST_ID_SEED)),
        }
    }

    /// Answers one request; whatever is wrong with it is an answer too.
    pub fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        self.finish(self.respond(request))
    }

    fn respond(&self, request: &Request<Bytes>) -> Result<Vec<u8>, Refusal> {
        let handler = find(request)?;
        *self.lock(&self.calls).entry(handler.name).or_default() += 1;
        check_signed(request.headers())?;
        (handler.answer)(self, request.body())
    }

    fn finish(&self, outcome: Result<Vec<u8>, Refusal>) -> Response<Bytes> {
        let (status, body) = match outcome {
            Ok(body) => (200, body),
            Err(refusal) => (refusal.status, refusal_body(&refusal)),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        insert(headers, DATE.as_str(), &date::of(self.now()));
        insert(headers, "x-amzn-requestid", &self.request_id());
        response
    }

    /// A name for the request in the form of a UUID.
    fn request_id(&self) -> String {
        let mut rng = self.lock(&self.rng);
        let (high, low) = (rng.next_u64(), rng.next_u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    pub fn settings(&self) -> Settings {
        *self.lock(&self.settings)
    }

    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock(&self.settings));
    }

    pub fn calls(&self, name: &str) -> u64 {
        self.lock(&self.calls).get(name).copied().unwrap_or(0)
    }

    /// Makes or replaces a stream.
    pub fn insert(&self, stream: Stream) {
        let name = stream.name.clone();
        self.lock(&self.streams)
            .insert(name, Arc::new(Mutex::new(stream)));
    }

    /// Finds a stream in whatever state, with everything that was due done.
    pub fn stream(&self, name: &str, now: Timestamp) -> Result<Arc<Mutex<Stream>>, Refusal> {
        let mut streams = self.lock(&self.streams);
        let stream = streams
            .get(name)
            .cloned()
            .ok_or_else(|| Refusal::no_stream(name))?;
        let status = self.settled(&stream, now).status();
        if status == Status::Gone {
            streams.remove(name);
            return Err(Refusal::no_stream(name));
        }
        Ok(stream)
    }

    /// Finds a stream that takes and gives records.
    pub fn live_stream(&self, name: &str, now: Timestamp) -> Result<Arc<Mutex<Stream>>, Refusal> {
        let stream = self.stream(name, now)?;
        let status = self.lock(&stream).status();
        match status {
            Status::Active | Status::Updating => Ok(stream),
            _ => Err(Refusal::no_stream(name)),
        }
    }

    pub fn stream_names(&self) -> Vec<String> {
        self.lock(&self.streams).keys().cloned().collect()
    }

    /// Lets a change begin; it comes into force after the stream delay.
    pub fn begin(&self, stream: &mut Stream, change: Change, now: Timestamp) {
        let due = now.saturating_add(self.settings().stream_delay);
        stream.begin(change, due, now);
    }

    pub fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled<'a>(&self, stream: &'a Mutex<Stream>, now: Timestamp) -> MutexGuard<'a, Stream> {
        let mut stream = self.lock(stream);
        stream.settle(now);
        stream
    }
}

fn find(request: &Request<Bytes>) -> Result<&'static Handler, Refusal> {
    let unknown = || Refusal::new("UnknownOperationException", "");
    if request.method() != Method::POST {
        return Err(Refusal {
            status: 404,
            ..unknown()
        });
    }
    let target = request.headers().get("x-amz-target");
    let name = target
        .and_then(|target| target.to_str().ok())
        .and_then(|target| target.strip_prefix("Kinesis_20131202."))
        .ok_or_else(unknown)?;
    HANDLERS
        .iter()
        .find(|handler| handler.name == name)
        .ok_or_else(unknown)
}

fn check_signed(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.contains_key(AUTHORIZATION) {
        true => Ok(()),
        false => Err(Refusal::new(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )),
    }
}

fn refusal_body(refusal: &Refusal) -> Vec<u8> {
    serde_json::json!({ "__type": refusal.code, "message": refusal.message })
        .to_string()
        .into_bytes()
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const REQUEST_ID_SEED: u64 = 0x4b69_6e65_7369_7321;
