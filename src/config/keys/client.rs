//! Keys that concern calls: Flink's `aws.` keys and patience, the KPL's keys for connections.
//!
//! Sources: <https://nightlies.apache.org/flink/flink-docs-release-1.20/docs/connectors/datastream/kinesis/>,
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/java/amazon-kinesis-producer-sample/default_config.properties>

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::Properties;
use crate::config::aws::{AwsConfig, MAX_CONNECTIONS};
use crate::config::keys::proxy::{HTTPS_PORT, Proxy};
use crate::config::keys::{Key, LONG_MAX, Setting, credentials, host, read, verdict};
use crate::error::Result;
use crate::retry::RetryPolicy;

/// Takes every key that is set.
pub(in crate::config) fn client(properties: &Properties) -> Result<AwsConfig> {
    let mut draft = Draft::default();
    let mut faults = Vec::new();
    read(KEYS, properties, &mut draft, &mut faults);
    let credentials = credentials::credentials(properties).map_err(|error| faults.push(error));
    verdict(faults)?;
    if let Ok(credentials) = credentials {
        draft.aws.credentials = credentials;
    }
    Ok(draft.finish())
}

/// A configuration whose endpoint and proxy are still in parts, as some keys have them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    aws: AwsConfig,
    kinesis_host: Option<String>,
    kinesis_port: u64,
    kpl_region: Option<String>,
    protocol: usize,
    proxy: Proxy,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            aws: AwsConfig::default(),
            kinesis_host: None,
            kinesis_port: HTTPS_PORT,
            kpl_region: None,
            protocol: 0,
            proxy: Proxy::default(),
        }
    }
}

impl Draft {
    fn finish(mut self) -> AwsConfig {
        self.aws.endpoint = self.endpoint();
        self.aws.region = self.aws.region.or(self.kpl_region);
        self.aws.proxy = self.proxy.url();
        self.aws
    }

    /// `aws.endpoint`, with a scheme if it has none, or else the KPL's host and port.
    fn endpoint(&self) -> Option<String> {
        let scheme = PROTOCOLS[self.protocol].to_lowercase();
        if let Some(url) = &self.aws.endpoint {
            return Some(match url.contains("://") {
                true => url.clone(),
                false => format!("{scheme}://{url}"),
            });
        }
        let host = self.kinesis_host.as_ref()?;
        Some(format!("https://{host}:{}", self.kinesis_port))
    }
}

