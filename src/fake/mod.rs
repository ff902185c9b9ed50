//! Kinesis in this process: to try this crate without AWS, and to test programs that use it.
//!
//! [`FakeKinesis`] holds streams, shards and records in memory and answers as the service does, in
//! its words and with its limits on sizes. It has two doors to one state:
//! [`client`](FakeKinesis::client) speaks to it in memory, and [`serve`](FakeKinesis::serve) opens a
//! socket on loopback for every program that speaks HTTP.
//!
//! A program under test takes its [`Client`] from here, and what it should have stored is held
//! against what is stored:
//!
//! ```
//! # fn main() -> kinesis_blocking::Result<()> {
//! use kinesis_blocking::PutRecordsEntry;
//! use kinesis_blocking::fake::FakeKinesis;
//!
//! let fake = FakeKinesis::new().with_stream("orders", 2);
//! let entry = PutRecordsEntry {
//!     partition_key: "customer-7".into(),
//!     explicit_hash_key: None,
//!     data: "one coffee".into(),
//! };
//! fake.client().put_records("orders", &[entry])?;
//!
//! let records = fake.records("orders");
//! assert_eq!(records.len(), 1);
//! assert_eq!(records[0].data, "one coffee");
//! # Ok(())
//! # }
//! ```
//!
//! # What goes wrong
//!
//! [`FakeKinesis::on`] scripts [faults](Fault) by operation, stream and shard. Here the answer to a
//! put is lost after the record was stored, and the program that tries again stores it twice:
//!
//! ```
//! # fn main() -> kinesis_blocking::Result<()> {
//! # use kinesis_blocking::PutRecordsEntry;
//! use kinesis_blocking::Operation;
//! use kinesis_blocking::fake::{FakeKinesis, Fault};
//!
//! let fake = FakeKinesis::new().with_stream("orders", 2);
//! fake.on(Operation::PutRecords).fail_next(1, Fault::AnswerLost);
//! let client = fake.client();
//! # let entry = PutRecordsEntry {
//! #     partition_key: "customer-7".into(),
//! #     explicit_hash_key: None,
//! #     data: "one coffee".into(),
//! # };
//! assert!(client.put_records("orders", &[entry.clone()]).is_err());
//! assert!(client.put_records("orders", &[entry]).is_ok());
//! assert_eq!(fake.records("orders").len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! On a [`VirtualClock`] nothing waits. Clients of the fake and what is built on them wait on its
//! clock, which a test moves by hand or lets move by itself. A consumer of one shard waits in three
//! threads: discovery, the shard's, and the caller's. As soon as all of them wait, the clock jumps
//! to the earliest deadline, and five minutes of polling are over in a blink:
//!
//! ```
//! # fn main() -> kinesis_blocking::Result<()> {
//! use std::time::Duration;
//! use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
//! use kinesis_blocking::{Consumer, Event, Operation, Timestamp};
//!
//! let start = Timestamp::from_millis(1_700_000_000_000);
//! let clock = VirtualClock::starting_at(start);
//! let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 1);
//! let mut consumer = Consumer::builder(fake.client()).stream("orders").start()?;
//!
//! clock.auto_advance(3);
//! let five_minutes = Duration::from_secs(300);
//! while !matches!(consumer.next_event(five_minutes)?, Event::Timeout) {}
//! assert!(clock.time() >= start.saturating_add(five_minutes));
//! assert!(fake.calls(Operation::GetRecords) >= 1_000);
//! # Ok(())
//! # }
//! ```
//!
//! A program that speaks to the socket of [`serve`](FakeKinesis::serve) has its time-outs on the
//! machine's clock, as its HTTP client knows no other.
//!
//! # What it is not
//!
//! There is one account, `000000000000`, and one region, `us-east-1`. Enhanced fan-out, tags,
//! encryption and monitoring are missing; the head of each handler's source says what else is.
//! Everything is in memory, and kept for the 24 hours that a stream keeps it.
//!
//! # Beside AWS and others
//!
#![doc = include_str!("conformance.md")]

mod admin;
mod base64;
mod call;
mod check;
mod clock;
mod date;
mod disk;
mod fault;
mod http1;
mod limits;
mod list;
mod log;
mod number;
mod placing;
mod read;
mod refusal;
mod reply;
mod script;
mod server;
mod service;
mod set;
mod shard;
mod stream;
mod token;
mod transport;
mod verify;
mod write;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::client::{Client, ClientBuilder, RecordDistributionStrategy};
use crate::fake::service::Service;
use crate::fake::stream::Stream;
use crate::fake::transport::InMemory;
use crate::model::{HashKey, Operation, SequenceNumber, Shard, ShardId, Timestamp};
use crate::sign::Credentials;
use crate::sys::Sys;
use crate::sys::clock::{Clock, SystemClock};
use crate::sys::lock::lock;

