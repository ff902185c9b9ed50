use bytes::Bytes;
use http::{Response, StatusCode};

use crate::error::Error;

/// Refuses an answer that somebody on the way has encoded: no request asks for it, and nothing in this crate decodes it.
///
/// An answer that says to come back later still says so.
pub(crate) fn encoding_refused(response: &Response<Bytes>) -> Option<Error> {
    let encoding = response.headers().get("content-encoding")?;
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    let encoding = encoding.trim();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return None;
    }
    let status = response.status();
    let told = format!(
        "the answer has Content-Encoding {encoding}, which was not asked for: look for a proxy or a balancer that compresses"
    );
    let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    Some(match may_pass {
        true => Error::service("", &told, status.as_u16()),
        false => Error::malformed("answer", told),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, encoding: Option<&str>) -> Option<Error> {
        let answer = Response::builder().status(status);
        let answer = match encoding {
            Some(encoding) => answer.header("Content-Encoding", encoding),
            None => answer,
        };
        encoding_refused(&answer.body(Bytes::new()).expect("an answer"))
    }

    #[test]
    fn only_what_is_encoded_is_refused() {
        for encoding in [
            None,
            Some(""),
            Some(" "),
            Some("identity"),
            Some(" Identity"),
        ] {
            assert!(refused(200, encoding).is_none(), "{encoding:?}");
        }
        for status in [200, 400, 428] {
            let error = refused(status, Some("gzip")).expect("encoded");
            assert!(
                error.to_string().contains("Content-Encoding gzip"),
                "{error}"
            );
            assert!(!error.is_service(""), "{status}: {error}");
        }
        for status in [429, 500, 503] {
            let error = refused(status, Some("gzip")).expect("encoded");
            assert!(
                error.is_service("") && error.is_retryable(),
                "{status}: {error}"
            );
        }
    }
}
