use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;

use crate::client::RecordDistributionStrategy;
use crate::fake::check;
use crate::fake::fault::Fault;
use crate::fake::refusal::Refusal;
use crate::fake::service::Service;
use crate::fake::stream::Stream;
use crate::model::Timestamp;
use crate::sys::lock::lock;

/// One call while it is answered.
pub(super) struct Call<'a> {
    pub service: &'a Service,
    pub body: &'a [u8],
    /// The service's time, the same for the whole call.
    pub now: Timestamp,
    /// What is to go wrong while it is carried out.
    pub fault: Option<&'a Fault>,
    /// The shard whose entries the fault is for; all if `None`.
    pub fault_shard: Option<&'a str>,
    /// What it turned out to be about, for the log.
    pub stream: Option<String>,
    pub shard: Option<String>,
}

impl<'a> Call<'a> {
    /// Reads the body into the members the handler asks for; others are passed over.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        check::parse(self.body)
    }

    /// Finds the name of the stream the call is about.
    pub fn name(&mut self, name: Option<String>, arn: Option<String>) -> Result<String, Refusal> {
        let name = check::stream_name(name, arn)?;
        self.stream = Some(name.clone());
        Ok(name)
    }

    /// Finds a stream in whatever state.
    pub fn stream(&self, name: &str) -> Result<Arc<Mutex<Stream>>, Refusal> {
        self.service.stream(name, self.now)
    }

    /// Says whether a stream takes records without partition keys.
    pub fn takes_no_keys(&self, name: &str) -> bool {
        let stream = self.stream(name);
        stream.is_ok_and(|stream| lock(&stream).strategy == RecordDistributionStrategy::Auto)
    }

    /// Finds a stream that takes and gives records.
    pub fn live_stream(&self, name: &str) -> Result<Arc<Mutex<Stream>>, Refusal> {
        self.service.live_stream(name, self.now)
    }
}
