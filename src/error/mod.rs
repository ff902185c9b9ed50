//! The one error of the crate, and the judgement on what to do about it.

mod advice;
mod context;
mod member;
mod transport;
mod utc;
mod verdict;

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Escaping, Gap, Operation, SequenceNumber, ShardRef, Timestamp, is_misleading, without_password,
};

use context::{Subject, concerns_endpoint};

pub(crate) use context::Context;
pub use transport::TransportError;
pub(crate) use utc::Utc;
pub(crate) use verdict::Verdict;

/// What this crate's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the course of what, with what, and what to do about it.
///
/// One pointer wide and cheap to clone, because one failed PutRecords fails up to 500 Kinesis
/// records. Never holds secrets or record data.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Arc<ErrorKind>,
    context: Context,
}

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A checkpoint could not be saved or loaded.
    Checkpoint {
        /// What was being done to which file or store.
        doing: String,
        /// What the operating system, or a store of the user's, said.
        source: io::Error,
    },
    /// The consumer or producer was closed or told to stop.
    Closed,
    /// A setting is missing or is not what it has to be.
    Config {
        /// The setting.
        key: String,
        /// What it was set to; empty if it was not set.
        value: String,
        /// What it has to be.
        expected: String,
    },
    /// No place had credentials.
    Credentials {
        /// Each place that was tried, and what it lacked.
        tried: Vec<(String, String)>,
        /// The failure of the last place, if it is set up but does not work.
        cause: Option<Error>,
    },
    /// Records may be lost before they were read, and the policy on that is
    /// [`DataLoss::Fail`](crate::DataLoss::Fail).
    DataLoss {
        /// Where and why.
        gap: Gap,
        /// The service's words, if it had any.
        cause: Option<Error>,
    },
    /// A record was not stored within its time to live.
    Expired {
        /// Its time to live, the KPL's `RecordTtl`.
        ttl: Duration,
        /// The last thing that kept it from being stored.
        cause: Option<Error>,
    },
    /// A commit was refused, because another consumer has taken the store over.
    Fenced {
        /// What was taken over.
        store: String,
    },
    /// The queue limit is reached; only the calls that do not wait return this.
    Full {
        /// What is used up: records or bytes.
        limit: String,
    },
    /// A record breaks one of the service's rules.
    InvalidRecord {
        /// The rule, and how the record breaks it.
        reason: String,
    },
    /// Something that was read is not what it should be.
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// An aggregate holds user records of another shard than the one it is in, and the policy on
    /// that is [`Misplaced::Fail`](crate::Misplaced::Fail).
    Misplaced {
        /// Where the aggregate is.
        sequence_number: SequenceNumber,
        /// How many of its user records lie outside the shard.
        records: usize,
    },
    /// A shard could not be read, or a stream's shards could not be listed, for longer than the
    /// [outage timeout](crate::ConsumerConfigBuilder::outage_timeout). Nothing is lost: a restart goes on
    /// from the last commit.
    Outage {
        /// When the first of the calls that failed was made, by this machine's clock.
        since: Timestamp,
        /// What the last of them failed with.
        cause: Error,
    },
    /// The decoder refused a record, and the policy on that was to fail or to halt its shard, or the
    /// handler of dead letters failed.
    Poison {
        /// Where its Kinesis record is.
        sequence_number: SequenceNumber,
        /// Its place in its aggregate, if it came in one.
        sub_sequence_number: Option<u64>,
        /// What the decoder or the handler said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A call would wait for the thread that makes it: one of the producer's own, which calls back,
    /// logs or sends.
    OwnThread {
        /// The call, such as `flush`.
        call: &'static str,
    },
    /// A record is larger than the service takes.
    RecordTooLarge {
        /// Its size: data and partition key.
        bytes: usize,
        /// The largest size allowed.
        limit_bytes: usize,
    },
    /// The service answered with an error.
    Service {
        /// The error's name, such as `ResourceNotFoundException`.
        code: String,
        /// The service's own words.
        message: String,
        /// The HTTP status, or 200 for an entry of PutRecords.
        status: u16,
    },
    /// Several things are wrong, each an error of its own.
    Several(Vec<Error>),
    /// A thread of this crate ended without a result. A bug; the text helps to find it.
    Thread {
        /// The thread's name.
        name: String,
        /// What it said last.
        message: String,
    },
    /// The service could not be reached, or stopped talking.
    Transport(TransportError),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Error {
        Error(Arc::new(Inner {
            kind: Arc::new(kind),
            context: Context::default(),
        }))
    }

    pub(crate) fn config(
        key: &str,
        value: impl Into<String>,
        expected: impl Into<String>,
    ) -> Error {
        // Any setting may be given a URL, and any URL may hold a password.
        let value = without_password(&value.into()).into_owned();
        Error::new(ErrorKind::Config {
            key: key.to_owned(),
            value,
            expected: expected.into(),
        })
    }

    /// Makes one error of many, or none of none.
    pub(crate) fn several(mut errors: Vec<Error>) -> Option<Error> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Error::new(ErrorKind::Several(errors))),
        }
    }

    /// An error that a service answered with. Its words become lines of bounded length.
    pub(crate) fn service(code: &str, message: &str, status: u16) -> Error {
        Error::new(ErrorKind::Service {
            code: line(code, CODE_CHARS_MAX),
            message: line(message, MESSAGE_CHARS_MAX),
            status,
        })
    }

    pub(crate) fn malformed(what: &'static str, detail: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Malformed {
            what,
            detail: line(&detail.to_string(), MESSAGE_CHARS_MAX),
        })
    }

    /// For a [`CheckpointStore`](crate::CheckpointStore) of your own: it could not load or save.
    ///
    /// ```
    /// let error = kinesis_blocking::Error::store("reading the table leases", "connection refused");
    /// assert_eq!(error.to_string(), "reading the table leases: connection refused");
    /// ```
    pub fn store(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let (doing, source) = (doing.into(), io::Error::other(source));
        Error::new(ErrorKind::Checkpoint { doing, source })
    }

    /// For a [`CheckpointStore`](crate::CheckpointStore) of your own: another consumer has taken it
    /// over, so nothing was saved.
    pub fn fenced(store: impl Into<String>) -> Error {
        let store = store.into();
        Error::new(ErrorKind::Fenced { store })
    }

    /// The same error, with more said about its circumstances.
    pub(crate) fn within(mut self, change: impl FnOnce(&mut Context)) -> Error {
        change(&mut Arc::make_mut(&mut self.0).context);
        self
    }

    pub(crate) fn context(&self) -> &Context {
        &self.0.context
    }

    /// Says what went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns the call that failed, if it was one.
    pub fn operation(&self) -> Option<Operation> {
        self.0.context.operation
    }

    /// Returns the stream it concerns.
    pub fn stream(&self) -> Option<&str> {
        self.0
            .context
            .stream
            .as_deref()
            .or_else(|| self.shard().map(|shard| &*shard.stream))
    }

    /// Returns the shard it concerns.
    pub fn shard(&self) -> Option<&ShardRef> {
        self.0.context.shard.as_ref()
    }

    /// Returns the service's name for the failed request, which AWS support asks for.
    pub fn request_id(&self) -> Option<&str> {
        self.0.context.request_id.as_deref()
    }

    /// Counts the attempts that were made; 0 if no call was made.
    pub fn attempts(&self) -> u32 {
        self.0.context.attempts
    }

    /// Says whether the service asked for fewer or smaller calls.
    pub fn is_throttled(&self) -> bool {
        self.verdict() == Verdict::Throttled
    }

    /// Says whether the same call may succeed later without a change on this side.
    pub fn is_retryable(&self) -> bool {
        matches!(self.verdict(), Verdict::Retry | Verdict::Throttled)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::on(self.kind())
    }

    /// Says whether the service answered the call, with whatever error.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.kind(), ErrorKind::Service { status, .. } if *status < 500)
    }

    /// Says whether the service answered with this error.
    pub(crate) fn is_service(&self, name: &str) -> bool {
        matches!(self.kind(), ErrorKind::Service { code, .. } if code == name)
    }

    /// The error code of the service, or the name of the failure where the service said nothing.
    pub(crate) fn code(&self) -> &str {
        match self.kind() {
            ErrorKind::Service { code, .. } => code,
            ErrorKind::Expired { .. } => "Expired",
            ErrorKind::Outage { cause, .. } => cause.code(),
            ErrorKind::Transport(error) => error.code(),
            ErrorKind::Malformed { .. } => "MalformedResponse",
            _ => "Error",
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("context", &self.0.context)
            .finish()
    }
}

