use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde::Deserialize;

use crate::fake::check;
use crate::fake::fault::Fault;
use crate::fake::shard::shard_name;
use crate::fake::token;
use crate::sys::lock::lock;
use crate::sys::rng::Rng;

/// What is to happen to the calls of one operation, from [`FakeKinesis::on`](crate::fake::FakeKinesis::on).
///
/// Faults are used up in the order they were scripted, one a call, and each for as many calls as it
/// was given; delays add to each other and to faults. What [`stream`](Script::stream),
/// [`shard`](Script::shard) and [`after`](Script::after) say holds for what is scripted behind them.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::Operation;
/// use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
/// use kinesis_blocking::Timestamp;
///
/// let clock = VirtualClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
/// clock.auto_advance(1);
/// let fake = FakeKinesis::on_clock(clock).with_stream("orders", 2);
/// fake.on(Operation::ListShards)
///     .fail_next(2, Fault::Throttle)
///     .fail_next(1, Fault::Disconnect);
///
/// // The client tries again, and waits on the clock that moves by itself.
/// assert_eq!(fake.client().list_shards("orders")?.len(), 2);
/// assert_eq!(fake.calls(Operation::ListShards), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Script<'a> {
    rules: &'a Rules,
    operation: &'static str,
    stream: Option<String>,
    shard: Option<String>,
    skip: u64,
}

/// Everything that is scripted, in order.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Vec<Rule>>);

#[derive(Debug)]
struct Rule {
    operation: &'static str,
    stream: Option<String>,
    shard: Option<String>,
    /// Calls to let pass first.
    skip: u64,
    /// Calls to act on; `None` for all.
    left: Option<u64>,
    action: Action,
}

enum Action {
    Delay(Duration),
    Fail(Fault),
    FailAtRandom {
        rng: Rng,
        share: f64,
        faults: Vec<Fault>,
    },
    Observe(Arc<Observer>),
}

/// A look at requests as they come in.
pub(super) type Observer = dyn Fn(&Request<Bytes>) + Send + Sync;

/// What the scripts have to say about one call.
#[derive(Default)]
pub(super) struct Scripted {
    pub fault: Option<Fault>,
    /// The shard the fault is limited to.
    pub shard: Option<String>,
    pub delay: Duration,
    pub observers: Vec<Arc<Observer>>,
}

impl<'a> Script<'a> {
    pub(super) fn new(rules: &'a Rules, operation: &'static str) -> Script<'a> {
        Script {
            rules,
            operation,
            stream: None,
            shard: None,
            skip: 0,
        }
    }

    /// Looks at calls on this stream only.
    pub fn stream(mut self, stream: &str) -> Script<'a> {
        self.stream = Some(stream.to_owned());
        self
    }

    /// Looks at calls on this shard only.
    ///
    /// Of PutRecords at the entries that belong there: what the service would refuse the call with,
    /// it fails those entries with.
    pub fn shard(mut self, shard_id: &str) -> Script<'a> {
        self.shard = Some(shard_id.to_owned());
        self
    }

    /// Lets so many calls pass first.
    pub fn after(mut self, calls: u64) -> Script<'a> {
        self.skip = calls;
        self
    }

    /// Lets so many calls go wrong.
    pub fn fail_next(self, calls: u64, fault: Fault) -> Script<'a> {
        self.add(Some(calls), Action::Fail(fault))
    }

    /// Lets calls go wrong by chance, for good: a `share` from 0 to 1 of them, by one of `faults`.
    ///
    /// The same seed gives the same faults to the same calls.
    pub fn fail_at_random(
        self,
        seed: u64,
        share: f64,
        faults: impl Into<Vec<Fault>>,
    ) -> Script<'a> {
        let (rng, faults) = (Rng::from_seed(seed).fork(self.operation), faults.into());
        self.add(None, Action::FailAtRandom { rng, share, faults })
    }

    /// Lets so many answers come late by this time, which passes on the fake's clock.
    ///
    /// The call is carried out at once, so a caller that gives up before has done what it asked for.
    pub fn delay_next(self, calls: u64, by: Duration) -> Script<'a> {
        self.add(Some(calls), Action::Delay(by))
    }

    /// Shows every request to `look` before anything is done about it, on the thread that serves it.
    pub fn observe(self, look: impl Fn(&Request<Bytes>) + Send + Sync + 'static) -> Script<'a> {
        self.add(None, Action::Observe(Arc::new(look)))
    }

    fn add(self, left: Option<u64>, action: Action) -> Script<'a> {
        lock(&self.rules.0).push(Rule {
            operation: self.operation,
            stream: self.stream.clone(),
            shard: self.shard.clone(),
            skip: self.skip,
            left,
            action,
        });
        self
    }
}

impl Rules {
    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Uses up what is scripted for a call.
    pub fn on_call(&self, operation: &str, body: &[u8]) -> Scripted {
        let mut rules = lock(&self.0);
        let mut scripted = Scripted::default();
        let mut of_operation = rules
            .iter_mut()
            .filter(|rule| rule.operation == operation)
            .peekable();
        if of_operation.peek().is_none() {
            return scripted;
        }
        let subject = Subject::of(body);
        for rule in of_operation {
            if rule.is_about(&subject) {
                rule.act(&mut scripted);
            }
        }
        rules.retain(|rule| rule.left != Some(0));
        scripted
    }
}

impl Rule {
    fn is_about(&self, subject: &Subject) -> bool {
        let stream = self.stream.is_none() || self.stream == subject.stream;
        let shard = self.shard.is_none() || self.shard == subject.shard || self.by_entry();
        stream && shard
    }

    /// A call of PutRecords is about many shards, each of its entries about one.
    fn by_entry(&self) -> bool {
        self.operation == "PutRecords" && self.shard.is_some()
    }

