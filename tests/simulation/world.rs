//! A stream, and what may happen to it.

use std::time::Duration;

use fastrand::Rng;
use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    Client, ErrorKind, HashKey, HashKeyRange, Operation, Shard, ShardRef, Timestamp,
};

use crate::everywhere::watchdog;
use crate::quiet::Flow;

pub const STREAM: &str = "orders";

pub struct World {
    pub kinesis: FakeKinesis,
    pub client: Client,
    pub clock: VirtualClock,
    pub rng: Rng,
    _flow: Flow,
}

impl World {
    pub fn new(seed: u64) -> World {
        World::lasting(seed, Duration::from_secs(12 * 3_600))
    }

    /// A world that ends after so long: no history takes that, but one that does not end.
    pub fn lasting(seed: u64, time: Duration) -> World {
        let mut rng = Rng::with_seed(seed);
        let clock = VirtualClock::starting_at(START);
        let kinesis = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, rng.u32(1..=4));
        World {
            client: kinesis.client(),
            kinesis,
            rng,
            _flow: Flow::up_to(clock.clone(), START.saturating_add(time), || {
                watchdog::give_up("virtual time is over")
            }),
            clock,
        }
    }

    /// Lets calls go wrong from now on, by chance.
    pub fn trouble(&mut self) {
        self.trouble_but(&[]);
    }

    /// The same, but for some faults of PutRecords.
    pub fn trouble_but(&mut self, never: &[Fault]) {
        let seed = self.rng.u64(..);
        for (operation, faults) in FAULTS {
            // Now and then nothing is stored for a while, or nobody learns of it.
            let outage = operation == Operation::PutRecords && self.rng.u32(0..3) == 0;
            let share = if outage { 1.0 } else { self.rng.f64() * 0.2 };
            let script = self.kinesis.on(operation);
            let mut faults = faults.to_vec();
            faults.retain(|fault| operation != Operation::PutRecords || !never.contains(fault));
            script.fail_at_random(seed, share, faults);
        }
        let entries = Fault::FailEntries {
            every: self.rng.usize(2..5),
            code: "ProvisionedThroughputExceededException".to_owned(),
        };
        let (share, script) = (self.rng.f64() * 0.1, self.kinesis.on(Operation::PutRecords));
        script.fail_at_random(seed ^ 1, share, [entries]);
    }

    pub fn calm_down(&self) {
        self.kinesis.calm_down();
    }

    /// Splits a shard somewhere, or merges two neighbours.
    pub fn reshard(&mut self) {
        let mut open = self.open_shards();
        open.sort_by_key(|shard| shard.hash_key_range.start);
        let index = self.rng.usize(..open.len());
        let shard = ShardRef::new(STREAM, open[index].id.clone());
        let merged = match open.get(index + 1) {
            Some(neighbour) if self.rng.bool() || open.len() > 6 => {
                Some(self.client.merge_shards(&shard, &neighbour.id))
            }
            _ => None,
        };
        let done = merged.unwrap_or_else(|| {
            let at = self.inside(open[index].hash_key_range);
            at.map_or(Ok(()), |at| self.client.split_shard(&shard, at))
        });
        // Time passes while this thread does not get its turn, and may be up before the call is made.
        match done {
            Err(error) if matches!(error.kind(), ErrorKind::Transport(_)) => {}
            done => done.expect("resharded"),
        }
    }

    fn inside(&mut self, range: HashKeyRange) -> Option<HashKey> {
        let (start, end) = (range.start.as_u128(), range.end.as_u128());
        (end > start).then(|| self.rng.u128(start + 1..=end).into())
    }

    pub fn open_shards(&self) -> Vec<Shard> {
        let shards = calmly(|| self.client.list_shards(STREAM));
        shards.into_iter().filter(Shard::is_open).collect()
    }

    /// Asks until a listing shows the shard: a fault may let it lag behind.
    pub fn parents_of(&self, shard: &ShardRef) -> Vec<ShardRef> {
        let listings = (0..1_000).map(|_| calmly(|| self.client.list_shards(STREAM)));
        let found = listings
            .flatten()
            .find(|listed| listed.id == shard.shard_id);
        let found = found.expect("a shard of the stream");
        let parents = found.parents();
        parents
            .map(|id| ShardRef::new(STREAM, id.clone()))
            .collect()
    }

    pub fn has_parents(&self, shard: &ShardRef) -> bool {
        !self.parents_of(shard).is_empty()
    }

    pub fn range_of(&self, shard: &ShardRef) -> HashKeyRange {
        let shards = calmly(|| self.client.list_shards(STREAM));
        let found = shards.iter().find(|listed| listed.id == shard.shard_id);
        found.expect("a shard of the stream").hash_key_range
    }
}

/// Makes a call until the faults let it through.
pub fn calmly<T>(call: impl Fn() -> kinesis_blocking::Result<T>) -> T {
    for _ in 0..1_000 {
        if let Ok(answer) = call() {
            return answer;
        }
    }
    panic!("a thousand calls in a row went wrong");
}

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What may go wrong with which call, short of what nothing can mend.
const FAULTS: [(Operation, &[Fault]); 4] = [
    (
        Operation::GetRecords,
        &[
            Fault::AnswerLost,
            Fault::Disconnect,
            Fault::EmptyBatch,
            Fault::ExpiredIterator,
            Fault::Garbage,
            Fault::Hang,
            Fault::InternalFailure,
            Fault::Throttle,
            Fault::Truncated,
        ],
    ),
    (
        Operation::GetShardIterator,
        &[Fault::AnswerLost, Fault::InternalFailure, Fault::Throttle],
    ),
    (
        Operation::ListShards,
        &[
            Fault::ChildrenLate,
            Fault::Disconnect,
            Fault::ServiceUnavailable,
            Fault::Throttle,
        ],
    ),
    (
        Operation::PutRecords,
        &[
            Fault::AnswerLost,
            Fault::Disconnect,
            Fault::Hang,
            Fault::InternalFailure,
            Fault::Throttle,
            Fault::Truncated,
        ],
    ),
];
