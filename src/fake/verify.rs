//! Who calls: the signature is made again with the secret, by the signer the client uses too, and
//! has to be the same.
//!
//! Gaps: a header that this crate's signer never covers, such as User-Agent, must not be among the
//! signed ones; a signature in the query is not read; any region will do.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request, Uri};

use crate::fake::date;
use crate::fake::refusal::Refusal;
use crate::model::Timestamp;
use crate::sign::{Credentials, sign};

/// What an Authorization header says.
#[derive(Debug, PartialEq, Eq)]
struct Authorization<'a> {
    access_key_id: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Says whether a request is signed at all.
pub(super) fn check_presence(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.contains_key(AUTHORIZATION) {
        true => Ok(()),
        false => Err(Refusal::new(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )),
    }
}

/// Says whether a request was signed with these credentials, lately.
pub(super) fn check_signature(
    request: &Request<Bytes>,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<(), Refusal> {
    let authorization = Authorization::of(request.headers()).ok_or_else(incomplete)?;
    if authorization.access_key_id != credentials.access_key_id() {
        return Err(unknown());
    }
    if authorization.service != "kinesis" {
        return Err(invalid(
            "Credential should be scoped to correct service: 'kinesis'.",
        ));
    }
    let expiry = credentials.expires_at().map(Timestamp::from);
    if expiry.is_some_and(|expiry| expiry <= now) {
        return Err(Refusal::new(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ));
    }
    let text = text_of(request.headers(), "x-amz-date").ok_or_else(incomplete)?;
    let signed_at = date::read_basic(text).ok_or_else(incomplete)?;
    check_age(text, signed_at, now)?;
    let again = signed_again(request, &authorization, credentials, signed_at);
    let again = again.ok_or_else(incomplete)?;
    if again.get(TOKEN) != request.headers().get(TOKEN) {
        return Err(unknown());
    }
    match Authorization::of(&again).is_some_and(|again| again == authorization) {
        true => Ok(()),
        false => Err(invalid(
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method. Consult the service documentation for \
             details.",
        )),
    }
}

/// The headers of the same request, signed by us.
fn signed_again(
    request: &Request<Bytes>,
    authorization: &Authorization<'_>,
    credentials: &Credentials,
    signed_at: Timestamp,
) -> Option<HeaderMap> {
    let host = text_of(request.headers(), HOST.as_str())?;
    let uri: Uri = format!("http://{host}{}", request.uri().path())
        .parse()
        .ok()?;
    let mut again = Request::new(request.body().clone());
    (*again.method_mut(), *again.uri_mut()) = (request.method().clone(), uri);
    for (name, value) in request.headers() {
        // The signer adds these two by itself.
        let by_signer = name == "x-amz-date" || name == TOKEN;
        if authorization.signed_headers.contains(&name.as_str()) && !by_signer {
            again.headers_mut().append(name, value.clone());
        }
    }
    let region = authorization.region;
    sign(&mut again, credentials, region, "kinesis", signed_at).ok()?;
    Some(again.headers().clone())
}

impl Authorization<'_> {
    fn of(headers: &HeaderMap) -> Option<Authorization<'_>> {
        let parts = text_of(headers, AUTHORIZATION.as_str())?.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| {
            let mut parts = parts.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let mut scope = part("Credential")?.rsplit('/');
        let (_terminator, service, region, _day) =
            (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        Some(Authorization {
            access_key_id: scope.next()?,
            region,
            service,
            signed_headers: part("SignedHeaders")?.split(';').collect(),
            signature: part("Signature")?,
        })
    }
}

fn check_age(text: &str, signed_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    let (now_text, minutes) = (date::basic(now), SKEW_MINUTES_MAX);
    let skew = now.as_millis().saturating_sub(signed_at.as_millis());
    let message = match skew / 60_000 {
        late if late >= minutes => {
            format!("Signature expired: {text} is now earlier than {now_text} less {minutes} min.")
        }
        early if early <= -minutes => {
            format!(
                "Signature not yet current: {text} is still later than {now_text} and {minutes} min."
            )
        }
        _ => return Ok(()),
    };
    Err(invalid(&message))
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn invalid(message: &str) -> Refusal {
    Refusal::new("InvalidSignatureException", message)
}

fn incomplete() -> Refusal {
    Refusal::new(
        "IncompleteSignatureException",
        "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters and \
         a 'X-Amz-Date' header.",
    )
}

fn unknown() -> Refusal {
    Refusal::new(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}

const TOKEN: &str = "x-amz-security-token";
/// `reference_sigv-troubleshooting.html`: 15 minutes either way.
const SKEW_MINUTES_MAX: i64 = 15;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn request(credentials: &Credentials) -> Request<Bytes> {
        let mut request = Request::post("http://127.0.0.1:4567/")
            .header("host", "127.0.0.1:4567")
            .header("content-type", "application/x-amz-json-1.1")
            .body(Bytes::from_static(b"{}"))
            .expect("a request");
        sign(&mut request, credentials, "eu-west-1", "kinesis", NOW).expect("signed");
        // Headers that a client adds after signing say nothing.
        request
            .headers_mut()
            .insert("user-agent", http::HeaderValue::from_static("test"));
        *request.uri_mut() = Uri::from_static("/");
        request
    }

    fn verdict(request: &Request<Bytes>, credentials: &Credentials, now: Timestamp) -> String {
        let checked = check_signature(request, credentials, now);
        checked.map_or_else(|refusal| refusal.code.into_owned(), |()| "ok".to_owned())
    }

    #[test]
    fn only_the_right_secret_makes_the_right_signature() {
        let ours = Credentials::new("AKID", "secret");
        for (theirs, answer) in [
            (ours.clone(), "ok"),
            (
                Credentials::new("AKID", "other"),
                "InvalidSignatureException",
            ),
            (
                Credentials::new("OTHER", "secret"),
                "UnrecognizedClientException",
            ),
            (
                ours.clone().with_session_token("token"),
                "UnrecognizedClientException",
            ),
        ] {
            assert_eq!(verdict(&request(&theirs), &ours, NOW), answer, "{theirs:?}");
        }
        let temporary = ours.with_session_token("token");
        assert_eq!(verdict(&request(&temporary), &temporary, NOW), "ok");
    }

    #[test]
    fn what_was_changed_after_signing_is_noticed() {
        let credentials = Credentials::new("AKID", "secret");
        let mut changed = request(&credentials);
        *changed.body_mut() = Bytes::from_static(b"{ }");
        assert_eq!(
            verdict(&changed, &credentials, NOW),
            "InvalidSignatureException"
        );
        let mut cut = request(&credentials);
        cut.headers_mut().remove("x-amz-date");
        assert_eq!(
            verdict(&cut, &credentials, NOW),
            "IncompleteSignatureException"
        );
    }

    #[test]
    fn clocks_may_differ_by_less_than_fifteen_minutes() {
        let credentials = Credentials::new("AKID", "secret");
        let signed = request(&credentials);
        for (seconds, answer) in [
            (-900, "InvalidSignatureException"),
            (-899, "ok"),
            (899, "ok"),
            (900, "InvalidSignatureException"),
        ] {
            let now = Timestamp::from_millis(NOW.as_millis() + seconds * 1_000);
            assert_eq!(verdict(&signed, &credentials, now), answer, "{seconds}");
        }
    }

    #[test]
    fn credentials_run_out() {
        let expiry = SystemTime::from(NOW) + Duration::from_secs(1);
        let credentials = Credentials::new("AKID", "secret").with_expiry(expiry);
        let signed = request(&credentials);
        for (millis, answer) in [(999, "ok"), (1_000, "ExpiredTokenException")] {
            let now = Timestamp::from_millis(NOW.as_millis() + millis);
            assert_eq!(verdict(&signed, &credentials, now), answer, "{millis}");
        }
    }
}
