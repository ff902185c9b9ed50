use std::net::IpAddr;

use http::Uri;

use crate::error::{Error, Result};
use crate::http::has_user;
use crate::model::is_public_host;

/// Checks a region's form, so that a typing error is told as one and not as a host without address.
pub(super) fn check_region(region: &str) -> Result<()> {
    let parts: Vec<&str> = region.split('-').collect();
    let words = |parts: &[&str]| {
        parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    let numbered = |last: &str| last.len() <= 2 && last.parse::<u8>().is_ok();
    let valid = match parts.as_slice() {
        [area, "global"] => words(&[area]),
        [front @ .., last] => {
            (2..=4).contains(&front.len()) && words(front) && (numbered(last) || *last == "global")
        }
        [] => false,
    };
    if valid {
        Ok(())
    } else {
        Err(Error::config(
            "region",
            region,
            "a region such as us-east-1",
        ))
    }
}

/// The region in a stream's ARN; `None` for a stream's name.
///
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
pub(super) fn region_in_arn(stream: &str) -> Option<&str> {
    let mut parts = stream.strip_prefix("arn:")?.split(':');
    let (_partition, _service) = (parts.next(), parts.next());
    parts.next().filter(|region| !region.is_empty())
}

/// The region in the name of a host of AWS's; `None` for another's.
///
/// The region follows the label of the service: `kinesis.REGION.…`, `kinesis-fips.REGION.…`, and with labels in front
/// `ID.kinesis.REGION.vpce.…` and `ACCOUNT.data-kinesis.REGION.…`.
pub(super) fn region_in_host(host: &str) -> Option<&str> {
    if !is_public_host(host) {
        return None;
    }
    let is_service = |label: &&str| {
        matches!(*label, "kinesis" | "kinesis-fips")
            || label.ends_with("-kinesis")
            || label.ends_with("-kinesis-fips")
    };
    let mut labels = host.split('.').skip_while(|label| !is_service(label));
    labels.nth(1).filter(|region| check_region(region).is_ok())
}

/// Says whether a host is this machine, by its name or address.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// Checks an endpoint and brings it into the form that is signed and called.
pub(super) fn parse(url: &str) -> Result<Uri> {
    let wrong = |expected: &str| Error::config("endpoint", url, expected);
    let uri: Uri = url
        .parse()
        .map_err(|_| wrong("a URL such as http://localhost:4567"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => {
            return Err(wrong(
                "an http URL: this build has no TLS; turn on the cargo feature \"tls\" for https",
            ));
        }
        _ => return Err(wrong("a URL that starts with http:// or https://")),
    }
    if uri.query().is_some() || uri.authority().is_none() || has_user(&uri) {
        return Err(wrong("a URL of scheme, host, port and path only"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_the_form_of_one() {
        for region in [
            "us-east-1",
            "us-gov-west-1",
            "us-iso-east-1",
            "ap-southeast-5",
            "eu-central-12",
            "aws-global",
        ] {
            assert!(check_region(region).is_ok(), "{region}");
        }
        for region in [
            "",
            "us",
            "us-east",
            "us-east-",
            "US-EAST-1",
            "us east 1",
            "us-east-1a",
            "us-east-1/",
            "1-1-1",
        ] {
            assert!(check_region(region).is_err(), "{region}");
        }
        assert_eq!(
            check_region("us_east_1")
                .expect_err("underscores")
                .to_string(),
            "region: \"us_east_1\" is not a region such as us-east-1"
        );
    }

    #[test]
    fn a_host_of_awss_names_its_region() {
        for (host, region) in [
            ("kinesis.us-east-1.amazonaws.com", Some("us-east-1")),
            (
                "kinesis-fips.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            ("kinesis.us-west-2.api.aws", Some("us-west-2")),
            ("kinesis.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            (
                "kinesis.eusc-de-east-1.amazonaws.eu",
                Some("eusc-de-east-1"),
            ),
            ("kinesis.us-iso-east-1.c2s.ic.gov", Some("us-iso-east-1")),
            (
                "vpce-0123-abcd-us-west-2b.kinesis.us-west-2.vpce.amazonaws.com",
                Some("us-west-2"),
            ),
            (
                "000000000000.data-kinesis.us-west-2.amazonaws.com",
                Some("us-west-2"),
            ),
            (
                "000000000000.control-kinesis-fips.us-west-2.amazonaws.com",
                Some("us-west-2"),
            ),
            ("KINESIS.us-east-1.amazonaws.com", None),
            ("kinesis.amazonaws.com", None),
            ("kinesis.us-east-1.example.com", None),
            ("amazonaws.com.kinesis.us-east-1.example", None),
            ("localhost", None),
        ] {
            assert_eq!(region_in_host(host), region, "{host}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names_and_addresses() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "kinesis.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "kinesalite",
            "localhost.example.com",
            "notlocalhost",
            "128.0.0.1",
            "[::2]",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn an_arn_names_its_region() {
        for (stream, region) in [
            (
                "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
                Some("eu-west-1"),
            ),
            (
                "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/orders",
                Some("cn-north-1"),
            ),
            ("arn:aws:kinesis::123456789012:stream/orders", None),
            ("arn:aws", None),
            ("orders", None),
        ] {
            assert_eq!(region_in_arn(stream), region, "{stream}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_without_frills() {
        for url in ["http://localhost:4567", "http://[::1]:80/path"] {
            assert!(parse(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "localhost:4567",
            "ftp://host",
            "http://host/?query",
            "http://user@host/",
            "/path",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
        assert_eq!(parse("https://host").is_ok(), cfg!(feature = "tls"));
    }
}
