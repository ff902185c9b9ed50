//! What happens in a history: a value, drawn from a seed alone, that a failure prints.

use std::time::Duration;

use kinesis_blocking::Operation;

/// A history.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shards: u32,
    pub start: Start,
    pub keeping: Keeping,
    /// Whether stores are files on a disk that loses what was not synced.
    pub on_disk: bool,
    /// How many processes there are at first.
    pub processes: usize,
    /// How far each machine's time of day is ahead of the service's, in milliseconds.
    pub ahead: Vec<i64>,
    pub get_records_max: u32,
    pub buffered_bytes_max: u64,
    pub interval: Duration,
    pub discovery_interval: Duration,
    pub event_time: Option<EventTime>,
    /// Whether the caller commits once more when an error has ended a consumer.
    pub commits_after_error: bool,
    /// What happens before a consumer starts for the first time, and then.
    pub before: Vec<Step>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Latest,
    TrimHorizon,
    /// At so many milliseconds after the first start, or before it.
    At(i64),
}

/// Where checkpoints are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// With the results: the caller keeps the JSON of each, the first right after the start.
    ByHand,
    /// In a store, whenever the caller says so.
    Store,
    /// In a store, by the library.
    Interval(Duration),
}

#[derive(Clone, Copy, Debug)]
pub struct EventTime {
    pub idle: Option<Duration>,
    /// Whether the watermark is looked at behind each record.
    pub is_prompt: bool,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// So many Kinesis records, of one to three user records each.
    Put {
        records: usize,
        keys: u32,
    },
    /// Records of so many bytes.
    PutLarge {
        records: usize,
        bytes: usize,
    },
    /// Takes up to so many events from one process, and puts as many records after each.
    Consume {
        process: usize,
        events: usize,
        patience: Duration,
        puts: usize,
    },
    /// Asks all processes in turn for so long, while nothing is put.
    Quiet(Duration),
    Commit(usize),
    /// Dropped without a word: what was not committed is done again.
    Kill(usize),
    Close(usize),
    /// A machine's power is lost; after so many operations of its disk in a commit, if it says so.
    PowerLoss {
        process: usize,
        after: Option<u64>,
    },
    /// Everybody is killed, and so many go on from all checkpoints together.
    Regroup(usize),
    /// Splits the shard at each of these places of the open ones; or merges it with its neighbour.
    Reshard(Vec<(u32, bool)>),
    /// The callers have something else to do for so long at least, and everything else goes on.
    Busy(Duration),
    /// Time passes in which nobody gets a turn.
    Pass(Duration),
    /// Time passes in which nobody runs.
    Away(Duration),
    /// A machine's time of day is set, between two calls or in the middle of one.
    Clock {
        process: usize,
        millis: i64,
        during: Option<Operation>,
    },
    Retention {
        hours: u64,
    },
    /// The stream is deleted, and made anew after a while.
    Recreate {
        after: Duration,
        shards: u32,
    },
    /// How listings look from now on.
    Listings {
        share: f64,
        how: Listing,
        seed: u64,
    },
    /// Calls go wrong by chance from now on.
    Trouble {
        share: f64,
        seed: u64,
    },
    /// From now on nothing goes wrong.
    Calm,
    /// The next calls are answered with what does not hold.
    NotFound(u64),
    /// The next answer from each shard that there is has no records, whatever is there.
    EmptyAnswers,
    /// The next ListShards is refused for good.
    Denied,
    /// The strategy of event time panics at the n-th record from now on.
    Panic(u64),
    /// The decoder refuses the n-th record from now on, once.
    Refuse(u64),
    /// The next saves fail.
    StoreFails(u64),
    /// No call gets through for so long, or none of a kind. What is put right before it has so many keys:
    /// with few of them, shards are idle when it begins.
    Outage {
        of: OutageOf,
        time: Duration,
        keys: u32,
    },
    /// Single records, at intervals.
    Trickle {
        records: usize,
        every: Duration,
    },
    /// Everybody ends, and one after the other reads up to a bound.
    Bounded {
        until: Until,
        puts: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    ParentsOpen,
    ChildrenLate,
    Late(Duration),
    Reversed,
    ShortPages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageOf {
    Everything,
    Reads,
    Listings,
}

#[derive(Clone, Copy, Debug)]
pub enum Until {
    CaughtUp,
    /// So many milliseconds from now, or before.
    Time(i64),
    /// Where so many scouts have come to, each after so many events.
    Checkpoint {
        scouts: usize,
        events: usize,
    },
}
