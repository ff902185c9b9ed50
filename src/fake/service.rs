use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};

use crate::fake::call::Call;
use crate::fake::fault::{Delivery, Fault};
use crate::fake::limits::{self, Window};
use crate::fake::log::{Log, LoggedRequest};
use crate::fake::refusal::Refusal;
use crate::fake::reply::{self, Reply};
use crate::fake::script::{Rules, Scripted};
use crate::fake::stream::{Change, Status, Stream};
use crate::fake::{ACCOUNT, admin, list, read, set, verify, write};
use crate::model::Timestamp;
use crate::sign::Credentials;
use crate::sys::clock::Clock;
use crate::sys::lock::lock;
use crate::sys::rng::Rng;

/// The one state behind both doors.
pub(super) struct Service {
    pub clock: Arc<dyn Clock>,
    pub rules: Rules,
    streams: Mutex<BTreeMap<String, Arc<Mutex<Stream>>>>,
    settings: Mutex<Settings>,
    calls: Mutex<BTreeMap<&'static str, u64>>,
    /// Calls of late, by operation.
    windows: Mutex<BTreeMap<&'static str, Window>>,
    log: Mutex<Log>,
    request_ids: Mutex<Rng>,
}

/// How the service behaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// How far its clock is ahead, in milliseconds.
    pub clock_skew_ms: i64,
    /// How far the Date header of its answers is ahead of that clock, in milliseconds.
    pub date_step_ms: i64,
    /// Whose signature is asked for; any will do if `None`.
    pub credentials: Option<Credentials>,
    /// Whether rates are limited.
    pub service_limits: bool,
    /// How long a stream stays CREATING, UPDATING or DELETING.
    pub stream_delay: Duration,
}

