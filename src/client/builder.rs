use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;

use crate::client::maps::Maps;
use crate::client::permits::Permits;
use crate::client::service_time::ServiceTime;
use crate::client::{Client, Shared, endpoint};
use crate::config::Properties;
use crate::config::aws::{CredentialsConfig, MAX_CONNECTIONS, Patience};
use crate::credentials::{Cached, CredentialsProvider, Outside, Settings, configured};
use crate::error::{Error, Result};
use crate::http::{HttpTransport, Network, ProxyRules, Trust, UreqTransport};
use crate::model::{self, Operation, Variant, without_password};
use crate::retry::RetryPolicy;
use crate::sign::{Signer, SigningClock};
use crate::sys::Sys;
use crate::sys::buffers::Buffers;
use crate::sys::env::Env;
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
    region_of_arn: Option<String>,
    endpoint: Option<String>,
    dual_stack: Option<bool>,
    fips: Option<bool>,
    proxy: Option<String>,
    non_proxy_hosts: Option<String>,
    roots_file: Option<PathBuf>,
    trusts_anyone: bool,
    credentials: Option<Box<dyn CredentialsProvider>>,
    /// Where they come from if no provider is given.
    credentials_config: CredentialsConfig,
    transport: Option<Arc<dyn HttpTransport>>,
    policies: [RetryPolicy; Operation::ALL.len()],
    connect_timeout: Duration,
    request_timeout: Duration,
    call_timeout: Duration,
    max_connections: usize,
    sys: Sys,
}

impl ClientBuilder {
    pub(crate) fn new(sys: Sys) -> ClientBuilder {
        ClientBuilder {
            region: None,
            region_of_arn: None,
            endpoint: None,
            dual_stack: None,
            fips: None,
            proxy: None,
            non_proxy_hosts: None,
            roots_file: None,
            trusts_anyone: false,
            credentials: None,
            credentials_config: CredentialsConfig::Default,
            transport: None,
            policies: Operation::ALL.map(RetryPolicy::default_for),
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
            sys,
        }
    }

    /// Takes over every key that concerns calls and is set; what is set afterwards counts above it.
    ///
    /// The page [`configuration`](crate::manual::configuration) has the keys. A key of Flink's or
    /// the KPL's that is not known is told to the log.
    ///
    /// # Errors
    /// `Config`, or `Several` of it: the keys with values that cannot be.
    pub fn properties(mut self, properties: &Properties) -> Result<ClientBuilder> {
        let aws = properties.aws()?;
        self.region = aws.region.or(self.region);
        self.endpoint = aws.endpoint.or(self.endpoint);
        self.credentials_config = aws.credentials;
        self.connect_timeout = aws.connect_timeout.unwrap_or(self.connect_timeout);
        self.request_timeout = aws.request_timeout.unwrap_or(self.request_timeout);
        self.max_connections = aws.max_connections.unwrap_or(self.max_connections);
        self.proxy = aws.proxy.or(self.proxy);
        self.non_proxy_hosts = aws.non_proxy_hosts.or(self.non_proxy_hosts);
        self.roots_file = aws.tls_roots.or(self.roots_file);
        self.trusts_anyone |= aws.trusts_anyone;
        let Patience {
            get_records,
            get_shard_iterator,
            list_shards,
        } = aws.patience;
        Ok(self
            .retry(Operation::GetRecords, get_records)
            .retry(Operation::GetShardIterator, get_shard_iterator)
            .retry(Operation::ListShards, list_shards))
    }

    /// Sets the region, which is signed with and decides the endpoint. Flink's `aws.region`.
    ///
    /// Default: that of [`region_of`](Self::region_of), else the environment's `AWS_REGION`, else
    /// `AWS_DEFAULT_REGION`, else the region of the profile that `AWS_PROFILE` names or `default`, else the region in the
    /// name of the endpoint that is set, else `us-east-1` if that endpoint is on this machine.
    pub fn region(mut self, region: impl Into<String>) -> ClientBuilder {
        self.region = Some(region.into());
        self
    }

