//! Draws plans. Each history has a theme, which brings about what chance alone seldom does, and
//! everything else in between.

use std::time::Duration;

use fastrand::Rng;
use kinesis_blocking::Operation;

use super::plan::{EventTime, Keeping, Listing, OutageOf, Plan, Start, Step, Until};

/// What histories may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    /// Starts at LATEST.
    Latest,
    /// Starts at AT_TIMESTAMP, also a little ahead.
    Timestamp,
    /// Reads up to a time, or until caught up.
    Bounded,
    /// Reads up to a checkpoint.
    Checkpoints,
    /// Several processes, whose number changes.
    Processes,
    /// Listings that are late, out of order, or in short pages.
    Listings,
    /// Many shards end while listings are almost a minute late.
    ManyEnds,
    /// Time of day that differs, and steps.
    Clocks,
    /// Retention that changes, and records that outlive it.
    Retention,
    /// Streams that are deleted and made anew.
    Recreate,
    /// Panics in the strategy of event time.
    Panics,
    /// Errors in the decoder.
    Refusals,
    /// Errors that end discovery.
    Denials,
    /// Calls that are told of a shard that it is not there.
    NotFound,
    /// Saves that fail.
    Stores,
    /// Stores on a disk that loses what was not synced.
    Disks,
    /// Nothing gets through for a while.
    Outages,
    /// Records that fill the buffer.
    Large,
    /// Nothing is put for more than a day.
    Quiet,
}

/// What is drawn at the moment. A feature that is missing waits for a fault in the crate to be mended;
/// `DRAW=Latest,Bounded` draws these instead, and `DRAW=all` everything.
const DRAWN: &[Feature] = &[
    Feature::Latest,
    Feature::Timestamp,
    Feature::Bounded,
    Feature::Checkpoints,
    Feature::Processes,
    Feature::Listings,
    Feature::ManyEnds,
    Feature::Clocks,
    Feature::Retention,
    Feature::Recreate,
    Feature::Panics,
    Feature::Refusals,
    Feature::Denials,
    Feature::NotFound,
    Feature::Quiet,
    Feature::Stores,
    Feature::Disks,
    Feature::Large,
    Feature::Outages,
];

fn is_drawn(feature: Feature) -> bool {
    let name = format!("{feature:?}");
    match std::env::var("DRAW") {
        Ok(names) => names == "all" || names.split(',').any(|drawn| drawn == name),
        Err(_) => DRAWN.contains(&feature),
    }
}

/// The history of a seed.
pub fn plan(seed: u64) -> Plan {
    Drawing {
        rng: Rng::with_seed(seed),
        processes: 1,
    }
    .plan(seed)
}

struct Drawing {
    rng: Rng,
    processes: usize,
}

