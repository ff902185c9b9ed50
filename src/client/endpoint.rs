use http::Uri;

use crate::error::{Error, Result};
use crate::http::has_user;

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
