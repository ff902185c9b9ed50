//! AWS Security Token Service: the query protocol, answered in XML.
//!
//! Whether STS answers in JSON when asked to was not looked up, and the emulators
//! do not do it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response, Uri};
use roxmltree::{Document, Node};

use crate::credentials::outside::{ATTEMPTS, SERVICE_TIMEOUT};
use crate::credentials::{Outside, document};
use crate::error::{Error, Result};
use crate::http::{HttpTransport, Said, has_user};
use crate::model::endpoint;
use crate::sign::{Credentials, sign};
use crate::sys::clock::Clock;
use crate::sys::percent::push_encoded;

/// Where STS is, and how it is asked.
pub(super) struct Sts {
    pub outside: Outside,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

impl Sts {
    pub fn within(outside: Outside) -> Sts {
        Sts {
            outside,
            region: None,
            endpoint: None,
        }
    }

    pub fn transport(&mut self, transport: impl HttpTransport + 'static) {
        self.outside.service = Arc::new(transport);
    }

    /// Calls an action; unsigned where what is sent proves who is calling.
    ///
    /// # Errors
    /// `Service`, `Transport`, `Malformed`; `Config` for an endpoint that is no URL.
    pub fn call(
        &self,
        fields: &[(&str, &str)],
        signer: Option<&Credentials>,
    ) -> Result<Credentials> {
        let region = self.region.clone().or_else(|| self.outside.region());
        let url = self.url(region.as_deref())?;
        let region = region.unwrap_or_else(|| REGION_OF_GLOBAL.to_owned());
        let uri: Option<Uri> = url.parse().ok().filter(|uri| !has_user(uri));
        let uri = uri.ok_or_else(|| not_a_url(&url))?;
        let body = form(fields);
        let send = |signed_at| {
            let request = || {
                let mut request = request(&uri, body.clone())?;
                if let Some(credentials) = signer {
                    sign(&mut request, credentials, &region, "sts", signed_at)?;
                }
                Ok(request)
            };
            let patience = (ATTEMPTS, SERVICE_TIMEOUT);
            self.outside.ask(&self.outside.service, patience, request)
        };
        let clock = &self.outside.clock;
        let signed_at = clock.wall();
        let response = send(signed_at)?;
        match answer(&response) {
            Err(error) if clock.is_corrected_by(error.kind(), response.headers(), signed_at) => {
                answer(&send(clock.wall())?)
            }
            outcome => outcome,
        }
    }

    fn url(&self, region: Option<&str>) -> Result<String> {
        if let Some(url) = &self.endpoint {
            return Ok(url.clone());
        }
        let settings = self.outside.settings()?;
        Ok(match (settings.endpoint("sts")?, region) {
            (Some(url), _) => url,
            (None, Some(region)) => endpoint("sts", region, settings.variant()?),
            (None, None) => GLOBAL.to_owned(),
        })
    }

