//! Credentials over real sockets: what metadata servers and STS are documented to do, and worse.

mod server;

use std::time::{Duration, Instant};

use kinesis_blocking::credentials::{Cached, Container, Imds};
use kinesis_blocking::{CredentialsProvider, Error, ErrorKind};

use server::{Asked, Reply, Server};

const DOCUMENT: &str = r#"{"Code":"Success","LastUpdated":"2026-11-22T19:34:15Z","Type":"AWS-HMAC",
    "AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"hidden","Token":"t","Expiration":"2126-11-22T20:34:15Z"}"#;

const SHORT: Duration = Duration::from_millis(150);

/// An instance's metadata service that takes each token for `uses` requests.
fn strict_imds(uses: u32) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    let (mut tokens, mut left) = (0, 0);
    move |asked| {
        let answer = |status, body: &str| Reply::Answer(status, body.to_owned());
        if asked.line == "PUT /latest/api/token" {
            let ttl = asked.header("x-aws-ec2-metadata-token-ttl-seconds");
            let ttl = ttl.and_then(|ttl| ttl.parse().ok());
            return match ttl {
                Some(1..=21_600) => {
                    (tokens, left) = (tokens + 1, uses);
                    answer(200, &format!("token-{tokens}=="))
                }
                _ => answer(400, ""),
            };
        }
        let is_known =
            asked.header("x-aws-ec2-metadata-token") == Some(&format!("token-{tokens}=="));
        if !is_known || left == 0 {
            return answer(401, "");
        }
        left -= 1;
        match asked.line.as_str() {
            "GET /latest/meta-data/iam/security-credentials/" => answer(200, "reader"),
            "GET /latest/meta-data/iam/security-credentials/reader" => answer(200, DOCUMENT),
            _ => answer(404, ""),
        }
    }
}

fn lack(error: &Error) -> &str {
    let ErrorKind::Credentials { tried, .. } = error.kind() else {
        panic!("{error}");
    };
    &tried[0].1
}

#[test]
fn an_instance_gives_its_roles_credentials_for_a_token() {
    let server = Server::start(strict_imds(2));
    let imds = Imds::new().endpoint(&server.url);
    let credentials = imds.credentials().expect("some");
    assert_eq!(credentials.access_key_id(), "ASIAEXAMPLE");
    assert!(credentials.expires_at().is_some());
    assert_eq!(
        server.lines(),
        [
            "PUT /latest/api/token",
            "GET /latest/meta-data/iam/security-credentials/",
            "GET /latest/meta-data/iam/security-credentials/reader",
        ]
    );
}

#[test]
fn a_token_that_runs_out_on_the_way_is_replaced_once() {
    let server = Server::start(strict_imds(1));
    let error = Imds::new()
        .endpoint(&server.url)
        .credentials()
        .expect_err("one use is not enough");
    assert_eq!(lack(&error), "HTTP status 401: the token is not taken");
    assert_eq!(server.lines().len(), 6);
}

