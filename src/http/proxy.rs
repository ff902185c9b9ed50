//! Which proxy a request goes through, by the settings that curl, botocore and Java's SDK know.
//!
//! ureq's own reading of the environment is not used: it takes one proxy for all schemes, passes over a malformed URL
//! without a word, and knows neither networks nor ports nor blanks in `NO_PROXY`.

use std::net::IpAddr;

use http::Uri;
use ureq::Proxy;

use crate::error::{Error, Result};
use crate::sys::env::Env;

/// The proxies for the two schemes, and the hosts that are reached without one.
#[derive(Clone, Default)]
pub(crate) struct ProxyRules {
    http: Option<Chosen>,
    https: Option<Chosen>,
    bypass: Vec<Bypass>,
}

/// A proxy and the setting that names it. Its URL may hold a password.
#[derive(Clone)]
struct Chosen {
    setting: String,
    url: String,
}

/// Which of the proxies a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Direct,
    HttpProxy,
    HttpsProxy,
}

impl ProxyRules {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower case before upper case as curl does.
    ///
    /// # Errors
    /// `Config`: the URL of a proxy is malformed. Never quotes it: it may hold a password.
    pub fn from_env(env: &dyn Env) -> Result<ProxyRules> {
        let chosen = |name| {
            let found = variable(env, name).or_else(|| variable(env, "ALL_PROXY"));
            found.map(|(name, url)| chosen(&name, &url)).transpose()
        };
        Ok(ProxyRules {
            http: chosen("HTTP_PROXY")?,
            https: chosen("HTTPS_PROXY")?,
            bypass: bypasses(env),
        })
    }

    /// One proxy for both schemes; `NO_PROXY` counts beside it.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn given(url: &str, env: &dyn Env) -> Result<ProxyRules> {
        let chosen = chosen("proxy", url.trim())?;
        Ok(ProxyRules {
            http: Some(chosen.clone()),
            https: Some(chosen),
            bypass: bypasses(env),
        })
    }

    /// Adds hosts as Java writes them: whole names, in which `*` stands for anything, between `|`.
    pub fn without(mut self, hosts: &str) -> ProxyRules {
        let hosts = hosts
            .split('|')
            .map(|host| normal(host.trim()))
            .filter(|host| !host.is_empty());
        self.bypass.extend(hosts.map(Bypass::Pattern));
        self
    }

    /// The URL of a route's proxy.
    pub fn url(&self, route: Route) -> Option<&str> {
        self.chosen(route).map(|chosen| chosen.url.as_str())
    }

    fn chosen(&self, route: Route) -> Option<&Chosen> {
        match route {
            Route::Direct => None,
            Route::HttpProxy => self.http.as_ref(),
            Route::HttpsProxy => self.https.as_ref(),
        }
    }

    /// Says how a request gets to its host.
    pub fn route(&self, uri: &Uri) -> Route {
        let route = match uri.scheme_str() {
            Some("https") => Route::HttpsProxy,
            _ => Route::HttpProxy,
        };
        // Most processes have no proxy, and this is asked for each request.
        if self.chosen(route).is_none() {
            return Route::Direct;
        }
        let host = Host::of(uri);
        let is_bypassed = || self.bypass.iter().any(|bypass| bypass.matches(&host));
        match host.is_near() || is_bypassed() {
            true => Route::Direct,
            false => route,
        }
    }

    /// Refuses a proxy that this URL would need and that is none for HTTP. One that no request needs is let be: many a
    /// laptop has `ALL_PROXY` for other programs.
    ///
    /// # Errors
    /// `Config`: the setting that names the proxy.
    pub fn check(&self, uri: &Uri) -> Result<()> {
        match self.chosen(self.route(uri)) {
            Some(proxy) if !is_http(&proxy.url) => {
                Err(Error::config(&proxy.setting, "what was given", NO_SOCKS))
            }
            _ => Ok(()),
        }
    }
}

/// Says whether a checked URL is one of a proxy for HTTP; else it is one for SOCKS.
pub(super) fn is_http(url: &str) -> bool {
    !url.starts_with("socks")
}

/// A request's host: lower case, without brackets and the dot at the end.
struct Host {
    name: String,
    address: Option<IpAddr>,
    port: u16,
}

impl Host {
    fn of(uri: &Uri) -> Host {
        let usual = match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        let name = normal(uri.host().unwrap_or_default());
        Host {
            address: name
                .parse()
                .ok()
                .map(|address: IpAddr| address.to_canonical()),
            name,
            port: uri.port_u16().unwrap_or(usual),
        }
    }