    /// Takes the region from a stream's ARN, unless [`region`](Self::region) is set as well.
    ///
    /// A stream's name says nothing about a region and changes nothing. A client has one region:
    /// calls on an ARN of another one are refused by the service.
    pub fn region_of(mut self, stream: &str) -> ClientBuilder {
        self.region_of_arn = endpoint::region_in_arn(stream).map(str::to_owned);
        self
    }

    /// Sets the URL to call: scheme, host, port and path. Flink's `aws.endpoint`.
    ///
    /// Default: the environment's `AWS_ENDPOINT_URL_KINESIS`, else `AWS_ENDPOINT_URL`, else the `endpoint_url` of the
    /// profile's `services` section for `kinesis`, else the profile's own, else the region's public endpoint. With
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` or the profile's `ignore_configured_endpoint_urls` only what is set here counts.
    pub fn endpoint(mut self, url: impl Into<String>) -> ClientBuilder {
        self.endpoint = Some(url.into());
        self
    }

    /// Says whether to call the region's endpoint that IPv6 reaches as well.
    ///
    /// Default: `AWS_USE_DUALSTACK_ENDPOINT`, else the profile's `use_dualstack_endpoint`, else `false`. Without effect
    /// where a URL is set.
    pub fn dual_stack(mut self, yes: bool) -> ClientBuilder {
        self.dual_stack = Some(yes);
        self
    }

    /// Says whether to call the region's endpoint that is validated after FIPS 140.
    ///
    /// Default: `AWS_USE_FIPS_ENDPOINT`, else the profile's `use_fips_endpoint`, else `false`. Without effect where a URL
    /// is set. Not every region has one.
    pub fn fips(mut self, yes: bool) -> ClientBuilder {
        self.fips = Some(yes);
        self
    }

    /// Sets the HTTP proxy to go through, such as `http://user:password@proxy.example:8080`.
    ///
    /// Default: the one that `HTTPS_PROXY` names for https, `HTTP_PROXY` for http and `ALL_PROXY` for both, in lower case
    /// before upper case. Hosts in `NO_PROXY` are reached without one, whether it comes from the environment or from here:
    /// domains with everything below them, addresses, networks such as `10.0.0.0/8`, each name or address perhaps with a
    /// port, or `*`. This machine (`localhost`, 127.0.0.0/8, `::1`) and the metadata servers, which have credentials, are
    /// never asked through a proxy. Proxies for SOCKS are refused.
    pub fn proxy(mut self, url: impl Into<String>) -> ClientBuilder {
        self.proxy = Some(url.into());
        self
    }

    /// Sets a file of certificate authorities, in the PEM format, to believe in place of Mozilla's.
    ///
    /// Default: the file that the environment's `AWS_CA_BUNDLE` names, else the profile's `ca_bundle`, else the built-in
    /// list.
    pub fn tls_roots(mut self, path: impl Into<PathBuf>) -> ClientBuilder {
        self.roots_file = Some(path.into());
        self
    }

    /// Believes every certificate: whoever is on the way can read and change everything.
    ///
    /// For a test against an emulator with a certificate of its own, where [`tls_roots`] will not
    /// do. Logged at `warn`. Flink's `aws.trust.all.certificates`. Default: `false`.
    ///
    /// [`tls_roots`]: Self::tls_roots
    pub fn dangerously_trust_any_certificate(mut self, yes: bool) -> ClientBuilder {
        self.trusts_anyone = yes;
        self
    }

    /// Sets where credentials come from. Default: [`Chain::standard`](crate::credentials::Chain::standard).
    ///
    /// What the provider gives is kept, as [`Cached`] describes. The default chain asks through
    /// the client's own transport, and STS in the client's region.
    pub fn credentials(mut self, provider: impl CredentialsProvider + 'static) -> ClientBuilder {
        self.credentials = Some(Box::new(provider));
        self
    }