#[test]
fn a_service_that_hangs_is_given_up_in_time() {
    let server = Server::start(|_| Reply::Hang);
    let started = Instant::now();
    let error = Imds::new()
        .endpoint(&server.url)
        .timeout(SHORT)
        .credentials()
        .expect_err("no answer");
    assert_eq!(
        lack(&error),
        format!("{}: no answer within 0.1 s", server.url)
    );
    let attempts = server.lines().len() as u32;
    assert_eq!(attempts, 3);
    assert!(started.elapsed() >= attempts * SHORT);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn noise_and_pages_of_others_are_no_credentials() {
    let server = Server::start(|_| Reply::Noise);
    let error = Imds::new().endpoint(&server.url).credentials();
    let error = error.expect_err("noise");
    assert!(lack(&error).contains("the connection failed"), "{error}");

    let server = Server::start(|_| Reply::Answer(200, "<html>hidden</html>".to_owned()));
    let error = Imds::new().endpoint(&server.url).credentials();
    let error = error.expect_err("a page");
    assert_eq!(
        lack(&error),
        "list of roles is malformed: it has no line that names a role"
    );
    let error = Container::new().uri(&server.url).credentials();
    let error = error.expect_err("a page");
    assert_eq!(
        lack(&error),
        "credentials document is malformed: it is no JSON object, line 1 column 1"
    );
}

#[test]
fn nobody_there_is_told_as_such() {
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let error = Imds::new()
        .endpoint(&url)
        .credentials()
        .expect_err("nobody");
    assert!(lack(&error).starts_with(&format!("{url}: cannot connect:")));
    assert!(!error.is_retryable());
    let error = Container::new()
        .uri(&url)
        .credentials()
        .expect_err("nobody");
    assert!(error.is_retryable(), "a container is set up: {error}");
}

#[test]
fn a_container_is_asked_until_it_has_time() {
    let mut busy = 2;
    let server = Server::start(move |_| {
        busy -= 1;
        match busy {
            0.. => Reply::Answer(503, String::new()),
            _ => Reply::Answer(200, DOCUMENT.to_owned()),
        }
    });
    let container = Container::new().uri(format!("{}/v2/credentials/1", server.url));
    assert_eq!(
        container.credentials().expect("some").access_key_id(),
        "ASIAEXAMPLE"
    );
    assert_eq!(server.lines(), ["GET /v2/credentials/1"; 3]);
}

#[test]
fn many_threads_ask_once() {
    let server = Server::start(|_| Reply::Answer(200, DOCUMENT.to_owned()));
    let cached = Cached::new(Container::new().uri(&server.url));
    std::thread::scope(|scope| {
        let threads = [(); 20].map(|()| scope.spawn(|| cached.credentials().is_ok()));
        assert!(
            threads
                .map(|thread| thread.join().expect("no panic"))
                .iter()
                .all(|ok| *ok)
        );
    });
    assert_eq!(server.lines().len(), 1);
}

#[cfg(feature = "sts")]
mod sts {
    use super::*;
    use kinesis_blocking::Credentials;
    use kinesis_blocking::credentials::{AssumeRole, Profile, WebIdentity};

    fn answered(id: &str) -> Reply {
        let text = format!(
            r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
            <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey><SessionToken>t</SessionToken>
            <Expiration>2126-11-22T20:34:15Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"#
        );
        Reply::Answer(200, text)
    }

    #[test]
    fn a_role_is_taken_on_with_a_signed_form() {
        let server = Server::start(|_| answered("ASIAROLE"));
        let role = AssumeRole::new("arn:r", Credentials::new("AKID", "hidden"))
            .session_name("n")
            .region("eu-west-1")
            .sts_endpoint(&server.url);
        assert_eq!(
            role.credentials().expect("some").access_key_id(),
            "ASIAROLE"
        );
        let asked = server.asked.lock().expect("sound").remove(0);
        assert_eq!(asked.line, "POST /");
        assert_eq!(
            asked.body,
            "Version=2011-06-15&Action=AssumeRole&RoleArn=arn%3Ar&RoleSessionName=n"
        );
        assert_eq!(
            asked.header("content-type"),
            Some("application/x-www-form-urlencoded")
        );
        let signature = asked.header("authorization").expect("signed");
        assert!(
            signature.contains(
                "/eu-west-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date,"
            )
        );
    }

    #[test]
    fn files_of_profiles_and_tokens_are_read_when_they_are_needed() {
        let server = Server::start(|_| answered("ASIAWEB"));
        let folder = tempfile::tempdir().expect("a folder");
        let (token, file) = (folder.path().join("token"), folder.path().join("file"));
        let web = WebIdentity::new()
            .token_file(&token)
            .role_arn("arn:r")
            .sts_endpoint(&server.url);
        let error = web.credentials().expect_err("no token yet");
        assert!(lack(&error).starts_with("web identity token is malformed: "));
        std::fs::write(&token, "jwt\n").expect("written");
        assert_eq!(web.credentials().expect("some").access_key_id(), "ASIAWEB");

        let profile = Profile::new("dev")
            .file(&file)
            .config_file(folder.path().join("none"));
        assert!(profile.credentials().is_err());
        std::fs::write(&file, "[dev]\naws_access_key_id=A\naws_secret_access_key=s")
            .expect("written");
        assert_eq!(profile.credentials().expect("some").access_key_id(), "A");
        std::fs::write(&file, "[dev]\naws_access_key_id=B\naws_secret_access_key=s")
            .expect("written");
        assert_eq!(profile.credentials().expect("some").access_key_id(), "B");
    }
}