pub(super) static KEYS: &[Key<Draft>] = &[
    Key::new(
        "aws.region",
        Setting::Text {
            what: "a region such as us-east-1",
            set: |d, text| {
                d.aws.region = Some(text.to_owned());
                Ok(())
            },
            default: "",
        },
        "The region that is signed with, and whose endpoint is called.",
    ),
    Key::new(
        "Region",
        Setting::Text {
            what: "a region such as us-east-1",
            set: |d, text| {
                d.kpl_region = Some(text.to_owned()).filter(|text| !text.is_empty());
                Ok(())
            },
            default: "",
        },
        "As aws.region, which counts above it.",
    ),
    Key::new(
        "aws.endpoint",
        Setting::Text {
            what: "a URL",
            set: |d, text| {
                d.aws.endpoint = Some(text.to_owned());
                Ok(())
            },
            default: "",
        },
        "The URL to call, for consumer and producer; https if it has no scheme.",
    ),
    Key::new(
        "KinesisEndpoint",
        Setting::Text {
            what: "a host's name",
            set: |d, text| {
                d.kinesis_host = host(text, "aws.endpoint")?;
                Ok(())
            },
            default: "",
        },
        "The host to call over https; aws.endpoint counts above it.",
    ),
    Key::new(
        "KinesisPort",
        Setting::Integer {
            range: 1..=65_535,
            unit: "port",
            cap: None,
            set: |d, n| d.kinesis_port = n,
            get: |d| d.kinesis_port,
        },
        "The port at KinesisEndpoint.",
    ),
    Key::new(
        "aws.clientconfig.protocol",
        Setting::Word {
            words: PROTOCOLS,
            set: |d, at| d.protocol = at,
            get: |d| d.protocol,
        },
        "The scheme of an aws.endpoint that has none.",
    ),
    Key::new(
        "ConnectTimeout",
        timeout(100..=300_000, |d, time| d.aws.connect_timeout = Some(time)),
        "Limits the making of a connection.",
    ),
    Key::new(
        "aws.clientconfig.connectionTimeout",
        timeout(1..=LONG_MAX, |d, time| d.aws.connect_timeout = Some(time)),
        "As ConnectTimeout.",
    ),
    Key::new(
        "RequestTimeout",
        timeout(100..=600_000, |d, time| d.aws.request_timeout = Some(time)),
        "Limits one attempt of a call.",
    ),
    Key::new(
        "aws.clientconfig.socketTimeout",
        timeout(1..=LONG_MAX, |d, time| d.aws.request_timeout = Some(time)),
        "As RequestTimeout.",
    ),
    Key::new(
        "VerifyCertificate",
        Setting::Switch {
            set: |d, yes| d.aws.trusts_anyone = !yes,
            get: |d| !d.aws.trusts_anyone,
        },
        "Whether a server has to show who it is. false protects nothing.",
    ),
    Key::new(
        "aws.trust.all.certificates",
        Setting::Switch {
            set: |d, yes| d.aws.trusts_anyone = yes,
            get: |d| d.aws.trusts_anyone,
        },
        "The same the other way round.",
    ),
    Key::new(
        "CaCertFile",
        Setting::Text {
            what: "a file of certificates in the PEM format",
            set: |d, text| {
                d.aws.tls_roots = Some(text.into());
                Ok(())
            },
            default: "",
        },
        "Certificate authorities to believe in place of the built-in ones.",
    ),
    Key::new(
        "CaCertPath",
        Setting::Refused {
            because: "put the certificates into one file and name it in CaCertFile",
        },
        "",
    ),
    Key::new("ProxyHost", PROXY_HOST, "The HTTP proxy to go through."),
    Key::new("ProxyPort", PROXY_PORT, "Its port."),
    Key::new("ProxyUserName", PROXY_USER, "Who asks it."),
    Key::new("ProxyPassword", PROXY_PASSWORD, "Their password."),
    Key::new("aws.clientconfig.proxyHost", PROXY_HOST, "As ProxyHost."),
    Key::new("aws.clientconfig.proxyPort", PROXY_PORT, "As ProxyPort."),
    Key::new(
        "aws.clientconfig.proxyUsername",
        PROXY_USER,
        "As ProxyUserName.",
    ),
    Key::new(
        "aws.clientconfig.proxyPassword",
        PROXY_PASSWORD,
        "As ProxyPassword.",
    ),
    Key::new(
        "aws.clientconfig.nonProxyHosts",
        Setting::Text {
            what: "hosts between vertical bars, in which an asterisk stands for anything",
            set: |d, text| {
                d.aws.non_proxy_hosts = Some(text.to_owned()).filter(|text| !text.is_empty());
                Ok(())
            },
            default: "",
        },
        "Hosts that are reached without a proxy, beside those in NO_PROXY.",
    ),
    Key::new(
        "flink.list.shards.maxretries",
        retries(
            |d, n| list(d).max_retries = Some(n),
            |d| d.aws.patience.list_shards.max_retries,
        ),
        "Attempts of ListShards beyond the first.",
    ),
    Key::<Draft>::new(
        "flink.list.shards.backoff.base",
        wait(
            |d, time| list(d).backoff_base = time,
            |d| Some(d.aws.patience.list_shards.backoff_base),
        ),
        "Its first wait is at most this long.",
    )
    .once(&["flink.stream.describe.backoff.base"]),
    Key::<Draft>::new(
        "flink.list.shards.backoff.max",
        wait(
            |d, time| list(d).backoff_max = time,
            |d| Some(d.aws.patience.list_shards.backoff_max),
        ),
        "No wait of it is longer.",
    )
    .once(&["flink.stream.describe.backoff.max"]),
    Key::<Draft>::new(
        "flink.list.shards.backoff.expconst",
        Setting::Number {
            set: |d, number| list(d).backoff_exponent = number,
            get: |d| d.aws.patience.list_shards.backoff_exponent,
        },
        "How much longer each wait may be than the one before.",
    )
    .once(&["flink.stream.describe.backoff.expconst"]),
    Key::new(
        "flink.shard.getrecords.maxretries",
        retries(
            |d, n| records(d).max_retries = Some(n),
            |d| d.aws.patience.get_records.max_retries,
        ),
        "Attempts of GetRecords beyond the first.",
    ),
    Key::new(
        "flink.shard.getrecords.backoff.base",
        wait(
            |d, time| records(d).backoff_base = time,
            |d| Some(d.aws.patience.get_records.backoff_base),
        ),
        "Its first wait is at most this long.",
    ),
    Key::new(
        "flink.shard.getrecords.backoff.max",
        wait(
            |d, time| records(d).backoff_max = time,
            |d| Some(d.aws.patience.get_records.backoff_max),
        ),
        "No wait of it is longer.",
    ),
    Key::new(
        "flink.shard.getrecords.backoff.expconst",
        Setting::Number {
            set: |d, number| records(d).backoff_exponent = number,
            get: |d| d.aws.patience.get_records.backoff_exponent,
        },
        "How much longer each wait may be than the one before.",
    ),
    Key::new(
        "flink.shard.getiterator.maxretries",
        retries(
            |d, n| iterator(d).max_retries = Some(n),
            |d| d.aws.patience.get_shard_iterator.max_retries,
        ),
        "Attempts of GetShardIterator beyond the first.",
    ),
    Key::new(
        "flink.shard.getiterator.backoff.base",
        wait(
            |d, time| iterator(d).backoff_base = time,
            |d| Some(d.aws.patience.get_shard_iterator.backoff_base),
        ),
        "Its first wait is at most this long.",
    ),
    Key::new(
        "flink.shard.getiterator.backoff.max",
        wait(
            |d, time| iterator(d).backoff_max = time,
            |d| Some(d.aws.patience.get_shard_iterator.backoff_max),
        ),
        "No wait of it is longer.",
    ),
    Key::new(
        "flink.shard.getiterator.backoff.expconst",
        Setting::Number {
            set: |d, number| iterator(d).backoff_exponent = number,
            get: |d| d.aws.patience.get_shard_iterator.backoff_exponent,
        },
        "How much longer each wait may be than the one before.",
    ),
    ignored(
        "flink.stream.describe.maxretries",
        "no stream has to be described: see flink.list.shards.maxretries",
    ),
    ignored(
        "aws.http-client.max-concurrency",
        "see aws.clientconfig.maxConnections",
    ),
    ignored(
        "aws.http-client.read-timeout",
        "it is for enhanced fan-out; see RequestTimeout",
    ),
    ignored(
        "aws.http.protocol.version",
        "calls are HTTP/1.1, which is all that polling needs",
    ),
    ignored(
        "aws.clientconfig.clientExecutionTimeout",
        "patience has keys of its own, .maxretries and .backoff",
    ),
    ignored(
        "aws.clientconfig.connectionMaxIdleMillis",
        "connections are kept as long as they work",
    ),
    ignored(
        "aws.clientconfig.connectionTTL",
        "connections are kept as long as they work",
    ),
    Key::new(
        "aws.clientconfig.maxConnections",
        Setting::Integer {
            range: 1..=super::INT_MAX,
            unit: "connections",
            cap: None,
            set: |d, n| d.aws.max_connections = usize::try_from(n).ok(),
            get: |d| d.aws.max_connections.unwrap_or(MAX_CONNECTIONS) as u64,
        },
        "Most calls of a client that are under way at once, each over a connection of its own.",
    ),
    ignored(
        "aws.clientconfig.maxErrorRetry",
        "there is one loop of retries, with the keys .maxretries",
    ),
    ignored("aws.clientconfig.requestTimeout", "see RequestTimeout"),
    ignored(
        "aws.clientconfig.tcpKeepAlive",
        "connections are in use all the time",
    ),
    ignored(
        "aws.clientconfig.useExpectContinue",
        "bodies are sent at once",
    ),
    ignored("aws.clientconfig.useGzip", "the service does not compress"),
    ignored(
        "aws.clientconfig.useTcpKeepAlive",
        "connections are in use all the time",
    ),
    ignored(
        "aws.clientconfig.userAgentPrefix",
        "Flink overwrites it as well",
    ),
    ignored(
        "aws.clientconfig.validateAfterInactivityMillis",
        "a dead connection is noticed when it is used",
    ),
    ignored("retry-strategy.attempts.max", "see the keys .maxretries"),
    ignored("retry-strategy.delay.max", "see the keys .backoff.max"),
    ignored("retry-strategy.delay.min", "see the keys .backoff.base"),
];

