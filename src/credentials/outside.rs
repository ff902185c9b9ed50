use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::credentials::profile::Settings;
use crate::error::{Error, Result, TransportError};
use crate::http::{HttpTransport, Network, ProxyRules, Trust, UreqTransport, encoding_refused};
use crate::sign::SigningClock;
use crate::sys::clock::{Clock, SystemClock};
use crate::sys::env::{Env, SystemEnv};
use crate::sys::stop::Stop;

/// Everything that providers learn from: the environment, files, a clock, the network.
#[derive(Clone)]
pub(crate) struct Outside {
    pub env: Arc<dyn Env>,
    pub clock: Arc<SigningClock>,
    /// What STS is asked through.
    pub service: Arc<dyn HttpTransport>,
    /// What metadata servers are asked through: never a proxy, whose machine has other credentials.
    pub metadata: Arc<dyn HttpTransport>,
    /// The client's region.
    #[cfg_attr(
        not(feature = "sts"),
        expect(dead_code, reason = "STS is asked with it")
    )]
    pub region: Option<String>,
}

impl Outside {
    /// This process and its network.
    pub fn real() -> Outside {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Outside {
            env: Arc::new(SystemEnv),
            service: through_proxies(&clock),
            metadata: over_ureq(&clock, METADATA_TIMEOUT, ProxyRules::default()),
            clock: Arc::new(SigningClock::new(clock)),
            region: None,
        }
    }

    /// What a client sees; `own` is a transport of the user's, which then carries everything.
    pub fn of_client(
        env: Arc<dyn Env>,
        clock: Arc<SigningClock>,
        region: &str,
        service: Arc<dyn HttpTransport>,
        own_transport: bool,
    ) -> Outside {
        let own: Arc<dyn Clock> = clock.clone();
        let metadata = match own_transport {
            true => service.clone(),
            false => over_ureq(&own, METADATA_TIMEOUT, ProxyRules::default()),
        };
        Outside {
            env,
            clock,
            service,
            metadata,
            region: Some(region.to_owned()),
        }
    }

    /// The region that is set somewhere, but for profiles.
    #[cfg(feature = "sts")]
    pub fn region(&self) -> Option<String> {
        let var = |name| self.env.var(name);
        let given = self.region.clone();
        given
            .or_else(|| var("AWS_REGION"))
            .or_else(|| var("AWS_DEFAULT_REGION"))
    }

    /// What the environment and the profile in use say about clients.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn settings(&self) -> Result<Settings> {
        Settings::load(self.env.clone())
    }

    /// Asks up to `attempts` times, as long as the failure is one that may pass.
    ///
    /// # Errors
    /// `Transport`: the last attempt got no answer; `Service` or `Malformed`: it got one that is encoded. Other answers are
    /// the caller's to judge.
    pub fn ask(
        &self,
        transport: &dyn HttpTransport,
        (attempts, timeout): (u32, Duration),
        request: impl Fn() -> Result<Request<Bytes>>,
    ) -> Result<Response<Bytes>> {
        let mut attempt = 1;
        loop {
            let error = match transport.round_trip(request()?, timeout) {
                Ok(response) => match encoding_refused(&response) {
                    Some(error) => error,
                    // What it says is for the caller to read, the last time.
                    None if is_busy(response.status()) && attempt < attempts => {
                        Error::service("", "", response.status().as_u16())
                    }
                    None => return Ok(response),
                },
                Err(error) => error.into(),
            };
            if attempt >= attempts || !error.is_retryable() {
                return Err(error);
            }
            let pause = PAUSE.saturating_mul(attempt);
            let clock: &dyn Clock = &*self.clock;
            clock.wait_until(clock.now() + pause, &Stop::never());
            attempt += 1;
        }
    }
}

fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn over_ureq(
    clock: &Arc<dyn Clock>,
    timeout: Duration,
    proxies: ProxyRules,
) -> Arc<dyn HttpTransport> {
    let network = Network {
        connect_timeout: timeout,
        request_timeout: timeout,
        // One thread asks at a time.
        max_connections: 1,
        proxies,
        trust: Trust::BuiltIn,
    };
    let transport = UreqTransport::new(clock.clone(), &network);
    Arc::new(
        transport.expect("the proxies' URLs are checked, and no file of certificates is given"),
    )
}

/// The service's transport of a provider that is made without a client. Making one cannot fail, so the first
/// request returns the error of a malformed proxy setting.
fn through_proxies(clock: &Arc<dyn Clock>) -> Arc<dyn HttpTransport> {
    match ProxyRules::from_env(&SystemEnv) {
        Ok(proxies) => over_ureq(clock, SERVICE_TIMEOUT, proxies),
        Err(refused) => Arc::new(Refused(refused)),
    }
}

/// Goes nowhere.
struct Refused(Error);

impl HttpTransport for Refused {
    fn round_trip(
        &self,
        _: Request<Bytes>,
        _: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, self.0.to_string());
        Err(TransportError::Connect(reason))
    }
}

/// A link-local address answers within milliseconds or not at all; botocore waits as long.
pub(super) const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// The same as that of the client's calls: STS may be on another continent.
pub(super) const SERVICE_TIMEOUT: Duration = Duration::from_secs(6);

/// How often a place is asked whose failure may pass.
pub(super) const ATTEMPTS: u32 = 3;

/// Before the second attempt; before the third it is twice as long.
const PAUSE: Duration = Duration::from_millis(100);
