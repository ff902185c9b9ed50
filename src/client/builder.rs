use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{Client, Shared, endpoint};
use crate::credentials::{CredentialsProvider, Environment};
use crate::error::{Error, Result};
use crate::http::{HttpTransport, UreqTransport};
use crate::model::Operation;
use crate::retry::RetryPolicy;
use crate::sys::Sys;
use crate::sys::stop::Stop;

/// Describes a [`Client`].
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::{Client, Credentials};
///
/// let client = Client::builder()
///     .region("us-east-1")
///     .endpoint("http://localhost:4567")
///     .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
///     .build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder {
    region: Option<String>,
    endpoint: Option<String>,
    credentials: Option<Box<dyn CredentialsProvider>>,
    transport: Option<Box<dyn HttpTransport>>,
    policies: [RetryPolicy; Operation::ALL.len()],
    connect_timeout: Duration,
    request_timeout: Duration,
    sys: Sys,
}

impl ClientBuilder {
    pub(crate) fn new(sys: Sys) -> ClientBuilder {
        ClientBuilder {
            region: None,
            endpoint: None,
            credentials: None,
            transport: None,
            policies: Operation::ALL.map(RetryPolicy::default_for),
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            sys,
        }
    }

    /// Sets the region, which is signed with and decides the endpoint. Flink's `aws.region`.
    ///
    /// Default: the environment's `AWS_REGION`, else `AWS_DEFAULT_REGION`.
    pub fn region(mut self, region: impl Into<String>) -> ClientBuilder {
        self.region = Some(region.into());
        self
    }

    /// Sets the URL to call: scheme, host, port and path. Flink's `aws.endpoint`.
    ///
    /// Default: the environment's `AWS_ENDPOINT_URL_KINESIS`, else `AWS_ENDPOINT_URL`, else the
    /// region's public endpoint.
    pub fn endpoint(mut self, url: impl Into<String>) -> ClientBuilder {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets where credentials come from. Default: [`Environment`].
    pub fn credentials(mut self, provider: impl CredentialsProvider + 'static) -> ClientBuilder {
        self.credentials = Some(Box::new(provider));
        self
    }

    /// Sets what carries requests to the endpoint. Default: HTTP/1.1 with kept connections.
    pub fn transport(mut self, transport: impl HttpTransport + 'static) -> ClientBuilder {
        self.transport = Some(Box::new(transport));
        self
    }

    /// Sets the patience for one operation. Default: [`RetryPolicy::default_for`].
    pub fn retry(mut self, operation: Operation, policy: RetryPolicy) -> ClientBuilder {
        self.policies[operation as usize] = policy;
        self
    }

    /// Sets how long a connection may take to be made. Default: 6 s, the KPL's `ConnectTimeout`.
    pub fn connect_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long one attempt may take. Default: 6 s, the KPL's `RequestTimeout`.
    pub fn request_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.request_timeout = timeout;
        self
    }

    /// Makes the client. Calls nothing yet.
    ///
    /// # Errors
    /// `Config`: no region is set anywhere, or the region or the endpoint is malformed.
    pub fn build(self) -> Result<Client> {
        let var = |names: &[&str]| names.iter().find_map(|name| self.sys.env.var(name));
        let region = self
            .region
            .or_else(|| var(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let region = region.ok_or_else(no_region)?;
        endpoint::check_region(&region)?;
        let url = self
            .endpoint
            .or_else(|| var(&["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"]));
        let endpoint = endpoint::parse(&url.unwrap_or_else(|| endpoint::of_region(&region)))?;
        let (clock, env) = (self.sys.clock.clone(), self.sys.env.clone());
        let over_ureq = || {
            Box::new(UreqTransport::new(
                clock,
                self.connect_timeout,
                self.request_timeout,
            )) as _
        };
        let shared = Shared {
            transport: self.transport.unwrap_or_else(over_ureq),
            credentials: self
                .credentials
                .unwrap_or_else(|| Box::new(Environment::of(env))),
            endpoint,
            region,
            request_timeout: self.request_timeout,
            clock_offset: AtomicI64::new(0),
            jitter: Mutex::new(self.sys.rng("client")),
            sys: self.sys,
        };
        Ok(Client {
            shared: Arc::new(shared),
            policies: Arc::new(self.policies),
            stop: Stop::never(),
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientBuilder {
            region, endpoint, ..
        } = self;
        f.debug_struct("ClientBuilder")
            .field("region", region)
            .field("endpoint", endpoint)
            .finish_non_exhaustive()
    }
}

fn no_region() -> Error {
    Error::config(
        "region",
        "",
        "a region such as us-east-1, by the builder or in AWS_REGION",
    )
}

/// The KPL's `ConnectTimeout`.
/// Source: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/java/amazon-kinesis-producer-sample/default_config.properties>
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);

/// The KPL's `RequestTimeout`, from the same place.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_needs_a_region_of_the_right_form() {
        let sys = || Sys::with_env([]);
        for (region, message) in [
            (
                None,
                "region is not set: it has to be a region such as us-east-1, by the builder or in AWS_REGION",
            ),
            (
                Some("Virginia"),
                "region: \"Virginia\" is not a region such as us-east-1",
            ),
        ] {
            let builder = ClientBuilder {
                region: region.map(str::to_owned),
                ..ClientBuilder::new(sys())
            };
            assert_eq!(
                builder.build().expect_err("no good region").to_string(),
                message
            );
        }
    }

    #[test]
    fn the_environment_fills_what_the_builder_leaves_open() {
        let env = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL", "http://localhost:4567"),
        ];
        let sys = || Sys::with_env(env);
        let client = ClientBuilder::new(sys()).build().expect("a client");
        assert_eq!(
            format!("{client:?}"),
            r#"Client { endpoint: http://localhost:4567/, region: "eu-west-1", .. }"#
        );
        let client = ClientBuilder::new(sys())
            .region("us-east-1")
            .endpoint("http://other")
            .build()
            .expect("a client");
        assert_eq!(
            format!("{client:?}"),
            r#"Client { endpoint: http://other/, region: "us-east-1", .. }"#
        );
    }
}
