//! The log of a whole process that speaks over sockets: no secret at `debug` or above from any crate,
//! none at `trace` from this one, and one warning if the HTTP crate prints them at `trace`.
//!
//! Each way to credentials is a process of its own, as the environment names it: this program starts
//! itself, and reads the log that comes back.

#[expect(dead_code, reason = "the tests of credentials use more of it")]
#[path = "credentials/server.rs"]
mod server;

use std::fs;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use kinesis_blocking::fake::{FakeKinesis, FakeServer};
use kinesis_blocking::{
    Client, CloudWatch, Consumer, ConsumerConfig, Producer, Result, StartPosition, UserRecord,
};
use log::{LevelFilter, Log, Metadata, Record};

use server::{Asked, Reply, Server};

// Letters and digits only: the rows that ureq-proto prints show these as they are.
const SECRET_KEY: &str = "SecretKeySecretKeySecretKey0001";
const SESSION_TOKEN: &str = "SessionTokenSessionTokenSession0002";
const CONTAINER_TOKEN: &str = "ContainerTokenContainerToken0003";
const METADATA_TOKEN: &str = "MetadataTokenMetadataToken0004";
const WEB_TOKEN: &str = "WebIdentityTokenWebIdentityToken0005";
const PASSWORD: &str = "PasswordPasswordPassword0006";
const EXTERNAL_ID: &str = "ExternalIdExternalIdExternalId0007";
const DATA: &str = "DataOfARecordDataOfARecord0008ab";
const KEY: &str = "PartitionKeyOfSomebody0009";
/// Who knows the path of a container's credentials has them.
const PATH: &str = "PathOfTheContainer0010";

fn secrets() -> [String; 10] {
    let data = BASE64_STANDARD.encode(DATA);
    [
        SECRET_KEY,
        SESSION_TOKEN,
        CONTAINER_TOKEN,
        METADATA_TOKEN,
        WEB_TOKEN,
        PASSWORD,
        EXTERNAL_ID,
        DATA,
        data.trim_end_matches('='),
        KEY,
    ]
    .map(str::to_owned)
}

/// STS, a container's endpoint, an instance's metadata, CloudWatch and a proxy that refuses.
fn services() -> Server {
    Server::start(|asked: &Asked| {
        let (status, body) = match asked.line.as_str() {
            "PUT /latest/api/token" => (200, METADATA_TOKEN.to_owned()),
            "GET /latest/meta-data/iam/security-credentials/" => (200, "reader".to_owned()),
            line if line.starts_with("GET /") => (200, document()),
            "POST /" if asked.body.contains("PutMetricData") => (200, String::new()),
            "POST /" => (200, sts_answer()),
            _ => (407, "proxy says no".to_owned()),
        };
        Reply::Answer(status, body)
    })
}

fn document() -> String {
    format!(
        r#"{{"Code":"Success","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"{SECRET_KEY}",
            "Token":"{SESSION_TOKEN}","Expiration":"2126-11-22T20:34:15Z"}}"#
    )
}

fn sts_answer() -> String {
    format!(
        "<R><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
         <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>{SESSION_TOKEN}</SessionToken>\
         <Expiration>2126-11-22T20:34:15Z</Expiration></Credentials></R>"
    )
}

/// One line of another process's log.
struct Line {
    level: String,
    target: String,
    text: String,
}

/// Everything the process of a scenario logged and printed.
fn log_of(level: LevelFilter, variables: &[(&str, &str)]) -> Vec<Line> {
    let this = std::env::current_exe().expect("this test's path");
    let mut command = Command::new(this);
    command
        .args(["--exact", "a_process", "--ignored", "--nocapture"])
        .env_clear()
        .env("LEVEL", level.as_str())
        .env("AWS_REGION", "us-east-1")
        .envs(variables.iter().copied());
    let output = command.output().expect("started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{told}");
    let line = |line: &str| {
        let mut fields = line.splitn(4, '\t').skip(1).map(str::to_owned);
        Some(Line {
            level: fields.next()?,
            target: fields.next()?,
            text: fields.next()?,
        })
    };
    let logged = text.lines().filter(|line| line.starts_with("LOG\t"));
    logged.filter_map(line).collect()
}