/// In one line, whatever the service, a file or the environment has put into it: control and
/// direction-changing characters are shown as escapes.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f = &mut Escaping(f);
        let context = &self.0.context;
        if let Some(operation) = context.operation {
            write!(f, "{operation}{}", Subject(context))?;
            let endpoint = context.endpoint.as_ref();
            if let Some(endpoint) = endpoint.filter(|_| concerns_endpoint(self.kind())) {
                write!(f, " at {endpoint}")?;
            }
            f.write_str(": ")?;
        } else if let Some(shard) = &context.shard {
            write!(f, "{shard}: ")?;
        }
        write!(f, "{}", self.kind())?;
        context.fmt_attempts(f)?;
        self.kind()
            .advice()
            .map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Checkpoint { source, .. } => Some(source),
            ErrorKind::Credentials {
                cause: Some(cause), ..
            }
            | ErrorKind::DataLoss {
                cause: Some(cause), ..
            }
            | ErrorKind::Expired {
                cause: Some(cause), ..
            }
            | ErrorKind::Outage { cause, .. } => Some(cause),
            ErrorKind::Poison { cause, .. } => Some(&**cause),
            ErrorKind::Transport(source) => Some(source),
            _ => None,
        }
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Error {
        Error::new(ErrorKind::Transport(error))
    }
}