    pub fn now(&self) -> SystemTime {
        self.outside.clock.wall().into()
    }
}

fn request(uri: &Uri, body: Bytes) -> Result<Request<Bytes>> {
    let host = uri.authority().map(|authority| authority.as_str());
    let host = host.filter(|_| matches!(uri.scheme_str(), Some("http" | "https")));
    Request::post(uri)
        .header("host", host.ok_or_else(|| not_a_url(&uri.to_string()))?)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .map_err(|error| Error::malformed("request", error))
}

fn not_a_url(url: &str) -> Error {
    let expected = "a URL such as https://sts.us-east-1.amazonaws.com, without a user";
    Error::config("STS endpoint", url, expected)
}

fn form(fields: &[(&str, &str)]) -> Bytes {
    let mut body = format!("Version={VERSION}");
    for (name, value) in fields {
        body.push('&');
        body.push_str(name);
        body.push('=');
        push_encoded(&mut body, value);
    }
    body.into()
}

fn answer(response: &Response<Bytes>) -> Result<Credentials> {
    match response.status().is_success() {
        true => credentials(response.body()),
        false => Err(refusal(response.status().as_u16(), response.body())),
    }
}

/// Reads the credentials in an answer.
///
/// # Errors
/// `Malformed`, without a word of the answer: it may hold a secret.
pub(crate) fn credentials(body: &[u8]) -> Result<Credentials> {
    let malformed = |detail| Error::malformed("STS's answer", detail);
    let text = text_of(body).ok_or_else(|| malformed("it is no text of a bearable length"))?;
    let document = Document::parse(text).map_err(|_| malformed("it is no XML"))?;
    let node = named(&document, "Credentials");
    let node = node.ok_or_else(|| malformed("it has no Credentials"))?;
    let part = |name| {
        let part = node.children().find(|child| child.has_tag_name_of(name));
        part.and_then(|part| part.text())
            .map(|text| text.trim().to_owned())
    };
    let names = document::PROCESS;
    let parts = [names.id, names.secret, names.token, names.expiration];
    document::assemble(&names, parts.map(part))
}

/// Reads an answer whose status says that the call failed.
pub(crate) fn refusal(status: u16, body: &[u8]) -> Error {
    // An emulator may answer in JSON whatever it was asked in.
    if let Ok(object) = document::object(body) {
        let said = Said::of(&object);
        let (code, message) = (
            said.code.unwrap_or_default(),
            said.message.unwrap_or_default(),
        );
        return Error::service(code, message, status);
    }
    let text = text_of(body).unwrap_or_default();
    let Ok(document) = Document::parse(text) else {
        // Somebody on the way answered in STS's place; its first words say who.
        return Error::service("", text, status);
    };
    let words = |name| {
        let node = named(&document, name);
        node.and_then(|node| node.text()).unwrap_or_default().trim()
    };
    Error::service(words("Code"), words("Message"), status)
}

/// STS is named in a namespace, and emulators leave it out: names are compared without.
trait Named {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl Named for Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

fn named<'a, 'input>(document: &'a Document<'input>, name: &str) -> Option<Node<'a, 'input>> {
    document
        .descendants()
        .find(|node| node.has_tag_name_of(name))
}

fn text_of(body: &[u8]) -> Option<&str> {
    let body = (body.len() <= ANSWER_BYTES_MAX).then_some(body)?;
    std::str::from_utf8(body).ok()
}

/// The version of the API that everybody speaks.
/// Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const VERSION: &str = "2011-06-15";

/// For who has no region.
const GLOBAL: &str = "https://sts.amazonaws.com/";

/// Whose name signs for the global endpoint.
const REGION_OF_GLOBAL: &str = "us-east-1";

/// Session tokens have no stated limit; a hundred times the longest ones seen.
const ANSWER_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::{answer, outside};

    const GOOD: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/reader/x</Arn></AssumedRoleUser>
        <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>a&amp;b</SecretAccessKey>
        <SessionToken>t</SessionToken><Expiration>2026-11-22T20:34:15.041228Z</Expiration></Credentials>
        </AssumeRoleResult><ResponseMetadata><RequestId>7c1f</RequestId></ResponseMetadata></AssumeRoleResponse>"#;