impl Drawing {
    fn plan(mut self, seed: u64) -> Plan {
        let theme = self.theme();
        self.processes = match (is_drawn(Feature::Processes), self.rng.u32(0..4)) {
            (true, 0) => self.rng.usize(2..=4),
            _ => 1,
        };
        let mut plan = Plan {
            seed,
            shards: self.rng.u32(1..=4),
            start: self.start(),
            keeping: self.keeping(),
            on_disk: is_drawn(Feature::Disks) && self.rng.bool(),
            processes: self.processes,
            ahead: (0..4).map(|_| self.ahead()).collect(),
            get_records_max: self.rng.u32(1..50),
            buffered_bytes_max: 1 << 20,
            interval: self.millis(50..1_000),
            discovery_interval: self.millis(1_000..15_000),
            event_time: self.rng.bool().then(|| self.event_time()),
            commits_after_error: self.rng.bool(),
            before: Vec::new(),
            steps: Vec::new(),
        };
        for _ in 0..self.rng.usize(0..4) {
            let step = self.before();
            plan.before.push(step);
        }
        for _ in 0..self.rng.usize(4..20) {
            let step = self.step();
            plan.steps.push(step);
        }
        self.add(theme, &mut plan);
        // Against a producer that is always faster, a fast reader has much to read until it may end.
        let races = |step: &Step| matches!(step, Step::Bounded { puts: 1.., .. });
        if plan.steps.iter().any(races) {
            plan.interval = plan.interval.max(Duration::from_millis(300));
            plan.get_records_max = plan.get_records_max.min(12);
        }
        plan
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn minutes(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_secs(60 * self.rng.u64(range))
    }

    fn start(&mut self) -> Start {
        match self.rng.u32(0..5) {
            0 | 1 if is_drawn(Feature::Latest) => Start::Latest,
            2 if is_drawn(Feature::Timestamp) => Start::At(self.rng.i64(-600_000..600_000)),
            3 if is_drawn(Feature::Timestamp) => Start::At(self.rng.i64(-5_000..5_000)),
            _ => Start::TrimHorizon,
        }
    }

    fn keeping(&mut self) -> Keeping {
        match self.rng.u32(0..3) {
            0 => Keeping::ByHand,
            1 => Keeping::Store,
            _ => Keeping::Interval(self.millis(0..5_000)),
        }
    }

    fn event_time(&mut self) -> EventTime {
        EventTime {
            idle: self.rng.bool().then(|| self.millis(2_000..20_000)),
            is_prompt: self.rng.bool(),
        }
    }

    fn ahead(&mut self) -> i64 {
        match self.rng.u32(0..4) {
            _ if !is_drawn(Feature::Clocks) => 0,
            0 => self.rng.i64(-3_000..3_000),
            1 => self.rng.i64(-DAY_MILLIS..DAY_MILLIS),
            _ => 0,
        }
    }

    fn process(&mut self) -> usize {
        self.rng.usize(..self.processes)
    }

    fn before(&mut self) -> Step {
        match self.rng.u32(0..10) {
            0..5 => self.put(),
            5..7 => Step::Pass(self.minutes(0..20)),
            7 if is_drawn(Feature::Listings) => self.listings(),
            _ => self.reshard(),
        }
    }

    fn step(&mut self) -> Step {
        match self.rng.u32(0..100) {
            0..28 => self.put(),
            28..62 => self.consume(),
            62..70 => Step::Commit(self.process()),
            70..75 => Step::Kill(self.process()),
            75..78 => Step::Close(self.process()),
            78..84 => self.reshard(),
            84..86 => self.power_loss(),
            86..89 => Step::Trouble {
                share: self.rng.f64() * 0.2,
                seed: self.rng.u64(..),
            },
            89..91 => Step::Calm,
            91 => Step::Pass(self.minutes(0..20)),
            92 => Step::Busy(self.minutes(0..20)),
            93..95 if is_drawn(Feature::Listings) => self.listings(),
            95 if is_drawn(Feature::Processes) => self.regroup(),
            96 if is_drawn(Feature::Clocks) => self.clock(),
            97 if is_drawn(Feature::Bounded) => self.bounded(),
            98 if is_drawn(Feature::Refusals) => Step::Refuse(self.rng.u64(1..20)),
            _ => self.consume(),
        }
    }

    fn put(&mut self) -> Step {
        Step::Put {
            records: self.rng.usize(1..30),
            keys: self.rng.u32(1..20),
        }
    }

    fn consume(&mut self) -> Step {
        Step::Consume {
            process: self.process(),
            events: match self.rng.bool() {
                true => self.rng.usize(1..8),
                false => self.rng.usize(1..100),
            },
            patience: self.millis(0..1_500),
            puts: 0,
        }
    }

    fn power_loss(&mut self) -> Step {
        Step::PowerLoss {
            process: self.process(),
            after: self.rng.bool().then(|| self.rng.u64(0..16)),
        }
    }

    fn reshard(&mut self) -> Step {
        let places = self.rng.usize(1..=2);
        let place = |_| (self.rng.u32(..), self.rng.bool());
        Step::Reshard((0..places).map(place).collect())
    }

    fn regroup(&mut self) -> Step {
        self.processes = self.rng.usize(1..=4);
        Step::Regroup(self.processes)
    }

    fn clock(&mut self) -> Step {
        let during = [
            None,
            Some(Operation::GetRecords),
            Some(Operation::ListShards),
        ];
        Step::Clock {
            process: self.process(),
            millis: match self.rng.bool() {
                true => self.rng.i64(-DAY_MILLIS..DAY_MILLIS),
                false => self.rng.i64(-5_000..5_000),
            },
            during: during[self.rng.usize(..during.len())],
        }
    }

    fn listings(&mut self) -> Step {
        let how = match self.rng.u32(0..8) {
            0..3 => Listing::ParentsOpen,
            3 => Listing::ChildrenLate,
            4 => Listing::Reversed,
            5 => Listing::ShortPages,
            6 => Listing::Late(self.millis(40_000..57_000)),
            _ => Listing::Late(self.millis(1_000..10_000)),
        };
        Step::Listings {
            how,
            share: match how {
                // More than a minute of it is no delay any more.
                Listing::ChildrenLate => 0.3,
                Listing::ParentsOpen => self.rng.f64(),
                _ => 1.0,
            },
            seed: self.rng.u64(..),
        }
    }

    fn bounded(&mut self) -> Step {
        let until = match self.rng.u32(0..4) {
            0 => Until::CaughtUp,
            1 if is_drawn(Feature::Checkpoints) => Until::Checkpoint {
                scouts: self.rng.usize(1..=3),
                events: self.rng.usize(1..60),
            },
            2 => Until::Time(self.rng.i64(-600_000..600_000)),
            _ => Until::Time(self.rng.i64(-3_000..3_000)),
        };
        let puts = match self.rng.bool() {
            true => self.rng.usize(1..4),
            false => 0,
        };
        Step::Bounded { until, puts }
    }
}

/// What a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Anything,
    Away,
    Behind,
    Bounds,
    Clocks,
    Denials,
    Disks,
    Horizon,
    Large,
    LateListings,
    ManyEnds,
    NotFound,
    Outage,
    Panics,
    Processes,
    Quiet,
    Recreate,
    Stores,
}

