use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;

use crate::client::Client;
use crate::error::{Result, Verdict};
use crate::model::{Escaped, without_password};
use crate::producer::cloudwatch::{CloudWatch, Intake, portions};
use crate::producer::shared::Shared;
use crate::retry::RetryPolicy;
use crate::sys::clock::later;
use crate::sys::rng::Rng;
use crate::sys::stop::Stop;

/// Carries to CloudWatch what was measured since the last time.
pub(super) struct Uploader {
    client: Client,
    settings: CloudWatch,
    url: String,
    rng: Rng,
    /// What each stream had taken in the last time.
    received: HashMap<String, u64>,
}

impl Uploader {
    /// Makes no call.
    ///
    /// # Errors
    /// A setting on where CloudWatch is, in the environment or a profile, is malformed.
    pub fn new(client: Client, settings: CloudWatch) -> Result<Uploader> {
        let url = match settings.url() {
            Some(url) => url.to_owned(),
            None => client.endpoint_of("cloudwatch", "monitoring")?,
        };
        Ok(Uploader {
            url,
            settings,
            rng: client.sys().rng("cloudwatch"),
            received: HashMap::new(),
            client,
        })
    }

    /// Uploads; what fails is logged, and lost.
    pub fn upload(&mut self, shared: &Shared, stop: &Stop) {
        let (window, intakes) = (shared.take_window(), self.intakes(shared));
        let datums = self.settings.datums(&window, &intakes);
        let bodies: Vec<_> = portions(&datums)
            .map(|one| self.settings.body(one))
            .collect();
        for body in bodies {
            if let Err(error) = self.call(body.into(), stop) {
                let url = without_password(&self.url);
                log::warn!("metrics were not uploaded to {}: {error}", Escaped(url));
                // A producer that ends waits for one call that fails, and not for each.
                if stop.is_stopped() {
                    return;
                }
            }
        }
    }

    fn intakes(&mut self, shared: &Shared) -> BTreeMap<String, Intake> {
        let mut intakes = BTreeMap::new();
        for (name, standing) in shared.standings() {
            let before = self.received.insert(name.clone(), standing.received);
            let received = standing.received.saturating_sub(before.unwrap_or(0));
            let pending = standing.pending;
            intakes.insert(name, Intake { received, pending });
        }
        intakes
    }

    fn call(&mut self, body: Bytes, stop: &Stop) -> Result<()> {
        let clock = self.client.sys().clock.clone();
        let mut retries = 0;
        loop {
            let provider = self.settings.provider();
            let posted = self
                .client
                .post_form("monitoring", &self.url, body.clone(), provider);
            let Err(error) = posted else { return Ok(()) };
            let is_final = matches!(error.verdict(), Verdict::Fatal | Verdict::NewIterator);
            if is_final || stop.is_stopped() || !POLICY.allows(retries) {
                return Err(error);
            }
            let pause = POLICY.backoff(retries, &mut self.rng);
            clock.wait_until(later(clock.now(), pause), stop);
            retries += 1;
        }
    }
}

/// The KPL's two repetitions.
const POLICY: RetryPolicy = RetryPolicy {
    max_retries: Some(2),
    backoff_base: Duration::from_millis(100),
    backoff_max: Duration::from_millis(1_000),
    backoff_exponent: 2.0,
};