    /// Sets what carries requests to the endpoint. Default: HTTP/1.1 with kept connections.
    ///
    /// The settings on proxies, certificates and connections then have no effect.
    pub fn transport(mut self, transport: impl HttpTransport + 'static) -> ClientBuilder {
        self.transport = Some(Arc::new(transport));
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
    ///
    /// It counts for each read and write; a peer that goes on by a few bytes at a time is given up
    /// after at most twice as long for the request and the answer's headers each. The answer's body may
    /// take longer for as long as it keeps arriving, by 1 s for each KiB, up to 4 minutes.
    pub fn request_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.request_timeout = timeout;
        self
    }

    /// Sets how long a call may take, all attempts and the waits between them together.
    ///
    /// When the time is up, or the next wait would outlast it, the last attempt's error is returned
    /// and says so. Default: 2 minutes, which the default retries do not need unless each attempt
    /// hangs. An answer that is arriving by then is not cut off. A listing of several pages is as many calls. A provider of credentials that is being
    /// asked keeps to limits of its own.
    pub fn call_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.call_timeout = timeout;
        self
    }

    /// Sets how many calls of this client and its clones may be under way at once, each over a
    /// connection of its own; idle connections count. Default: 256, at least 1.
    ///
    /// More calls wait, first come, first served, within their
    /// [time](ClientBuilder::call_timeout). Connections to providers of credentials, of which there are
    /// a few at most, are not counted. Keep it well below the limit of open files of the process
    /// (`ulimit -n`): a call for which there is no file left is made again after a pause.
    ///
    /// `aws.clientconfig.maxConnections` of Java's SDK, where the default is 50.
    pub fn max_connections(mut self, connections: usize) -> ClientBuilder {
        self.max_connections = connections;
        self
    }

    /// Makes the client. Calls nothing yet.
    ///
    /// # Errors
    /// `Config`: no region is set anywhere, or the region, the endpoint, the proxy or the file of
    /// certificates is malformed, or no connection is allowed. `Malformed`: the profile's file is.
    pub fn build(self) -> Result<Client> {
        let settings = LazySettings::new(&self.sys);
        let region = self.the_region(&settings)?;
        let endpoint = endpoint::parse(&self.url(&region, &settings)?)?;
        check_connections(self.max_connections)?;
        let is_own_transport = self.transport.is_some();
        let transport = match &self.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(self.over_ureq(&endpoint, &settings)?),
        };
        let clock = Arc::new(SigningClock::new(self.sys.clock.clone()));
        let provider = match self.credentials {
            Some(provider) => provider,
            None => {
                let transport = transport.clone();
                let env = self.sys.env.clone();
                let outside =
                    Outside::of_client(env, clock.clone(), &region, transport, is_own_transport);
                configured(&self.credentials_config, &outside)?
            }
        };
        let shared = Shared {
            transport,
            credentials: Cached::on_clock(provider, clock.clone()),
            endpoint,
            signer: Signer::new(&region, "kinesis"),
            region,
            request_timeout: self.request_timeout,
            call_timeout: self.call_timeout,
            service_time: ServiceTime::new(self.sys.clock.now()),
            signing_clock: clock,
            jitter: Mutex::new(self.sys.rng("client")),
            maps: Maps::default(),
            permits: Permits::new(self.max_connections),
            buffers: Buffers::default(),
            sys: self.sys,
        };
        Ok(Client {
            shared: Arc::new(shared),
            policies: Arc::new(self.policies),
            stop: Stop::never(),
            watch: None,
        })
    }

    fn the_region(&self, settings: &LazySettings) -> Result<String> {
        let set = self.region.clone().or_else(|| self.region_of_arn.clone());
        let region = match set {
            Some(region) => region,
            None => match settings.get()?.region() {
                Some(region) => region,
                None => self.region_of_endpoint(settings)?,
            },
        };
        endpoint::check_region(&region)?;
        Ok(region)
    }

    /// The region of the endpoint that is set. An emulator on this machine takes any.
    fn region_of_endpoint(&self, settings: &LazySettings) -> Result<String> {
        let url = self.set_endpoint(settings)?.ok_or_else(no_region)?;
        let uri = endpoint::parse(&url)?;
        let host = uri.host().unwrap_or_default();
        match endpoint::region_in_host(host) {
            Some(region) => Ok(region.to_owned()),
            None if endpoint::is_loopback(host) => Ok(REGION_OF_EMULATORS.to_owned()),
            None => Err(no_region()),
        }
    }

    fn url(&self, region: &str, settings: &LazySettings) -> Result<String> {
        if let Some(url) = self.set_endpoint(settings)? {
            return Ok(url);
        }
        let variant = match (self.dual_stack, self.fips) {
            (Some(dual_stack), Some(fips)) => Variant { dual_stack, fips },
            (dual_stack, fips) => {
                let set = settings.get()?.variant()?;
                Variant {
                    dual_stack: dual_stack.unwrap_or(set.dual_stack),
                    fips: fips.unwrap_or(set.fips),
                }
            }
        };
        Ok(model::endpoint("kinesis", region, variant))
    }

    fn set_endpoint(&self, settings: &LazySettings) -> Result<Option<String>> {
        match &self.endpoint {
            Some(url) => Ok(Some(url.clone())),
            None => settings.get()?.endpoint("kinesis"),
        }
    }

    fn over_ureq(&self, endpoint: &Uri, settings: &LazySettings) -> Result<UreqTransport> {
        let proxies = self.proxies()?;
        proxies.check(endpoint)?;
        let network = Network {
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            max_connections: self.max_connections,
            proxies,
            trust: self.trust(settings)?,
        };
        UreqTransport::new(self.sys.clock.clone(), &network)
    }

    fn proxies(&self) -> Result<ProxyRules> {
        let env = &*self.sys.env;
        let rules = match &self.proxy {
            Some(url) => ProxyRules::given(url, env)?,
            None => ProxyRules::from_env(env)?,
        };
        Ok(rules.without(self.non_proxy_hosts.as_deref().unwrap_or_default()))
    }

    fn trust(&self, settings: &LazySettings) -> Result<Trust> {
        if self.trusts_anyone {
            log::warn!("every TLS certificate is believed: the connection protects nothing");
            return Ok(Trust::Anyone);
        }
        let file = match &self.roots_file {
            Some(file) => Some(file.clone()),
            None => settings.get()?.ca_bundle().map(PathBuf::from),
        };
        let Some(file) = file else {
            return Ok(Trust::BuiltIn);
        };
        let text = self.sys.env.read_file(&file);
        text.map(Trust::Pem).map_err(|error| {
            let expected = format!("a file that can be read: {error}");
            Error::config("TLS roots", file.display().to_string(), expected)
        })
    }
}

