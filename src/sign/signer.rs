//! The way that a client's own requests are signed: the key of a day is kept, and what is signed is
//! written down once. Every other request is left to `aws-sigv4`, and both give the same signature.

use std::sync::Mutex;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Request};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::error::Result;
use crate::model::{Timestamp, all};
use crate::sign::{Credentials, cannot_sign, sign};
use crate::sys::lock::lock;

/// Signs requests to one service in one region.
pub(crate) struct Signer {
    region: String,
    service: &'static str,
    kept: Mutex<Option<DayKey>>,
}

/// What signs all requests of a day: as good as the secret, for so long.
struct DayKey {
    day: String,
    credentials: Credentials,
    key: Key,
}

type Key = Zeroizing<[u8; 32]>;

impl Signer {
    pub fn new(region: &str, service: &'static str) -> Signer {
        Signer {
            region: region.to_owned(),
            service,
            kept: Mutex::default(),
        }
    }

    /// Puts the headers of a signature on a request, as [`sign`] does.
    pub fn sign(
        &self,
        request: &mut Request<Bytes>,
        credentials: &Credentials,
        time: Timestamp,
    ) -> Result<()> {
        let is_usual = is_usual(request) && credentials.0.session_token().is_none_or(is_plain);
        let date = date(time).filter(|_| is_usual);
        let Some(date) = date else {
            return sign(request, credentials, &self.region, self.service, time);
        };
        let headers = request.headers_mut();
        headers.insert(DATE, HeaderValue::from_str(&date).map_err(cannot_sign)?);
        if let Some(token) = credentials.0.session_token() {
            let mut token = HeaderValue::from_str(token).map_err(cannot_sign)?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        let authorization = self.authorization(request, credentials, &date, time)?;
        request.headers_mut().insert(AUTHORIZATION, authorization);
        Ok(())
    }

    /// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn authorization(
        &self,
        request: &Request<Bytes>,
        credentials: &Credentials,
        date: &str,
        time: Timestamp,
    ) -> Result<HeaderValue> {
        let (day, region) = (&date[..DAY_CHARS], &*self.region);
        let scope = [day, "/", region, "/", self.service, "/aws4_request"].concat();
        let (names, hash) = covered(request);
        let to_sign = [ALGORITHM, "\n", date, "\n", &scope, "\n", &hash].concat();
        let key = self.key(credentials, day, time);
        let signature = calculate_signature(&key[..], to_sign.as_bytes());
        let header = [
            ALGORITHM,
            " Credential=",
            credentials.access_key_id(),
            "/",
            &scope,
            ", SignedHeaders=",
            &names,
            ", Signature=",
            &signature,
        ];
        HeaderValue::try_from(header.concat()).map_err(cannot_sign)
    }

    fn key(&self, credentials: &Credentials, day: &str, time: Timestamp) -> Key {
        let mut kept = lock(&self.kept);
        match &*kept {
            Some(kept) if kept.day == day && kept.credentials.is_same(credentials) => {
                kept.key.clone()
            }
            _ => {
                let secret = credentials.0.secret_access_key();
                let made = generate_signing_key(secret, time.into(), &self.region, self.service);
                let mut key = Key::default();
                key.copy_from_slice(made.as_ref());
                *kept = Some(DayKey {
                    day: day.to_owned(),
                    credentials: credentials.clone(),
                    key: key.clone(),
                });
                key
            }
        }
    }
}

/// As `20150830T123600Z`; none for a year that has other than four digits.
fn date(time: Timestamp) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(time.as_millis().max(0) / 1_000).ok()?;
    let (year, month, day) = time.to_calendar_date();
    let day = (year * 100 + i32::from(u8::from(month))) * 100 + i32::from(day);
    let [hour, minute, second] = <[u8; 3]>::from(time.to_hms()).map(u32::from);
    let time = (hour * 100 + minute) * 100 + second;
    (year <= 9_999).then(|| format!("{day:08}T{time:06}Z"))
}

/// Says whether a request has nothing that has to be put into another form before it is signed.
fn is_usual(request: &Request<Bytes>) -> bool {
    let is_signed = |name| name == HOST || name == CONTENT_TYPE || name == TARGET;
    let headers = request.headers();
    request.uri().path() == "/"
        && request.uri().query().is_none()
        && headers.contains_key(HOST)
        && headers.len() == headers.keys_len()
        && headers
            .iter()
            .all(|(name, value)| is_signed(name) && value.to_str().is_ok_and(is_plain))
}

fn is_plain(text: &str) -> bool {
    all(text.as_bytes(), |byte| byte.is_ascii_graphic())
}

/// The names of the headers that are signed, and the hash of all that is signed.
fn covered(request: &Request<Bytes>) -> (String, String) {
    let headers = request.headers();
    let mut names = String::with_capacity(NAMES_CHARS);
    let mut text =
        String::with_capacity(TEXT_CHARS + headers.get(TOKEN).map_or(0, HeaderValue::len));
    text.extend([request.method().as_str(), "\n/\n\n"]);
    for name in &SIGNED {
        if let Some(value) = headers.get(name) {
            names.extend([if names.is_empty() { "" } else { ";" }, name.as_str()]);
            text.extend([name.as_str(), ":", value.to_str().unwrap_or_default(), "\n"]);
        }
    }
    text.extend(["\n", &names, "\n", &hash(request.body())]);
    (names, hash(text.as_bytes()))
}