const PROXY_HOST: Setting<Draft> = Setting::Text {
    what: "a host's name",
    set: |d, text| {
        d.proxy.host = host(text, "ProxyPort")?;
        Ok(())
    },
    default: "",
};

const PROXY_PORT: Setting<Draft> = Setting::Integer {
    range: 1..=65_535,
    unit: "port",
    cap: None,
    set: |d, n| d.proxy.port = Some(n),
    get: |d| d.proxy.port.unwrap_or(HTTPS_PORT),
};

const PROXY_USER: Setting<Draft> = Setting::Text {
    what: "a name",
    set: |d, text| {
        d.proxy.user = Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(())
    },
    default: "",
};

const PROXY_PASSWORD: Setting<Draft> = Setting::Text {
    what: "a password",
    set: |d, text| {
        d.proxy.password = Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(())
    },
    default: "",
};

const fn ignored(name: &'static str, because: &'static str) -> Key<Draft> {
    Key::new(name, Setting::Ignored { because }, "")
}

const fn timeout(range: RangeInclusive<u64>, set: fn(&mut Draft, Duration)) -> Setting<Draft> {
    Setting::Millis {
        range,
        set,
        get: |_| None,
    }
}

const fn retries(set: fn(&mut Draft, u32), get: fn(&Draft) -> Option<u32>) -> Setting<Draft> {
    Setting::Retries { set, get }
}