    /// This machine and the metadata services of AWS. Another machine's proxy would answer for itself, with somebody
    /// else's credentials.
    fn is_near(&self) -> bool {
        match self.address {
            Some(address) => {
                address.is_loopback() || METADATA.contains(&address.to_string().as_str())
            }
            None => self.name == "localhost" || self.name.ends_with(".localhost"),
        }
    }
}

/// One entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bypass {
    All,
    /// A network: its address and how many bits of it count.
    Network(IpAddr, u8),
    /// A domain and everything below it, at one port or at all.
    Domain(String, Option<u16>),
    Address(IpAddr, Option<u16>),
    /// A whole name or address, in which `*` stands for anything.
    Pattern(String),
}

impl Bypass {
    /// Reads an entry: `*`, `example.com`, `.example.com`, `*.example.com`, `10.0.*`, an address or a network, a name or
    /// an address perhaps with a port.
    fn parse(entry: &str) -> Option<Bypass> {
        if entry == "*" {
            return Some(Bypass::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let address: IpAddr = normal(address).parse().ok()?;
            let bits = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Bypass::Network(address, bits));
        }
        if let Ok(address) = normal(entry).parse::<IpAddr>() {
            return Some(Bypass::Address(address.to_canonical(), None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let host = normal(host);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Bypass::Address(address.to_canonical(), port));
        }
        if host.is_empty() || host.contains(['[', ']', '@', ':']) {
            return None;
        }
        let domain = host.strip_prefix("*.").unwrap_or(&host);
        let domain = domain.trim_start_matches('.');
        match (domain.contains('*'), port) {
            (true, None) => Some(Bypass::Pattern(host)),
            (true, Some(_)) => None,
            _ => (!domain.is_empty()).then(|| Bypass::Domain(domain.to_owned(), port)),
        }
    }

    fn matches(&self, host: &Host) -> bool {
        let at_port = |port: &Option<u16>| port.is_none_or(|port| port == host.port);
        match self {
            Bypass::All => true,
            Bypass::Network(network, bits) => host
                .address
                .is_some_and(|address| is_within(address, *network, *bits)),
            Bypass::Address(address, port) => host.address == Some(*address) && at_port(port),
            Bypass::Domain(domain, port) => {
                let front = host.name.strip_suffix(domain.as_str());
                let is_below = front.is_some_and(|front| front.is_empty() || front.ends_with('.'));
                is_below && at_port(port)
            }
            Bypass::Pattern(pattern) => is_like(&host.name, pattern),
        }
    }
}

/// Says whether a text matches a pattern in which each `*` stands for any text. The first match of a
/// part is enough: what follows a `*` may stand further behind as well.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match text.split_once(part) {
            Some((_, behind)) => text = behind,
            None => return false,
        }
    }
    text.ends_with(end)
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let differing = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= u32::from(bits)
}