/// Escaped, as an [`Error`] is.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f = &mut Escaping(f);
        match self {
            ErrorKind::Checkpoint { doing, source } => write!(f, "{doing}: {source}"),
            ErrorKind::Closed => f.write_str("the producer or consumer was closed"),
            ErrorKind::Config {
                key,
                value,
                expected,
            } if value.is_empty() => {
                write!(f, "{key} is not set: it has to be {expected}")
            }
            ErrorKind::Config {
                key,
                value,
                expected,
            } => write!(f, "{key}: {value:?} is not {expected}"),
            ErrorKind::Credentials { tried, .. } => {
                let tried: Vec<_> = tried
                    .iter()
                    .map(|(place, lack)| format!("{place}: {lack}"))
                    .collect();
                write!(f, "no credentials: {}", tried.join("; "))
            }
            ErrorKind::DataLoss { gap, cause } => {
                f.write_str(&gap.what())?;
                cause
                    .as_ref()
                    .map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            ErrorKind::Expired { ttl, cause } => {
                write!(
                    f,
                    "not stored within the record's time to live of {} ms",
                    ttl.as_millis()
                )?;
                cause
                    .as_ref()
                    .map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            ErrorKind::Fenced { store } => {
                write!(
                    f,
                    "nothing was saved: another consumer has taken {store} over"
                )
            }
            ErrorKind::Full { limit } => write!(f, "the queue limit of {limit} is reached"),
            ErrorKind::InvalidRecord { reason } => f.write_str(reason),
            ErrorKind::Malformed { what, detail } => write!(f, "{what} is malformed: {detail}"),
            ErrorKind::Misplaced {
                sequence_number,
                records,
            } => write!(
                f,
                "the aggregate at {sequence_number} has {records} user records of another shard"
            ),
            // What the call was about is said of the outage itself.
            ErrorKind::Outage { since, cause } => {
                write!(
                    f,
                    "no call has succeeded since {}: {}",
                    Utc(*since),
                    cause.kind()
                )
            }
            ErrorKind::Poison {
                sequence_number,
                sub_sequence_number,
                cause,
            } => {
                write!(f, "the decoder refused the record at {sequence_number}")?;
                sub_sequence_number.map_or(Ok(()), |sub| write!(f, " sub {sub}"))?;
                write!(f, ": {cause}")
            }
            ErrorKind::OwnThread { call } => write!(
                f,
                "{call} was called on a thread of a producer, in a callback or a logger, and would wait for \
                 that thread"
            ),
            ErrorKind::RecordTooLarge { bytes, limit_bytes } => {
                write!(
                    f,
                    "the record's data and partition key are {bytes} bytes, the limit is {limit_bytes}"
                )
            }
            ErrorKind::Service {
                code,
                message,
                status,
            } if code.is_empty() => {
                write!(f, "HTTP status {status}: {message}")
            }
            ErrorKind::Service { code, message, .. } if message.is_empty() => f.write_str(code),
            ErrorKind::Service { code, message, .. } => write!(f, "{code}: {message}"),
            ErrorKind::Several(errors) => {
                let each: Vec<_> = errors.iter().map(Error::to_string).collect();
                let each = each.join("; ");
                write!(f, "{} things are wrong: {each}", errors.len())
            }
            ErrorKind::Thread { name, message } => write!(f, "thread {name} died: {message}"),
            ErrorKind::Transport(error) => write!(f, "{error}"),
        }
    }
}

fn line(text: &str, chars_max: usize) -> String {
    let plain = text.chars().map(|c| if is_misleading(c) { ' ' } else { c });
    let line: String = plain.take(chars_max).collect();
    line.trim().to_owned()
}

/// Twice the longest name there is.
const CODE_CHARS_MAX: usize = 100;