const fn wait(
    set: fn(&mut Draft, Duration),
    get: fn(&Draft) -> Option<Duration>,
) -> Setting<Draft> {
    Setting::Millis {
        range: 0..=LONG_MAX,
        set,
        get,
    }
}

fn list(draft: &mut Draft) -> &mut RetryPolicy {
    &mut draft.aws.patience.list_shards
}

fn records(draft: &mut Draft) -> &mut RetryPolicy {
    &mut draft.aws.patience.get_records
}

fn iterator(draft: &mut Draft) -> &mut RetryPolicy {
    &mut draft.aws.patience.get_shard_iterator
}

const PROTOCOLS: &[&str] = &["HTTPS", "HTTP"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_told_with_their_key() {
        for call in [
            "flink.list.shards",
            "flink.shard.getrecords",
            "flink.shard.getiterator",
        ] {
            for (name, values, takes) in [
                (
                    "maxretries",
                    ["unparsableInt", "-1", "2147483648"],
                    "an integer from 0 to 2147483647 (attempts)",
                ),
                (
                    "backoff.base",
                    ["unparsableLong", "-1", "1.5"],
                    "an integer from 0 (milliseconds)",
                ),
                (
                    "backoff.max",
                    ["unparsableLong", "-1", ""],
                    "an integer from 0 (milliseconds)",
                ),
                (
                    "backoff.expconst",
                    ["unparsableDouble", "-1", "Infinity"],
                    "a number from 0",
                ),
            ] {
                let key = format!("{call}.{name}");
                for value in values {
                    let properties = Properties::from_iter([(&*key, value)]);
                    let error = client(&properties).expect_err(&key).to_string();
                    assert!(error.starts_with(&key) && error.ends_with(takes), "{error}");
                }
                let properties = Properties::from_iter([(&*key, "2")]);
                assert_ne!(
                    client(&properties).expect(&key),
                    AwsConfig::default(),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn the_keys_of_describe_count_for_the_listing() {
        let properties = Properties::from_iter([
            ("flink.stream.describe.backoff.base", "7"),
            ("flink.list.shards.backoff.base", "9"),
            ("flink.stream.describe.maxretries", "3"),
        ]);
        let patience = client(&properties).expect("good").patience;
        assert_eq!(patience.list_shards.backoff_base, Duration::from_millis(7));
        assert_eq!(patience.list_shards.max_retries, Some(10));
    }

    #[test]
    fn an_endpoint_is_a_url_or_a_host_with_a_port() {
        for (pairs, endpoint) in [
            (vec![("aws.endpoint", "http://x:1/y")], Some("http://x:1/y")),
            (vec![("aws.endpoint", "x:1")], Some("https://x:1")),
            (
                vec![("aws.endpoint", "x"), ("aws.clientconfig.protocol", "HTTP")],
                Some("http://x"),
            ),
            (vec![("KinesisEndpoint", "x")], Some("https://x:443")),
            (
                vec![("KinesisEndpoint", "x"), ("KinesisPort", "4567")],
                Some("https://x:4567"),
            ),
            (
                vec![("KinesisEndpoint", "x"), ("aws.endpoint", "http://y")],
                Some("http://y"),
            ),
            (vec![("KinesisEndpoint", "")], None),
        ] {
            let properties = Properties::from_iter(pairs.iter().copied());
            let aws = client(&properties).expect("good");
            assert_eq!(aws.endpoint.as_deref(), endpoint, "{pairs:?}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_of_its_parts() {
        for (pairs, proxy) in [
            (vec![("ProxyHost", "x")], Some("http://x:443")),
            (
                vec![("aws.clientconfig.proxyHost", "x"), ("ProxyPort", "8080")],
                Some("http://x:8080"),
            ),
            (
                vec![
                    ("ProxyHost", "x"),
                    ("ProxyUserName", "a b"),
                    ("ProxyPassword", "p@s:s"),
                ],
                Some("http://a%20b:p%40s%3As@x:443"),
            ),
            (vec![("ProxyPort", "8080")], None),
        ] {
            let properties = Properties::from_iter(pairs.iter().copied());
            assert_eq!(
                client(&properties).expect("good").proxy.as_deref(),
                proxy,
                "{pairs:?}"
            );
        }
    }
}