    fn act(&mut self, scripted: &mut Scripted) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let fault = match &mut self.action {
            Action::Observe(observer) => return scripted.observers.push(observer.clone()),
            Action::Delay(by) => {
                scripted.delay += *by;
                self.left = self.left.map(|left| left.saturating_sub(1));
                return;
            }
            // One fault a call; the next one waits for the next call.
            _ if scripted.fault.is_some() => return,
            Action::Fail(fault) => Some(fault.clone()),
            Action::FailAtRandom { rng, share, faults } => drawn(rng, *share, faults),
        };
        if fault.is_some() {
            self.left = self.left.map(|left| left.saturating_sub(1));
            scripted.shard = self.shard.clone();
            scripted.fault = match self.by_entry() {
                true => fault.map(Fault::by_entry),
                false => fault,
            };
        }
    }
}

fn drawn(rng: &mut Rng, share: f64, faults: &[Fault]) -> Option<Fault> {
    let (hit, which) = (rng.next_f64() < share, rng.next_u64());
    let count = u64::try_from(faults.len())
        .ok()
        .filter(|count| *count > 0)?;
    let which = usize::try_from(which % count).ok()?;
    faults.get(which).filter(|_| hit).cloned()
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Delay(by) => f.debug_tuple("Delay").field(by).finish(),
            Action::Fail(fault) => f.debug_tuple("Fail").field(fault).finish(),
            Action::FailAtRandom { share, faults, .. } => f
                .debug_tuple("FailAtRandom")
                .field(share)
                .field(faults)
                .finish(),
            Action::Observe(_) => f.write_str("Observe"),
        }
    }
}

/// What a request is about, as far as its body says so.
#[derive(Default)]
struct Subject {
    stream: Option<String>,
    shard: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Members {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(alias = "ShardToMerge", alias = "ShardToSplit")]
    shard_id: Option<String>,
    shard_iterator: Option<String>,
    next_token: Option<String>,
}

impl Subject {
    fn of(body: &[u8]) -> Subject {
        let Ok(members) = serde_json::from_slice::<Members>(body) else {
            return Subject::default();
        };
        if let Some(iterator) = members.shard_iterator.and_then(|text| token::peek(&text)) {
            return Subject {
                stream: Some(iterator.stream),
                shard: Some(shard_name(iterator.shard)),
            };
        }
        let page = members.next_token.and_then(|text| token::peek_page(&text));
        Subject {
            stream: page
                .map(|page| page.stream)
                .or_else(|| check::stream_name(members.stream_name, members.stream_arn).ok()),
            shard: members.shard_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &Rules, operation: &str, calls: usize) -> Vec<Option<Fault>> {
        (0..calls)
            .map(|_| rules.on_call(operation, b"{}").fault)
            .collect()
    }

    #[test]
    fn faults_are_used_up_in_their_order() {
        let rules = Rules::default();
        Script::new(&rules, "GetRecords")
            .fail_next(2, Fault::Throttle)
            .fail_next(1, Fault::Hang)
            .after(1)
            .fail_next(1, Fault::Garbage);
        assert_eq!(faults(&rules, "PutRecords", 1), [None]);
        assert_eq!(
            faults(&rules, "GetRecords", 6),
            [
                Some(Fault::Throttle),
                Some(Fault::Throttle),
                Some(Fault::Hang),
                Some(Fault::Garbage),
                None,
                None
            ]
        );
    }

    #[test]
    fn a_rule_is_about_the_stream_and_shard_it_names() {
        let rules = Rules::default();
        Script::new(&rules, "GetShardIterator")
            .stream("orders")
            .shard("shardId-000000000001")
            .fail_next(9, Fault::Throttle);
        for (body, hit) in [
            (
                r#"{"StreamName":"orders","ShardId":"shardId-000000000001"}"#,
                true,
            ),
            (
                r#"{"StreamName":"orders","ShardId":"shardId-000000000000"}"#,
                false,
            ),
            (
                r#"{"StreamName":"other","ShardId":"shardId-000000000001"}"#,
                false,
            ),
            (
                r#"{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/orders","ShardId":"shardId-000000000001"}"#,
                true,
            ),
            ("{}", false),
            ("garbage", false),
        ] {
            let fault = rules.on_call("GetShardIterator", body.as_bytes()).fault;
            assert_eq!(fault.is_some(), hit, "{body}");
        }
    }

    #[test]
    fn delays_add_up_beside_a_fault() {
        let rules = Rules::default();
        Script::new(&rules, "GetRecords")
            .delay_next(2, Duration::from_secs(1))
            .delay_next(1, Duration::from_secs(2))
            .fail_next(1, Fault::Throttle);
        let delays: Vec<_> = (0..3)
            .map(|_| rules.on_call("GetRecords", b"{}"))
            .map(|scripted| (scripted.delay.as_secs(), scripted.fault.is_some()))
            .collect();
        assert_eq!(delays, [(3, true), (1, false), (0, false)]);
    }

    #[test]
    fn chance_follows_its_seed_and_its_share() {
        let drawn = |seed| {
            let rules = Rules::default();
            Script::new(&rules, "GetRecords").fail_at_random(
                seed,
                0.3,
                [Fault::Throttle, Fault::Disconnect],
            );
            faults(&rules, "GetRecords", 10_000)
        };
        let (one, again, other) = (drawn(1), drawn(1), drawn(2));
        assert_eq!(one, again);
        assert_ne!(one, other);
        for fault in [Fault::Throttle, Fault::Disconnect] {
            let hits = one.iter().flatten().filter(|hit| **hit == fault).count();
            assert!((1_350..1_650).contains(&hits), "{fault:?}: {hits}");
        }
    }
}