/// In hexadecimal digits.
fn hash(bytes: &[u8]) -> String {
    let digit = |four: u8| b"0123456789abcdef"[usize::from(four)];
    let mut digits = [0; HASH_CHARS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(Sha256::digest(bytes)) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    String::from_utf8_lossy(&digits).into_owned()
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// All headers that a usual request has, in the order in which they are signed.
const SIGNED: [HeaderName; 5] = [CONTENT_TYPE, HOST, DATE, TOKEN, TARGET];

/// Of a date, its day.
const DAY_CHARS: usize = 8;

const HASH_CHARS: usize = 64;

/// Of the names of all headers.
const NAMES_CHARS: usize = 72;

/// Of what is signed, without a token: mostly a host, two hundred otherwise.
const TEXT_CHARS: usize = 512;

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Bytes> {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Bytes::copy_from_slice(body);
        request.body(body).expect("a request")
    }

    /// By a signer, and by the library.
    fn signed(
        signer: &Signer,
        request: &Request<Bytes>,
        credentials: &Credentials,
        time: Timestamp,
    ) -> [HeaderMap; 2] {
        let [mut ours, mut theirs] = [(); 2].map(|()| request.clone());
        signer.sign(&mut ours, credentials, time).expect("signed");
        let by_library = sign(
            &mut theirs,
            credentials,
            &signer.region,
            signer.service,
            time,
        );
        by_library.expect("signed");
        [ours, theirs].map(|request| request.headers().clone())
    }

    proptest! {
        #[test]
        fn a_usual_request_gets_the_signature_of_the_library(
            (host, target) in ("[a-z.-]{1,40}", "[A-Za-z0-9_.]{1,40}"),
            (id, secret, token) in ("[A-Z0-9]{1,20}", "[ -~]{0,60}", prop::option::of("[!-~]{1,2000}")),
            body in prop::collection::vec(any::<u8>(), 0..300),
            millis in 0..253_402_300_800_000_i64,
        ) {
            let headers = [
                ("host", &*host),
                ("x-amz-target", &*target),
                ("content-type", "application/x-amz-json-1.1"),
            ];
            let request = request("https://kinesis.us-east-1.amazonaws.com", &headers, &body);
            prop_assert!(is_usual(&request));
            let mut credentials = Credentials::new(id, secret);
            if let Some(token) = token {
                credentials = credentials.with_session_token(token);
            }
            let signer = Signer::new("us-east-1", "kinesis");
            let time = Timestamp::from_millis(millis);
            let [ours, theirs] = signed(&signer, &request, &credentials, time);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_library() {
        let (host, kind) = (("host", "aws"), ("content-type", "x"));
        for (uri, headers) in [
            ("http://aws/a", &[host, kind][..]),
            ("http://aws/?b=1&a", &[host, kind]),
            ("http://aws/", &[kind]),
            ("http://aws/", &[host, ("content-type", "a  b ")]),
            ("http://aws/", &[host, ("x-amz-target", "é")]),
            ("http://aws/", &[host, ("user-agent", "x")]),
            ("http://aws/", &[host, kind, kind]),
        ] {
            let request = request(uri, headers, b"{}");
            assert!(!is_usual(&request), "{uri} {headers:?}");
        }
        let credentials = Credentials::new("AKID", "secret");
        let signer = Signer::new("us-east-1", "kinesis");
        let time = Timestamp::from_millis(1_440_938_160_000);
        let odd = [host, ("x-amz-target", "a  b")];
        let [ours, theirs] = signed(
            &signer,
            &request("http://aws/%20/?b=1&a", &odd, b""),
            &credentials,
            time,
        );
        assert_eq!(ours, theirs);
        assert!(ours.contains_key("authorization"));
        for token in ["é", " a  b ", ""] {
            let credentials = credentials.clone().with_session_token(token);
            let [ours, theirs] = signed(
                &signer,
                &request("http://aws", &[host], b"{}"),
                &credentials,
                time,
            );
            assert_eq!(ours, theirs, "{token:?}");
        }
    }

    #[test]
    fn a_key_is_kept_for_its_day_and_its_credentials() {
        let signer = Signer::new("us-east-1", "kinesis");
        let request = request("http://aws", &[("host", "aws")], b"{}");
        let one = Credentials::new("AKID", "secret");
        let other = Credentials::new("AKID", "other");
        let day = 86_400_000;
        for (credentials, millis) in [
            (&one, day - 1),
            (&one, day),
            (&other, day),
            (&other, day + 5_000),
            (&one, 9 * day),
            (&one, day),
        ] {
            let time = Timestamp::from_millis(millis);
            let [ours, theirs] = signed(&signer, &request, credentials, time);
            assert_eq!(ours, theirs, "{credentials:?} {millis}");
        }
    }

    #[test]
    fn a_year_has_four_digits() {
        let date = |millis| date(Timestamp::from_millis(millis));
        assert_eq!(date(1_440_938_160_999).as_deref(), Some("20150830T123600Z"));
        assert_eq!(date(-5).as_deref(), Some("19700101T000000Z"));
        assert_eq!(date(253_402_300_800_000), None);
        assert_eq!(date(i64::MAX), None);
    }
}