const THEMES: [(Theme, Option<Feature>); 18] = [
    (Theme::Anything, None),
    (Theme::Away, Some(Feature::Retention)),
    (Theme::Behind, Some(Feature::Retention)),
    (Theme::Bounds, Some(Feature::Bounded)),
    (Theme::Clocks, Some(Feature::Clocks)),
    (Theme::Denials, Some(Feature::Denials)),
    (Theme::Disks, Some(Feature::Disks)),
    (Theme::Horizon, Some(Feature::Retention)),
    (Theme::Large, Some(Feature::Large)),
    (Theme::LateListings, Some(Feature::Listings)),
    (Theme::ManyEnds, Some(Feature::ManyEnds)),
    (Theme::NotFound, Some(Feature::NotFound)),
    (Theme::Outage, Some(Feature::Outages)),
    (Theme::Panics, Some(Feature::Panics)),
    (Theme::Processes, Some(Feature::Processes)),
    (Theme::Quiet, Some(Feature::Quiet)),
    (Theme::Recreate, Some(Feature::Recreate)),
    (Theme::Stores, Some(Feature::Stores)),
];

impl Drawing {
    fn theme(&mut self) -> Theme {
        let (theme, feature) = THEMES[self.rng.usize(..THEMES.len())];
        match feature {
            Some(feature) if !is_drawn(feature) => Theme::Anything,
            _ => theme,
        }
    }

    /// Adds what the theme needs, some of it more than once, between the other steps.
    fn add(&mut self, theme: Theme, plan: &mut Plan) {
        match theme {
            Theme::Behind => self.fill(plan),
            Theme::Horizon => self.fill_to_horizon(plan),
            Theme::LateListings => {
                let steps = [self.put(), self.reshard(), self.listings()];
                plan.before.extend(steps);
            }
            Theme::Panics => {
                plan.shards = self.rng.u32(1..=2);
                plan.event_time = Some(self.event_time());
                if self.rng.bool() && is_drawn(Feature::Latest) {
                    self.panic_first(plan);
                }
            }
            Theme::Processes => {
                self.processes = self.rng.usize(2..=4);
                plan.processes = self.processes;
            }
            Theme::Large => {
                plan.shards = 4;
                plan.get_records_max = self.rng.u32(2..12);
            }
            Theme::Disks => {
                plan.on_disk = true;
                plan.keeping = match self.rng.bool() {
                    true => Keeping::Store,
                    false => Keeping::Interval(self.millis(0..2_000)),
                };
            }
            // Several processes, one of which may have nothing to read once the stream is made anew.
            Theme::Recreate if self.rng.bool() => {
                self.processes = self.rng.usize(2..=4);
                plan.processes = self.processes;
                plan.shards = self.rng.u32(2..=4);
            }
            // Shards that are idle, beside one that is not.
            Theme::Outage if self.rng.bool() => {
                plan.shards = self.rng.u32(2..=4);
                plan.event_time = Some(EventTime {
                    idle: Some(self.millis(2_000..20_000)),
                    is_prompt: self.rng.bool(),
                });
            }
            Theme::Quiet => {
                plan.interval = self.minutes(5..60);
                plan.discovery_interval = self.minutes(30..600);
                plan.keeping = Keeping::Interval(self.minutes(1..60));
                // It is looked at five times a second, whatever else happens.
                plan.event_time = None;
            }
            _ => {}
        }
        for _ in 0..self.rng.usize(1..=2) {
            let scene = self.scene(theme);
            let at = match self.rng.u32(0..3) {
                0 => 0,
                _ => self.rng.usize(..=plan.steps.len()),
            };
            plan.steps.splice(at..at, scene);
        }
        // Steps name processes that there may not be by then.
        if theme == Theme::Processes {
            let steps = [self.consume(), self.regroup(), self.consume()];
            plan.steps.extend(steps);
        }
    }