    #[test]
    fn an_answer_is_read_with_and_without_its_namespace() {
        let plain = GOOD.replace(r#" xmlns="https://sts.amazonaws.com/doc/2011-06-15/""#, "");
        for text in [GOOD, &plain] {
            let read = credentials(text.as_bytes()).expect("credentials");
            let expected = Credentials::new("ASIA", "a&b").with_session_token("t");
            assert!(read.is_same(&expected) && read.expires_at().is_some());
        }
    }

    #[test]
    fn what_is_no_answer_is_told_without_its_secrets() {
        let long = format!("<a>{}</a>", "x".repeat(ANSWER_BYTES_MAX));
        for (body, wrong) in [
            ("hidden", "STS's answer is malformed: it is no XML"),
            ("<a>", "STS's answer is malformed: it is no XML"),
            (
                "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
                "STS's answer is malformed: it is no XML",
            ),
            ("<a/>", "STS's answer is malformed: it has no Credentials"),
            (
                "<a><Credentials><AccessKeyId>hidden</AccessKeyId></Credentials></a>",
                "credentials document is malformed: it has no SecretAccessKey",
            ),
            (
                &long,
                "STS's answer is malformed: it is no text of a bearable length",
            ),
        ] {
            let error = credentials(body.as_bytes()).expect_err(wrong);
            assert_eq!(error.to_string(), wrong);
        }
        assert!(credentials(b"<a>\xff</a>").is_err());
    }

    #[test]
    fn a_refusal_is_told_in_the_services_words() {
        let denied = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                      <Code>AccessDenied</Code><Message>User is not authorized</Message></Error></ErrorResponse>";
        for (status, body, told) in [
            (403, denied, "AccessDenied: User is not authorized"),
            (502, "Bad gateway\n", "HTTP status 502: Bad gateway"),
            (500, "<html/>", "HTTP status 500: "),
            (
                413,
                "",
                "HTTP status 413: ; the request is larger than the service, or a proxy before it, takes: raise the stream's largest record, or lower max_user_record_bytes and collection_max_bytes",
            ),
        ] {
            assert_eq!(refusal(status, body.as_bytes()).to_string(), told);
        }
    }

    #[test]
    fn sts_is_asked_where_it_is_said_to_be() {
        let region = ("AWS_REGION", "cn-north-1");
        let all = ("AWS_ENDPOINT_URL", "http://localhost:4566");
        let own = ("AWS_ENDPOINT_URL_STS", "http://localhost:4592/sts");
        let fips = ("AWS_USE_FIPS_ENDPOINT", "true");
        for (env, url, scope) in [
            (vec![], "https://sts.amazonaws.com/", "us-east-1"),
            (
                vec![region],
                "https://sts.cn-north-1.amazonaws.com.cn/",
                "cn-north-1",
            ),
            (
                vec![region, fips],
                "https://sts-fips.cn-north-1.amazonaws.com.cn/",
                "cn-north-1",
            ),
            (vec![all], "http://localhost:4566/", "us-east-1"),
            (
                vec![region, all, own],
                "http://localhost:4592/sts",
                "cn-north-1",
            ),
        ] {
            let (outside, canned) = outside(&env, [answer(200, GOOD)]);
            let signer = Credentials::new("AKID", "secret");
            let sts = Sts::within(outside);
            sts.call(&[("Action", "AssumeRole")], Some(&signer))
                .expect(url);
            let asked = canned.asked("authorization").remove(0);
            assert!(asked.starts_with(&format!("POST {url} AWS4-")), "{asked}");
            assert!(
                asked.contains(&format!("/{scope}/sts/aws4_request")),
                "{asked}"
            );
        }
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_a_mistake_in_the_settings() {
        for endpoint in ["localhost", "ftp://host/", "http://a b/", ""] {
            let (outside, canned) = outside(&[], []);
            let sts = Sts {
                endpoint: Some(endpoint.to_owned()),
                ..Sts::within(outside)
            };
            let error = sts.call(&[], None).expect_err(endpoint);
            let is_config = matches!(error.kind(), crate::ErrorKind::Config { .. });
            assert!(is_config, "{error}");
            assert_eq!(canned.asked("").len(), 0);
        }
    }

    #[test]
    fn a_form_is_encoded_as_everybody_decodes_it() {
        let fields = [("RoleArn", "arn:aws:iam::1:role/a b"), ("X", "ä~+=&%")];
        assert_eq!(
            form(&fields),
            "Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b&X=%C3%A4~%2B%3D%26%25"
        );
    }
}