/// What the rows of `ureq-proto` show, row after row.
fn rows(lines: &[Line]) -> String {
    let rows = lines
        .iter()
        .filter(|line| line.target == "ureq_proto::util");
    rows.filter_map(|line| line.text.get(line.text.len().checked_sub(16)?..))
        .collect()
}

fn expect_no_secret(what: &str, lines: &[Line]) {
    for line in lines {
        let is_ours = line.target.starts_with("kinesis_blocking");
        if !is_ours && line.level == "TRACE" {
            continue;
        }
        for secret in secrets() {
            let Line {
                level,
                target,
                text,
            } = line;
            assert!(
                !text.contains(&secret),
                "{what}: {secret} in {level} {target}: {text}"
            );
        }
    }
}

fn warnings(lines: &[Line]) -> usize {
    let ours = |line: &&Line| {
        line.level == "WARN" && line.text.contains("shows secret keys, tokens and the data")
    };
    lines.iter().filter(ours).count()
}

#[test]
fn no_way_to_credentials_leaves_a_secret_in_the_log() {
    let (kinesis, services) = (kinesis(), services());
    let folder = tempfile::tempdir().expect("a folder");
    let token_file = folder.path().join("token");
    fs::write(&token_file, WEB_TOKEN).expect("written");
    let token_file = token_file.to_str().expect("UTF-8");
    let profiles = folder.path().join("config");
    let profile = format!(
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = source\n\
         external_id = {EXTERNAL_ID}\n[profile source]\naws_access_key_id = AKIDEXAMPLE\n\
         aws_secret_access_key = {SECRET_KEY}\n"
    );
    fs::write(&profiles, profile).expect("written");
    let profiles = profiles.to_str().expect("UTF-8");
    let container = format!("{}/v2/{PATH}", services.url);
    let endpoint = ("AWS_ENDPOINT_URL_KINESIS", kinesis.endpoint());
    let sts = ("AWS_ENDPOINT_URL_STS", services.url.as_str());
    let container = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str());
    let container_token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", CONTAINER_TOKEN);
    // What the rows of ureq-proto show at trace, so that the test does not look for what is never sent.
    // They have the heads of requests, and the heads and bodies of answers.
    for (what, variables, sent) in [
        (
            "environment",
            vec![
                ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                ("AWS_SESSION_TOKEN", SESSION_TOKEN),
                ("CLOUDWATCH", &services.url),
            ],
            vec![SESSION_TOKEN],
        ),
        (
            "container",
            vec![container, container_token],
            vec![CONTAINER_TOKEN, SECRET_KEY, SESSION_TOKEN, PATH],
        ),
        (
            "instance",
            vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", &services.url)],
            vec![METADATA_TOKEN, SECRET_KEY, SESSION_TOKEN],
        ),
        (
            "web identity",
            vec![
                sts,
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file),
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r"),
            ],
            vec![SECRET_KEY, SESSION_TOKEN],
        ),
        (
            "assumed role",
            vec![sts, ("AWS_CONFIG_FILE", profiles)],
            vec![SECRET_KEY, SESSION_TOKEN],
        ),
    ] {
        let variables = [&variables[..], &[endpoint]].concat();
        let lines = log_of(LevelFilter::Trace, &variables);
        expect_no_secret(what, &lines);
        assert_eq!(
            warnings(&lines),
            1,
            "{what}: one warning, at the first call"
        );
        let rows = rows(&lines);
        let data = BASE64_STANDARD.encode(DATA);
        for secret in sent.into_iter().chain([KEY, data.trim_end_matches('=')]) {
            assert!(rows.contains(secret), "{what}: {secret} was never sent");
        }

        let lines = log_of(LevelFilter::Debug, &variables);
        expect_no_secret(what, &lines);
        assert!(lines.iter().all(|line| !line.text.contains(PATH)), "{what}");
        assert_eq!(warnings(&lines), 0, "{what}: nothing is printed at debug");
        let is_of_ureq = |line: &Line| line.target.starts_with("ureq");
        assert!(lines.iter().any(is_of_ureq), "{what}: others log as well");
    }
}