/// One operation: its name on the wire, and who answers it.
struct Handler {
    name: &'static str,
    answer: fn(&mut Call<'_>) -> Result<Vec<u8>, Refusal>,
}

const HANDLERS: [Handler; 17] = [
    handler("CreateStream", admin::create_stream),
    handler("DecreaseStreamRetentionPeriod", set::decrease_retention),
    handler("DeleteStream", admin::delete_stream),
    handler("DescribeStream", list::describe_stream),
    handler("DescribeStreamSummary", list::describe_stream_summary),
    handler("GetRecords", read::get_records),
    handler("GetShardIterator", read::get_shard_iterator),
    handler("IncreaseStreamRetentionPeriod", set::increase_retention),
    handler("ListShards", list::list_shards),
    handler("ListStreams", list::list_streams),
    handler("MergeShards", admin::merge_shards),
    handler("PutRecord", write::put_record),
    handler("PutRecords", write::put_records),
    handler("SplitShard", admin::split_shard),
    handler("UpdateMaxRecordSize", set::update_max_record_size),
    handler("UpdateShardCount", admin::update_shard_count),
    handler(
        "UpdateStreamRecordDistributionStrategy",
        set::update_strategy,
    ),
];

const fn handler(
    name: &'static str,
    answer: fn(&mut Call<'_>) -> Result<Vec<u8>, Refusal>,
) -> Handler {
    Handler { name, answer }
}

impl Service {
    pub fn new(clock: Arc<dyn Clock>) -> Service {
        Service {
            clock,
            rules: Rules::default(),
            streams: Mutex::default(),
            settings: Mutex::default(),
            calls: Mutex::default(),
            windows: Mutex::default(),
            log: Mutex::default(),
            request_ids: Mutex::new(Rng::from_seed(REQUEST_ID_SEED)),
        }
    }

    /// Finds the name of an operation among those that are answered.
    pub fn operation(name: &str) -> Option<&'static str> {
        let mut names = HANDLERS.iter().map(|handler| handler.name);
        names.find(|known| *known == name)
    }

    /// Answers one request; whatever is wrong with it is an answer too.
    pub fn answer(&self, request: &Request<Bytes>) -> Reply {
        let now = self.now();
        let handler = match find(request) {
            Ok(handler) => handler,
            Err(refusal) => return Reply::whole(self.reply(Err(refusal), now)),
        };
        *lock(&self.calls).entry(handler.name).or_default() += 1;
        let scripted = self.rules.on_call(handler.name, request.body());
        for look in &scripted.observers {
            look(request);
        }
        self.play(handler, request, &scripted, now)
    }

    /// Carries a call out as the script has it.
    fn play(
        &self,
        handler: &Handler,
        request: &Request<Bytes>,
        scripted: &Scripted,
        now: Timestamp,
    ) -> Reply {
        let fault = scripted.fault.as_ref();
        let mut call = Call {
            service: self,
            body: request.body(),
            now,
            fault,
            fault_shard: scripted.shard.as_deref(),
            stream: None,
            shard: None,
        };
        if fault.is_some_and(Fault::comes_before) {
            self.note(handler, call, 0, None);
            return Reply::none(scripted);
        }
        let outcome = self.carry_out(handler, request, &mut call);
        let (status, error) = match &outcome {
            Ok(_) => (200, None),
            Err(refusal) => (refusal.status, Some(refusal.code.to_string())),
        };
        self.note(handler, call, status, error);
        // Dated when it is made, behind all that it shows: other calls may have been carried out since
        // this one came.
        let mut response = self.reply(outcome, self.now());
        if fault == Some(&Fault::Garbage) {
            *response.body_mut() = Bytes::from_static(GARBAGE);
        }
        Reply {
            response,
            delay: scripted.delay,
            delivery: fault.map_or(Delivery::Whole, Fault::delivery),
        }
    }

    fn carry_out(
        &self,
        handler: &Handler,
        request: &Request<Bytes>,
        call: &mut Call<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        if let Some(refusal) = call.fault.and_then(|fault| fault.refusal(handler.name)) {
            return Err(refusal);
        }
        let settings = self.settings();
        verify::check_presence(request.headers())?;
        if let Some(credentials) = &settings.credentials {
            verify::check_signature(request, credentials, call.now)?;
        }
        if settings.service_limits {
            self.check_rate(handler, call.now)?;
        }
        (handler.answer)(call)
    }

    fn check_rate(&self, handler: &Handler, now: Timestamp) -> Result<(), Refusal> {
        let Some(calls) = limits::calls_a_second(handler.name) else {
            return Ok(());
        };
        let mut windows = lock(&self.windows);
        let window = windows.entry(handler.name).or_default();
        match window.open(now, limits::calls_only(calls)) {
            true => Ok(()),
            false => Err(Refusal::new(
                "LimitExceededException",
                format!("Rate exceeded for account {ACCOUNT}."),
            )),
        }
    }

    /// Notes a call in the log.
    fn note(&self, handler: &Handler, call: Call<'_>, status: u16, error: Option<String>) {
        lock(&self.log).push(LoggedRequest {
            at: call.now,
            operation: handler.name.to_owned(),
            stream: call.stream,
            shard_id: call.shard.map(Into::into),
            status,
            error,
        });
    }

    /// A name for the request in the form of a UUID.
    fn request_id(&self) -> String {
        let mut rng = lock(&self.request_ids);
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

    fn reply(&self, outcome: Result<Vec<u8>, Refusal>, now: Timestamp) -> Response<Bytes> {
        let step = lock(&self.settings).date_step_ms;
        let date = now.as_millis().saturating_add(step);
        reply::to(outcome, Timestamp::from_millis(date), self.request_id())
    }

    /// The service's time, which need not be the machine's.
    pub fn now(&self) -> Timestamp {
        let skew = lock(&self.settings).clock_skew_ms;
        Timestamp::from_millis(self.clock.wall().as_millis().saturating_add(skew))
    }

    pub fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.settings));
    }

    pub fn calls(&self, name: &str) -> u64 {
        lock(&self.calls).get(name).copied().unwrap_or(0)
    }

    pub fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.log).requests()
    }

    /// Makes or replaces a stream.
    pub fn insert(&self, stream: Stream) {
        let name = stream.name.clone();
        lock(&self.streams).insert(name, Arc::new(Mutex::new(stream)));
    }

    /// Finds a stream in whatever state, with everything that was due done.
    pub fn stream(&self, name: &str, now: Timestamp) -> Result<Arc<Mutex<Stream>>, Refusal> {
        let stream = lock(&self.streams).get(name).cloned();
        let stream = stream.ok_or_else(|| Refusal::no_stream(name))?;
        if settled_status(&stream, now) == Status::Gone {
            // Unless one of the same name was made meanwhile.
            let mut streams = lock(&self.streams);
            if streams
                .get(name)
                .is_some_and(|now| Arc::ptr_eq(now, &stream))
            {
                streams.remove(name);
            }
            return Err(Refusal::no_stream(name));
        }
        Ok(stream)
    }

    /// Finds a stream that takes and gives records.
    pub fn live_stream(&self, name: &str, now: Timestamp) -> Result<Arc<Mutex<Stream>>, Refusal> {
        let stream = self.stream(name, now)?;
        let status = lock(&stream).status();
        match status {
            Status::Active | Status::Updating => Ok(stream),
            _ => Err(Refusal::no_stream(name)),
        }
    }

    pub fn stream_names(&self) -> Vec<String> {
        lock(&self.streams).keys().cloned().collect()
    }

    /// Lets a change begin; it comes into force after the stream delay.
    pub fn begin(&self, stream: &mut Stream, change: Change, now: Timestamp) {
        let due = now.saturating_add(self.settings().stream_delay);
        stream.begin(change, due, now);
    }
}

fn settled_status(stream: &Mutex<Stream>, now: Timestamp) -> Status {
    let mut stream = lock(stream);
    stream.settle(now);
    stream.status()
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

const REQUEST_ID_SEED: u64 = 0x4b69_6e65_7369_7321;
/// What a proxy with troubles of its own may say.
const GARBAGE: &[u8] = b"<html><body>Bad gateway</body></html>";