/// Settings of the environment and the files, read when something is asked of them: a client that is given everything
/// must not fail for a file that it does not need.
struct LazySettings {
    env: Arc<dyn Env>,
    read: OnceCell<Settings>,
}

impl LazySettings {
    fn new(sys: &Sys) -> LazySettings {
        LazySettings {
            env: sys.env.clone(),
            read: OnceCell::new(),
        }
    }

    fn get(&self) -> Result<&Settings> {
        if let Some(settings) = self.read.get() {
            return Ok(settings);
        }
        let settings = Settings::load(self.env.clone())?;
        Ok(self.read.get_or_init(|| settings))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_deref().map(without_password);
        f.debug_struct("ClientBuilder")
            .field("region", &self.region)
            .field("endpoint", &endpoint)
            .finish_non_exhaustive()
    }
}

fn check_connections(connections: usize) -> Result<()> {
    match connections {
        0 => Err(Error::config("max_connections", "0", "at least 1")),
        _ => Ok(()),
    }
}

fn no_region() -> Error {
    Error::config(
        "region",
        "",
        "a region such as us-east-1, by the builder, in AWS_REGION or in the profile",
    )
}

/// What is signed for an endpoint on this machine if no region is set.
const REGION_OF_EMULATORS: &str = "us-east-1";

/// The KPL's `ConnectTimeout`.
/// Source: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/java/amazon-kinesis-producer-sample/default_config.properties>
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);

/// The KPL's `RequestTimeout`, from the same place.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);