#[test]
fn passwords_in_urls_are_in_no_message() {
    let (kinesis, services) = (kinesis(), services());
    let (_, address) = services.url.split_once("://").expect("a URL");
    let url = format!("http://somebody:{PASSWORD}@{address}");
    let user = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    let endpoint = ("AWS_ENDPOINT_URL_KINESIS", kinesis.endpoint());
    for (what, variables, said) in [
        (
            "endpoint",
            vec![("AWS_ENDPOINT_URL_KINESIS", url.as_str())],
            "***@",
        ),
        (
            "proxy",
            // Nothing of this machine is asked through a proxy.
            vec![
                ("ALL_PROXY", &url),
                ("AWS_ENDPOINT_URL_KINESIS", "http://kinesis.example"),
            ],
            "through the proxy 127.0.0.1:",
        ),
        (
            "STS",
            vec![("AWS_ENDPOINT_URL_STS", &url), endpoint],
            "***@",
        ),
        ("CloudWatch", vec![("CLOUDWATCH", &url), endpoint], "***@"),
        (
            "instance",
            vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url), endpoint],
            "***@",
        ),
        (
            "container",
            vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url), endpoint],
            "***@",
        ),
    ] {
        let needs_user = !matches!(what, "instance" | "container" | "STS");
        let mut variables = variables;
        if needs_user {
            variables.extend(user);
        }
        if what == "STS" {
            variables.push(("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r"));
            variables.push(("AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null"));
        }
        let lines = log_of(LevelFilter::Debug, &variables);
        expect_no_secret(what, &lines);
        let is_said = lines.iter().any(|line| line.text.contains(said));
        let texts = lines.iter().map(|line| line.text.as_str());
        assert!(is_said, "{what}: {:#?}", texts.collect::<Vec<_>>());
    }
}

fn kinesis() -> FakeServer {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    kinesis.serve().expect("a socket")
}

// ── in the process that is started ─────────────────────────────────────────────────────────────

struct Printing;

impl Log for Printing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string().replace('\n', "\\n");
        println!("LOG\t{}\t{}\t{text}", record.level(), record.target());
    }

    fn flush(&self) {}
}

#[test]
#[ignore = "started by the others, each in an environment of its own"]
fn a_process() {
    let level = std::env::var("LEVEL").expect("set by the others");
    log::set_logger(&Printing).expect("the only logger");
    log::set_max_level(level.parse().expect("a level"));
    if let Err(error) = put_and_read() {
        // As a program would print it.
        log::error!(target: "program", "{error} {error:?}");
    }
}

fn put_and_read() -> Result<()> {
    let builder = Client::builder();
    log::info!(target: "program", "{builder:?}");
    let client = builder.build()?;
    let mut producer = Producer::builder(client.clone()).stream("orders");
    if let Ok(url) = std::env::var("CLOUDWATCH") {
        producer = producer.cloudwatch(CloudWatch::new().endpoint(url));
    }
    log::info!(target: "program", "{client:?} {producer:?}");
    let producer = producer.start()?;
    let record = UserRecord::new(KEY, DATA);
    log::info!(target: "program", "{record:?}");
    let delivery = producer.put(record).map_err(|error| error.error)?;
    log::info!(target: "program", "{delivery:?}");
    let result = delivery.wait();
    log::info!(target: "program", "{result:?}");
    producer.close()?;
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .build()?;
    let consumer = Consumer::builder(client).stream("orders").config(config);
    for record in consumer.start()? {
        log::info!(target: "program", "{:?}", record?);
    }
    Ok(())
}