fn normal(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// The entries that can be read. The variable is often written for all programs of a company, so one that cannot be is
/// told and left out, as every other program does without telling.
fn bypasses(env: &dyn Env) -> Vec<Bypass> {
    let Some((name, value)) = variable(env, "NO_PROXY") else {
        return Vec::new();
    };
    let entries = value.split(|c: char| c == ',' || c.is_whitespace());
    let entries = entries.filter(|entry| !entry.is_empty());
    let parsed = entries.filter_map(|entry| {
        let bypass = Bypass::parse(entry);
        if bypass.is_none() {
            let entry = Error::config(
                &name,
                entry,
                "a host, a domain, an address or a network such as 10.0.0.0/8, and is left out",
            );
            log::warn!("{entry}");
        }
        bypass
    });
    parsed.collect()
}

/// A variable in lower case, else in upper case, with the name under which it was found.
fn variable(env: &dyn Env, name: &str) -> Option<(String, String)> {
    let names = [name.to_ascii_lowercase(), name.to_owned()];
    let found = names.into_iter().map(|name| (env.var(&name), name));
    found
        .filter_map(|(value, name)| Some((name, value?)))
        .next()
}

/// Checks a proxy's URL and adds the scheme that people leave out.
fn chosen(setting: &str, url: &str) -> Result<Chosen> {
    let whole = match url.contains("://") {
        true => url.to_owned(),
        false => format!("http://{url}"),
    };
    match is_proxy(&whole) {
        true => Ok(Chosen {
            setting: setting.to_owned(),
            url: whole,
        }),
        false => Err(Error::config(setting, "what was given", PROXY_EXPECTED)),
    }
}

fn is_proxy(url: &str) -> bool {
    // It knows the schemes, and decodes the user and the password.
    let Ok(proxy) = Proxy::new(url) else {
        return false;
    };
    // A password with a `/`, `?` or `#` that is not encoded ends the host's name in its midst.
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let port = match host.rsplit_once(']') {
        Some((_, behind)) => behind,
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.is_empty() || port[1..].parse::<u16>().is_ok_and(|port| port > 0);
    !proxy.host().is_empty() && is_port && matches!(&rest[end..], "" | "/")
}

const PROXY_EXPECTED: &str = "a URL such as http://user:password@proxy.example:8080";

const NO_SOCKS: &str =
    "a proxy for HTTP: this library speaks no SOCKS; add the host to NO_PROXY to go without one";

/// EC2, ECS, EKS, and the two of them over IPv6.
const METADATA: [&str; 5] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::254",
    "fd00:ec2::23",
];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    type Variables = [(&'static str, &'static str)];

    fn rules(variables: &Variables) -> Result<ProxyRules> {
        let env: HashMap<_, _> = variables.iter().copied().collect();
        ProxyRules::from_env(&env)
    }

    fn route(variables: &Variables, url: &str) -> Route {
        let rules = rules(variables).expect("sound");
        rules.route(&url.parse().expect("a URL"))
    }

    const PROXY: (&str, &str) = ("ALL_PROXY", "http://proxy:8080");

    fn is_direct(no_proxy: &'static str, url: &str) -> bool {
        let routes = ["no_proxy", "NO_PROXY"].map(|name| route(&[PROXY, (name, no_proxy)], url));
        assert_eq!(routes[0], routes[1], "upper and lower case");
        routes[0] == Route::Direct
    }

    #[test]
    fn the_scheme_chooses_the_proxy_and_lower_case_counts_first() {
        let all = [
            ("HTTP_PROXY", "http://upper:1"),
            ("http_proxy", "lower:2"),
            ("HTTPS_PROXY", " https://secure:3\n"),
            ("all_proxy", "http://all:4"),
        ];
        let rules = rules(&all).expect("sound");
        assert_eq!(rules.url(Route::HttpProxy), Some("http://lower:2"));
        assert_eq!(rules.url(Route::HttpsProxy), Some("https://secure:3"));
        assert_eq!(route(&all, "http://host/"), Route::HttpProxy);
        assert_eq!(route(&all, "https://host/"), Route::HttpsProxy);
        assert_eq!(route(&all[3..], "https://host/"), Route::HttpsProxy);
        assert_eq!(route(&all[2..3], "http://host/"), Route::Direct);
        assert_eq!(route(&[], "http://host/"), Route::Direct);
    }

    #[test]
    fn no_proxy_is_read_as_people_write_it() {
        for (no_proxy, url) in [
            ("kinesis.internal.test", "http://kinesis.internal.test/"),
            ("internal.test", "http://kinesis.internal.test:4567/"),
            (".internal.test", "http://kinesis.internal.test/"),
            ("*.internal.test", "http://kinesis.internal.test/"),
            ("INTERNAL.test.", "http://Kinesis.Internal.Test./"),
            ("*", "https://anything.example/"),
            ("example.com, 10.1.2.3", "http://10.1.2.3/"),
            ("a.example b.example\tc.example", "http://b.example/"),
            (
                "localhost,kinesis.internal.test,.other",
                "https://kinesis.internal.test/",
            ),
            ("10.1.2.3:4567", "http://10.1.2.3:4567/"),
            ("internal.test:443", "https://kinesis.internal.test/"),
            ("10.0.0.0/8", "http://10.200.1.1/"),
            ("10.1.2.3/32", "http://10.1.2.3/"),
            ("0.0.0.0/0", "http://10.1.2.3/"),
            ("2001:db8::/32", "http://[2001:db8:1::1]/"),
            ("2001:db8::1", "http://[2001:db8::1]:80/"),
            ("[2001:db8::1]", "http://[2001:db8::1]/"),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080/"),
            ("[2001:db8::]/32", "http://[2001:db8:1::1]/"),
            ("10.1.*", "http://10.1.2.3/"),
            ("*internal*", "http://kinesis.internal.test/"),
            ("10.0.0.0/33,host:port,inside.test", "http://inside.test/"),
        ] {
            assert!(is_direct(no_proxy, url), "{no_proxy} for {url}");
        }
        for (no_proxy, url) in [
            ("", "http://host/"),
            ("internal.test", "http://notinternal.test/"),
            ("kinesis.internal.test", "http://internal.test/"),
            ("internal.test:8080", "http://kinesis.internal.test/"),
            ("10.0.0.0/8", "http://11.0.0.1/"),
            ("10.0.0.0/8", "http://ten.example/"),
            ("10.1.2.3", "http://10.1.2.30/"),
            ("2001:db8::/32", "http://[2001:db9::1]/"),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]/"),
            ("10.1.*", "http://10.2.2.3/"),
            ("*.internal.test", "http://notinternal.test/"),
            ("::/0", "http://10.1.2.3/"),
        ] {
            assert!(!is_direct(no_proxy, url), "{no_proxy} for {url}");
        }
    }

    #[test]
    fn this_machine_and_the_metadata_services_are_never_asked_through_a_proxy() {
        for url in [
            "http://localhost:4567/",
            "http://kinesis.localhost/",
            "https://127.0.0.1/",
            "http://127.9.9.9/",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1",
            "http://[fd00:ec2::254]/",
            "http://[fd00:ec2::23]/",
        ] {
            assert_eq!(route(&[PROXY], url), Route::Direct, "{url}");
        }
        assert_eq!(route(&[PROXY], "http://169.254.169.253/"), Route::HttpProxy);
    }

    #[test]
    fn a_proxy_that_is_given_counts_for_both_schemes_beside_no_proxy() {
        let env = HashMap::from([("NO_PROXY", "inside.test"), ("HTTP_PROXY", "http://other")]);
        let rules = ProxyRules::given("http://me:hidden@given:1", &env).expect("sound");
        let route = |url: &str| rules.route(&url.parse().expect("a URL"));
        assert_eq!(route("http://outside.test/"), Route::HttpProxy);
        assert_eq!(route("https://outside.test/"), Route::HttpsProxy);
        assert_eq!(route("https://inside.test/"), Route::Direct);
        assert_eq!(
            rules.url(Route::HttpProxy),
            Some("http://me:hidden@given:1")
        );
    }

    #[test]
    fn hosts_as_java_writes_them_count_beside_no_proxy() {
        let env = HashMap::from([PROXY, ("NO_PROXY", "inside.test")]);
        let rules = ProxyRules::from_env(&env).expect("sound");
        let rules = rules.without("*.example.com | 10.*|LOCAL.test|");
        let is_direct = |host: &str| {
            let uri = format!("https://{host}/").parse().expect("a URL");
            rules.route(&uri) == Route::Direct
        };
        for host in ["a.example.com", "10.1.2.3", "local.test", "inside.test"] {
            assert!(is_direct(host), "{host}");
        }
        for host in ["example.com", "b.local.test", "11.0.0.1"] {
            assert!(!is_direct(host), "{host}");
        }
    }

    #[test]
    fn a_proxy_that_is_malformed_is_refused_by_its_setting_and_without_a_password() {
        for (name, value) in [
            ("https_proxy", "http://me:hidden@"),
            ("HTTP_PROXY", "http://"),
            ("ALL_PROXY", "ftp://me:hidden@host"),
            ("HTTPS_PROXY", "http://ho st"),
            ("HTTPS_PROXY", "http://me:hid#den@host:1"),
            ("HTTPS_PROXY", "http://me:hid/den@host:1"),
            ("HTTPS_PROXY", "http://me:hid?den@host:1"),
            ("HTTPS_PROXY", "http://host:port"),
            ("HTTPS_PROXY", "http://host:80800"),
            ("HTTPS_PROXY", "http://host:0"),
            ("HTTPS_PROXY", "http://host:"),
            ("HTTPS_PROXY", "http://[::1"),
            ("HTTPS_PROXY", "http://host/path"),
            ("HTTPS_PROXY", "http://me:%ff@host"),
        ] {
            let error = rules(&[(name, value)]).err().expect(value).to_string();
            assert_eq!(
                error,
                format!("{name}: \"what was given\" is not {PROXY_EXPECTED}")
            );
        }
        for sound in ["http://me:p%40ss@[::1]:8080/", "host", "host:1", "me@host"] {
            assert!(rules(&[("HTTPS_PROXY", sound)]).is_ok(), "{sound}");
        }
    }

    #[test]
    fn a_proxy_for_socks_is_refused_only_where_a_request_would_need_it() {
        let rules = rules(&[
            ("ALL_PROXY", "socks5h://me:hidden@host:1080"),
            ("HTTP_PROXY", "http://host:8080"),
            ("NO_PROXY", "inside.test"),
        ]);
        let rules = rules.expect("sound");
        let check = |url: &str| rules.check(&url.parse().expect("a URL"));
        for url in [
            "http://localhost:4567/",
            "https://inside.test/",
            "http://outside.test/",
        ] {
            assert!(check(url).is_ok(), "{url}");
        }
        let error = check("https://outside.test/").expect_err("no SOCKS");
        assert_eq!(
            error.to_string(),
            format!("ALL_PROXY: \"what was given\" is not {NO_SOCKS}")
        );
    }

    #[test]
    fn an_entry_that_cannot_be_read_lets_nothing_through() {
        for entry in [
            "10.0.0.0/33",
            "10.0.0.0/x",
            "host:port",
            "user@host",
            "*.a*:80",
            ".",
        ] {
            assert_eq!(Bypass::parse(entry), None, "{entry}");
        }
    }
}