pub use clock::VirtualClock;
pub use disk::FakeDisk;
pub use fault::Fault;
pub use log::LoggedRequest;
pub use script::Script;
pub use server::FakeServer;

/// Kinesis in this process. Cheap to clone; clones are doors to the same streams.
#[derive(Clone)]
pub struct FakeKinesis {
    service: Arc<Service>,
}

/// A record as it lies in a shard: the truth to hold a program's output against.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// The shard it lies in.
    pub shard_id: ShardId,
    /// Its place in the shard.
    pub sequence_number: SequenceNumber,
    /// When it was stored.
    pub arrival: Timestamp,
    /// What decided its shard, unless `explicit_hash_key` did.
    pub partition_key: String,
    /// The hash key it was put with, if it was.
    pub explicit_hash_key: Option<HashKey>,
    /// What it carries; an aggregate is one record here.
    pub data: Bytes,
}

/// Shows everything but the key and the data.
impl fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRecord")
            .field("shard_id", &self.shard_id)
            .field("sequence_number", &self.sequence_number)
            .field("arrival", &self.arrival)
            .field("partition_key_len", &self.partition_key.len())
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("data_len", &self.data.len())
            .finish()
    }
}

impl FakeKinesis {
    /// Makes a Kinesis without streams, on this machine's clock.
    pub fn new() -> FakeKinesis {
        FakeKinesis::timed(Arc::new(SystemClock))
    }

    /// Makes a Kinesis without streams, on a clock that moves only when told to.
    ///
    /// Clients of this fake wait on the same clock.
    pub fn on_clock(clock: VirtualClock) -> FakeKinesis {
        FakeKinesis::timed(Arc::new(clock))
    }

    fn timed(clock: Arc<dyn Clock>) -> FakeKinesis {
        let service = Arc::new(Service::new(clock));
        FakeKinesis { service }
    }

    /// Adds an ACTIVE stream of so many shards, at least one; replaces one of the same name.
    pub fn with_stream(self, name: &str, shards: u32) -> FakeKinesis {
        let stream = Stream::new(name, shards, self.service.now());
        self.service.insert(stream);
        self
    }

    /// Sets how long a stream stays CREATING, UPDATING or DELETING. Default: no time at all.
    ///
    /// The service takes about 30 seconds. An UPDATING stream goes on with its old shards.
    pub fn with_stream_delay(self, delay: Duration) -> FakeKinesis {
        self.service
            .change_settings(|settings| settings.stream_delay = delay);
        self
    }

    /// Lets the service decide on the shards of a stream's records from now on, or their keys again.
    ///
    /// The stream is then an on-demand one, as only these have the choice. Nothing happens if it does not
    /// exist. Default: the keys decide.
    pub fn set_record_distribution_strategy(
        &self,
        stream: &str,
        strategy: RecordDistributionStrategy,
    ) {
        if let Ok(stream) = self.service.stream(stream, self.service.now()) {
            let mut stream = lock(&stream);
            stream.on_demand = true;
            stream.strategy = strategy;
        }
    }

    /// Keeps the service's limits on rates. Default: sizes are limited and rates are not.
    ///
    /// A test seldom wants to wait for what a shard takes in a second. With limits a shard takes
    /// 1,000 records and 1 MiB a second and gives 5 answers and 2 MiB, and an account has so many
    /// calls of the other operations; over them is `ProvisionedThroughputExceededException` or
    /// `LimitExceededException`.
    pub fn with_service_limits(self) -> FakeKinesis {
        self.service
            .change_settings(|settings| settings.service_limits = true);
        self
    }

    /// Answers only what is signed with these credentials. Default: any signature will do.
    ///
    /// Wrong ones, old ones and a clock 15 minutes off get the service's answer. Clients made by
    /// this fake from now on sign with them.
    pub fn with_credentials(self, credentials: Credentials) -> FakeKinesis {
        self.service
            .change_settings(|settings| settings.credentials = Some(credentials));
        self
    }

    /// Sets the service's clock ahead of its callers', or behind, in milliseconds. Default: 0.
    pub fn with_clock_skew(self, millis: i64) -> FakeKinesis {
        self.service
            .change_settings(|settings| settings.clock_skew_ms = millis);
        self
    }

    /// Sets the Date header of all answers from now on ahead of the service's clock, or behind, in
    /// milliseconds. Default: 0. Arrival times and the retention stay on the service's clock.
    pub fn step_date(&self, millis: i64) {
        self.service
            .change_settings(|settings| settings.date_step_ms = millis);
    }