    fn scene(&mut self, theme: Theme) -> Vec<Step> {
        let process = self.process();
        match theme {
            Theme::Anything => Vec::new(),
            Theme::Away => {
                let mut scene = vec![self.put(), self.consume(), Step::Commit(process)];
                scene.extend([self.put(), self.away(), self.put(), self.reshard()]);
                if self.rng.bool() {
                    scene.extend([self.away(), self.put()]);
                }
                scene.push(self.consume());
                scene
            }
            Theme::Behind => vec![
                self.consume(),
                Step::Commit(process),
                self.consume(),
                Step::Retention { hours: 24 },
                self.put(),
                self.consume(),
                self.consume(),
            ],
            Theme::Bounds => {
                let mut scene = vec![self.put(), self.reshard(), self.put(), self.bounded()];
                scene.extend([self.put(), self.reshard(), self.put(), self.bounded()]);
                if is_drawn(Feature::Listings) {
                    let at = self.rng.usize(..=scene.len());
                    scene.insert(at, self.listings());
                    if self.rng.bool() {
                        scene.extend(self.empty_answer_at_end());
                    }
                }
                scene
            }
            Theme::Clocks => vec![
                self.clock(),
                self.consume(),
                Step::Commit(process),
                self.put(),
                self.clock(),
                match is_drawn(Feature::Bounded) {
                    true => self.bounded(),
                    false => self.consume(),
                },
            ],
            Theme::Denials => {
                let mut scene = vec![self.put(), self.consume(), Step::Commit(process)];
                scene.extend([self.put(), self.away(), self.put(), self.reshard()]);
                scene.extend([Step::Denied, self.consume(), self.consume()]);
                scene
            }
            Theme::Horizon => vec![self.consume(), self.consume(), self.consume()],
            Theme::Large => vec![
                Step::PutLarge {
                    records: self.rng.usize(10..40),
                    bytes: self.rng.usize(50_000..190_000),
                },
                self.consume(),
                self.consume(),
            ],
            Theme::LateListings => vec![
                self.listings(),
                self.put(),
                self.reshard(),
                self.put(),
                self.consume(),
                self.reshard(),
                self.consume(),
            ],
            Theme::ManyEnds => {
                let how = Listing::Late(self.millis(52_000..58_000));
                let (share, seed) = (1.0, 0);
                let mut scene = vec![Step::Listings { share, how, seed }];
                for _ in 0..self.rng.usize(2..6) {
                    let many = (0..8).map(|_| (self.rng.u32(..), self.rng.bool()));
                    scene.push(Step::Reshard(many.collect()));
                    scene.extend([self.put(), self.consume(), Step::Commit(process)]);
                    if self.rng.u32(0..3) == 0 {
                        scene.push(Step::Kill(process));
                    }
                }
                scene.push(Step::Quiet(Duration::from_secs(self.rng.u64(20..80))));
                scene
            }
            Theme::NotFound => vec![
                self.put(),
                Step::NotFound(self.rng.u64(1..3)),
                self.consume(),
                self.consume(),
            ],
            Theme::Outage => vec![
                self.put(),
                self.consume(),
                Step::Outage {
                    of: [OutageOf::Everything, OutageOf::Reads, OutageOf::Listings]
                        [self.rng.usize(..3)],
                    time: match self.rng.bool() {
                        true => self.minutes(1..40),
                        // Less than ends a consumer: it goes on with what it knows of its shards.
                        false => self.minutes(1..5),
                    },
                    keys: [1, 20][self.rng.usize(..2)],
                },
                Step::Quiet(Duration::from_secs(self.rng.u64(1..90))),
                self.consume(),
            ],
            Theme::Panics => vec![
                self.put(),
                Step::Panic(self.rng.u64(1..40)),
                self.consume(),
                self.put(),
                Step::Panic(self.rng.u64(1..10)),
                self.consume(),
            ],
            Theme::Processes => vec![
                self.put(),
                self.consume(),
                self.consume(),
                self.reshard(),
                self.put(),
                self.consume(),
                Step::Commit(process),
                self.away(),
                self.reshard(),
                self.put(),
                self.regroup(),
            ],
            Theme::Quiet => vec![
                self.put(),
                Step::Quiet(self.minutes(60..50 * 60)),
                Step::Kill(process),
                self.put(),
                self.consume(),
            ],
            Theme::Recreate => {
                let recreate = Step::Recreate {
                    after: self.millis(0..90_000),
                    shards: self.rng.u32(1..=3),
                };
                let mut scene = vec![
                    self.put(),
                    self.consume(),
                    Step::Commit(process),
                    self.put(),
                ];
                match self.rng.u32(0..4) {
                    0 | 1 if is_drawn(Feature::Denials) => {
                        scene.extend(self.found_while_busy(process));
                    }
                    2 => scene.extend([Step::Kill(process), recreate, self.put()]),
                    _ => scene.extend([recreate, self.put()]),
                }
                scene.extend([self.consume(), self.consume()]);
                scene
            }
            Theme::Disks => vec![
                self.put(),
                self.consume(),
                Step::Commit(process),
                self.put(),
                self.consume(),
                Step::Commit(process),
                self.power_loss(),
                self.consume(),
            ],
            Theme::Stores => vec![
                self.consume(),
                Step::StoreFails(self.rng.u64(1..4)),
                self.put(),
                self.consume(),
                Step::Commit(process),
                self.consume(),
            ],
        }
    }