/// The service's longest messages list the members that broke a rule; this holds several of them.
const MESSAGE_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::GapCause;

    fn service(code: &str, message: &str) -> Error {
        let (code, message) = (code.to_owned(), message.to_owned());
        Error::new(ErrorKind::Service {
            code,
            message,
            status: 400,
        })
    }

    #[test]
    fn an_error_is_one_pointer_wide_and_can_cross_threads() {
        fn crosses_threads<T: Send + Sync + 'static>() {}
        crosses_threads::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }

    #[test]
    fn a_message_says_what_was_done_to_what_and_what_to_do_now() {
        let error =
            service("ProvisionedThroughputExceededException", "Rate exceeded").within(|context| {
                context.operation = Some(Operation::GetRecords);
                context.shard = Some(ShardRef::new("orders", "shardId-000000000007"));
                context.request_id = Some("7c1f".to_owned());
                context.attempts = 4;
                context.elapsed = Duration::from_millis(1_900);
            });
        assert_eq!(
            error.to_string(),
            "GetRecords on stream orders, shard shardId-000000000007: ProvisionedThroughputExceededException: \
             Rate exceeded (4 attempts in 1.9 s, request 7c1f); another program may share the shard: call less \
             often, or split it"
        );
        assert_eq!(error.stream(), Some("orders"));
        assert!(error.is_throttled() && error.is_retryable());
    }

    #[test]
    fn more_context_never_changes_the_error_it_was_cloned_from() {
        let plain = service("InternalFailure", "");
        let detailed = plain.clone().within(|context| context.attempts = 1);
        assert_eq!(plain.to_string(), "InternalFailure");
        assert_eq!(detailed.to_string(), "InternalFailure (1 attempt in 0.0 s)");
    }

    #[test]
    fn a_setting_is_named_with_its_value_and_what_it_has_to_be() {
        let region = "a region such as us-east-1";
        for (value, message) in [
            (
                "",
                "region is not set: it has to be a region such as us-east-1",
            ),
            (
                "US East",
                "region: \"US East\" is not a region such as us-east-1",
            ),
        ] {
            assert_eq!(Error::config("region", value, region).to_string(), message);
        }
    }

    #[test]
    fn a_password_in_a_url_is_in_no_part_of_the_error() {
        let error = Error::config(
            "endpoint",
            "http://user:hidden@host",
            "a URL without a user",
        );
        assert_eq!(
            error.to_string(),
            "endpoint: \"http://***@host\" is not a URL without a user"
        );
        assert!(!format!("{error:?}").contains("hidden"));
    }

    /// One of each kind that holds text from outside, which is this text.
    fn holding(text: &str) -> Vec<Error> {
        let owned = || text.to_owned();
        let io = || io::Error::other(owned());
        let cause = || Error::service(text, text, 400);
        let gap = || Gap::new(ShardRef::new(text, text), GapCause::ShardVanished);
        let number = || "7".parse::<SequenceNumber>().expect("a number");
        let kinds = [
            ErrorKind::Checkpoint {
                doing: owned(),
                source: io(),
            },
            ErrorKind::Config {
                key: owned(),
                value: owned(),
                expected: owned(),
            },
            ErrorKind::Credentials {
                tried: vec![(owned(), owned())],
                cause: Some(cause()),
            },
            ErrorKind::DataLoss {
                gap: gap(),
                cause: Some(cause()),
            },
            ErrorKind::Expired {
                ttl: Duration::ZERO,
                cause: Some(cause()),
            },
            ErrorKind::Fenced { store: owned() },
            ErrorKind::Full { limit: owned() },
            ErrorKind::InvalidRecord { reason: owned() },
            ErrorKind::Malformed {
                what: "text",
                detail: owned(),
            },
            ErrorKind::Poison {
                sequence_number: number(),
                sub_sequence_number: None,
                cause: owned().into(),
            },
            ErrorKind::Service {
                code: owned(),
                message: owned(),
                status: 400,
            },
            ErrorKind::Several(vec![Error::store(text, text), Error::fenced(text)]),
            ErrorKind::Thread {
                name: owned(),
                message: owned(),
            },
            ErrorKind::Transport(TransportError::Connect(io())),
            ErrorKind::Transport(TransportError::Dns(owned())),
            ErrorKind::Transport(TransportError::Io(io())),
            ErrorKind::Transport(TransportError::Tls(owned())),
        ];
        let within = |kind| {
            Error::new(kind).within(|context| {
                context.operation = Some(Operation::GetRecords);
                context.stream = Some(text.into());
                context.shard = Some(ShardRef::new(text, text));
                context.endpoint = Some(owned());
                context.request_id = Some(owned());
                context.attempts = 1;
            })
        };
        kinds.map(within).into()
    }

    proptest! {
        #[test]
        fn no_text_from_outside_breaks_a_line_or_turns_its_direction(
            text in any::<String>(),
            evil in "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{200e}\u{200f}\u{202a}-\u{202e}\u{2066}-\u{2069}]",
        ) {
            for error in holding(&format!("{text}{evil}")) {
                let gap = Gap::new(ShardRef::new(text.as_str(), evil.as_str()), GapCause::Trimmed);
                for shown in [
                    error.to_string(),
                    error.kind().to_string(),
                    format!("{error:?}"),
                    gap.to_string(),
                ] {
                    prop_assert!(!shown.contains(is_misleading), "{shown:?}");
                }
                if let ErrorKind::Transport(error) = error.kind() {
                    prop_assert!(!error.to_string().contains(is_misleading));
                }
            }
        }
    }
}