    /// Scripts what is to happen to the calls of an operation.
    pub fn on(&self, operation: Operation) -> Script<'_> {
        Script::new(&self.service.rules, operation.as_str())
    }

    /// Scripts an operation that only other programs call, such as `DescribeStream`, by its name.
    ///
    /// # Panics
    ///
    /// If this fake has no operation of that name.
    pub fn on_operation(&self, name: &str) -> Script<'_> {
        let name = Service::operation(name);
        let name = name.expect("the name of an operation that the fake answers");
        Script::new(&self.service.rules, name)
    }

    /// Forgets everything that was scripted.
    pub fn calm_down(&self) {
        self.service.rules.clear();
    }

    /// Makes a client that talks to this fake in memory, on its clock.
    pub fn client(&self) -> Client {
        let client = self.client_builder().build();
        client.expect("region and endpoint are well-formed")
    }

    /// Starts a client that talks to this fake in memory, to be set as the program under test needs.
    pub fn client_builder(&self) -> ClientBuilder {
        self.client_builder_in(sys(&self.service))
    }

    /// The same for a client on another machine, whose [clock](VirtualClock::of_another_machine) may
    /// show another time of day than the service's.
    pub fn client_builder_on(&self, machine: &VirtualClock) -> ClientBuilder {
        let sys = Sys::on_clock(Arc::new(machine.clone()), CLIENT_SEED);
        self.client_builder_in(sys)
    }

    fn client_builder_in(&self, sys: Sys) -> ClientBuilder {
        ClientBuilder::new(sys)
            .region(REGION)
            .endpoint("http://kinesis.fake")
            .credentials(credentials_of(&self.service))
            .transport(InMemory(self.service.clone()))
    }

    /// Sets how long a stream keeps its records, from now on. Nothing happens if there is no such
    /// stream. Default: 24 hours.
    ///
    /// Other programs set it by `IncreaseStreamRetentionPeriod` and its opposite, which know no less
    /// than 24 hours.
    pub fn set_retention(&self, stream: &str, retention: Duration) {
        if let Ok(stream) = self.service.stream(stream, self.service.now()) {
            lock(&stream).retention = retention;
        }
    }

    /// Opens a socket on a free port of loopback; the fake answers there until the server is dropped.
    ///
    /// # Errors
    /// No socket or no thread is left.
    pub fn serve(&self) -> io::Result<FakeServer> {
        FakeServer::start(self.service.clone())
    }

    /// Returns everything a stream keeps, shard by shard in order; nothing if it does not exist.
    pub fn records(&self, stream: &str) -> Vec<StoredRecord> {
        let Ok(stream) = self.service.stream(stream, self.service.now()) else {
            return Vec::new();
        };
        let stream = lock(&stream);
        stream.shards.values().flat_map(stored).collect()
    }

    /// Returns the shards that a stream has, closed ones too, whatever a listing would show; nothing if
    /// it does not exist.
    pub fn shards(&self, stream: &str) -> Vec<Shard> {
        let Ok(stream) = self.service.stream(stream, self.service.now()) else {
            return Vec::new();
        };
        let stream = lock(&stream);
        stream.shards.values().filter_map(listed).collect()
    }

    /// Returns the newest requests, up to 10,000, in the order they were answered.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.service.requests()
    }

    /// Counts the calls of an operation so far, refused ones too.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.service.calls(operation.as_str())
    }
}

impl Default for FakeKinesis {
    fn default() -> FakeKinesis {
        FakeKinesis::new()
    }
}

impl fmt::Debug for FakeKinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeKinesis")
            .field("streams", &self.service.stream_names())
            .finish_non_exhaustive()
    }
}

fn stored(shard: &shard::Shard) -> Vec<StoredRecord> {
    let (start, entries) = shard.from(0);
    let record = |(position, entry): (u64, &shard::Entry)| {
        let number = shard.number_of(position, entry);
        Some(StoredRecord {
            shard_id: shard.id().into(),
            sequence_number: number.to_sequence_number()?,
            arrival: entry.arrival,
            partition_key: entry.partition_key.to_string(),
            explicit_hash_key: entry.explicit_hash_key,
            data: entry.data.clone(),
        })
    };
    (start..).zip(entries).filter_map(record).collect()
}

fn listed(shard: &shard::Shard) -> Option<Shard> {
    let start = shard.start_number().to_sequence_number()?;
    let mut listed = Shard::new(shard.id(), shard.range, start);
    let id = |index: u32| ShardId::from(shard::shard_name(index));
    listed.parent = shard.parent.map(id);
    listed.adjacent_parent = shard.adjacent_parent.map(id);
    let end = shard.end_number();
    listed.ending_sequence_number = end.and_then(number::Number::to_sequence_number);
    Some(listed)
}

fn sys(service: &Service) -> Sys {
    Sys::on_clock(service.clock.clone(), CLIENT_SEED)
}

/// What a client of the fake signs with: what the fake asks for, or anything.
fn credentials_of(service: &Service) -> Credentials {
    let asked_for = service.settings().credentials;
    asked_for.unwrap_or_else(|| Credentials::new("AKIAFAKEFAKEFAKEFAKE", "fake-secret"))
}

/// The account every stream belongs to.
const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
/// Chance in the fake's clients, the same in every run.
const CLIENT_SEED: u64 = 7;