/// Eleven attempts at the default time-out, and the waits between them.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_needs_a_region_of_the_right_form() {
        let sys = || Sys::with_env([]);
        for (region, message) in [
            (
                None,
                "region is not set: it has to be a region such as us-east-1, by the builder, in AWS_REGION or in the profile",
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
    fn described(builder: ClientBuilder) -> String {
        let client = builder.build().map(|client| format!("{client:?}"));
        client.unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_region_is_looked_for_in_the_documented_order() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
        let profile = ("/home/.aws/config", "[default]\nregion = eu-west-4");
        let home = ("HOME", "/home");
        let all = [
            ("AWS_REGION", "eu-west-2"),
            ("AWS_DEFAULT_REGION", "eu-west-3"),
            home,
            profile,
        ];
        let of = |region: &str| {
            format!(
                "Client {{ endpoint: https://kinesis.{region}.amazonaws.com/, region: \"{region}\", .. }}"
            )
        };
        let builder = |env| ClientBuilder::new(Sys::with_env(env));
        if cfg!(not(feature = "tls")) {
            return;
        }
        let set = builder(all).region_of(arn).region("us-east-1");
        assert_eq!(described(set), of("us-east-1"));
        assert_eq!(described(builder(all).region_of(arn)), of("eu-west-1"));
        assert_eq!(described(builder(all).region_of("orders")), of("eu-west-2"));
        let default = ClientBuilder::new(Sys::with_env([all[1], home, profile]));
        assert_eq!(described(default), of("eu-west-3"));
        let profile = ClientBuilder::new(Sys::with_env([home, profile]));
        assert_eq!(described(profile), of("eu-west-4"));
    }

    #[test]
    fn variants_of_an_endpoint_are_asked_for_by_setting_or_environment() {
        let env = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE"),
            ("AWS_USE_FIPS_ENDPOINT", "true"),
        ];
        let url = |builder: ClientBuilder| {
            let settings = LazySettings::new(&builder.sys);
            builder.url("us-east-1", &settings).expect("sound")
        };
        let plain = || ClientBuilder::new(Sys::with_env([]));
        let set = || ClientBuilder::new(Sys::with_env(env));
        for (built, host) in [
            (plain(), "kinesis.us-east-1.amazonaws.com"),
            (plain().dual_stack(true), "kinesis.us-east-1.api.aws"),
            (plain().fips(true), "kinesis-fips.us-east-1.amazonaws.com"),
            (set(), "kinesis-fips.us-east-1.api.aws"),
            (
                set().dual_stack(false),
                "kinesis-fips.us-east-1.amazonaws.com",
            ),
            (set().fips(false), "kinesis.us-east-1.api.aws"),
        ] {
            assert_eq!(url(built), format!("https://{host}/"));
        }
        assert_eq!(url(set().endpoint("http://host")), "http://host");
    }

    #[test]
    fn bad_settings_of_the_network_are_told_when_the_client_is_made() {
        let builder = || {
            let files = [("AWS_REGION", "us-east-1"), ("/empty", "text")];
            ClientBuilder::new(Sys::with_env(files)).endpoint("http://host")
        };
        let roots = match cfg!(feature = "tls") {
            true => {
                "TLS roots: \"the file given\" is not a file with certificates in the PEM format"
            }
            false => {
                "TLS trust: \"what was given\" is not for this build, which has no TLS: turn on the cargo feature \"tls\""
            }
        };
        for (builder, message) in [
            (
                builder().proxy("ftp://me:hidden@host"),
                "proxy: \"what was given\" is not a URL such as http://user:password@proxy.example:8080",
            ),
            (
                builder().tls_roots("/none"),
                "TLS roots: \"/none\" is not a file that can be read: entity not found",
            ),
            (builder().tls_roots("/empty"), roots),
        ] {
            assert_eq!(described(builder), message);
        }
        let trusting = builder().dangerously_trust_any_certificate(true).build();
        assert_eq!(trusting.is_ok(), cfg!(feature = "tls"));
    }
}