    /// A stream is made anew with one shard, while nobody runs. One of several processes has nothing to read in
    /// it, and its caller comes back late to what was found, and to the error that followed it.
    fn found_while_busy(&mut self, process: usize) -> Vec<Step> {
        let consume = |events, seconds| Step::Consume {
            process,
            events,
            patience: Duration::from_secs(seconds),
            puts: 0,
        };
        let after = self.millis(0..90_000);
        vec![
            Step::Quiet(Duration::from_secs(self.rng.u64(5..30))),
            Step::Commit(process),
            self.put(),
            Step::Away(self.minutes(0..3)),
            Step::Recreate { after, shards: 1 },
            self.put(),
            consume(0, 0),
            // What listings lack for a minute is gone.
            Step::Busy(self.minutes(2..5)),
            Step::Denied,
            Step::Busy(self.minutes(1..2)),
            consume(100, 1),
        ]
    }

    /// Shards that have ended and been read, which listings show open, and whose first answer has nothing.
    fn empty_answer_at_end(&mut self) -> Vec<Step> {
        let share = 1.0;
        let (how, seed) = (Listing::ParentsOpen, self.rng.u64(..));
        vec![
            Step::Calm,
            self.put(),
            Step::Quiet(Duration::from_secs(15)),
            Step::Commit(self.process()),
            self.reshard(),
            self.put(),
            Step::Listings { share, how, seed },
            Step::Kill(self.process()),
            Step::EmptyAnswers,
            self.bounded(),
        ]
    }

    /// The first answer of a shard brings records, and a panic.
    fn panic_first(&mut self, plan: &mut Plan) {
        plan.start = Start::Latest;
        plan.before.push(Step::Trouble {
            share: 0.6,
            seed: self.rng.u64(..),
        });
        let first = Step::Panic(self.rng.u64(1..3));
        let steps = [first, self.put(), Step::Calm, self.consume()];
        plan.steps.splice(0..0, steps);
    }

    /// Days of records, of which the consumer reads a few at a time.
    fn fill(&mut self, plan: &mut Plan) {
        plan.before.push(Step::Retention { hours: 72 });
        for _ in 0..self.rng.usize(4..10) {
            let steps = [self.put(), Step::Pass(self.minutes(60..10 * 60))];
            plan.before.extend(steps);
        }
        plan.start = Start::TrimHorizon;
        plan.get_records_max = self.rng.u32(1..4);
    }

    /// A shard whose oldest records are trimmed about as fast as they are read.
    fn fill_to_horizon(&mut self, plan: &mut Plan) {
        let every = self.millis(200..3_000);
        let records = self.rng.usize(20..120);
        let trickle = Step::Trickle { records, every };
        let day = Duration::from_secs(86_400) - every * u32::try_from(records).unwrap_or(0);
        let pass = Step::Pass(day + self.millis(0..10_000));
        plan.before = vec![trickle, pass];
        (plan.shards, plan.start) = (1, Start::TrimHorizon);
        plan.get_records_max = self.rng.u32(1..6);
        plan.interval = self.millis(100..2_000);
    }

    fn away(&mut self) -> Step {
        let time = match self.rng.u32(0..3) {
            _ if !is_drawn(Feature::Retention) => self.minutes(0..600),
            0 => self.minutes(1..60),
            _ => self.minutes(60..40 * 60),
        };
        Step::Away(time)
    }
}

const DAY_MILLIS: i64 = 86_400_000;
