use crate::consumer::chunk::Chunk;
use crate::consumer::event_time::strategy::{WatermarkGenerator, WatermarkStrategy};
use crate::consumer::record::Stamp;
use crate::model::{ShardRef, Timestamp};

/// The user's strategy, whatever its generators are. A stamper goes on from the stamp of the last record
/// that one before it brought to its end, if there is one.
pub(in crate::consumer) type Stamping =
    dyn Fn(&ShardRef, Option<Stamp>) -> Box<dyn Stamper> + Send + Sync;

/// Says of all records of an answer at once when they happened: one call through a table an answer,
/// and none a record.
pub(in crate::consumer) trait Stamper: Send {
    fn stamp(&mut self, records: &mut Chunk);

    /// The stamp of the last record; `None` if there was none.
    fn last(&self) -> Option<Stamp>;
}

pub(in crate::consumer) fn stamping<S: WatermarkStrategy + 'static>(strategy: S) -> Box<Stamping> {
    Box::new(move |shard, last| {
        Box::new(ShardStamper {
            generator: strategy.for_shard(shard),
            last,
        })
    })
}

struct ShardStamper<G> {
    generator: G,
    last: Option<Stamp>,
}

impl<G: WatermarkGenerator> Stamper for ShardStamper<G> {
    /// What is left out was not understood: nobody is asked about it, and it moves nothing.
    fn stamp(&mut self, records: &mut Chunk) {
        records.stamp(|record| {
            let previous = self.last.map(|last| last.event_time);
            let event_time = self.generator.event_time(record, previous);
            let told = self.generator.watermark().unwrap_or(Timestamp::MIN);
            let watermark = self.last.map_or(told, |last| told.max(last.watermark));
            *self.last.insert(Stamp {
                event_time,
                watermark,
            })
        });
    }

    fn last(&self) -> Option<Stamp> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::time::Duration;

    use super::*;
    use crate::client::RawRecord;
    use crate::consumer::event_time::strategy::{
        BoundedOutOfOrderness, MonotonousTimestamps, Punctuated,
    };
    use crate::consumer::record::Record;

    fn records(times: &[i64]) -> Chunk {
        let record = |time: &i64| RawRecord {
            data: time.to_string().into(),
            partition_key: "key".into(),
            sequence_number: "1".parse().expect("a number"),
            approximate_arrival: Timestamp::from_millis(*time),
        };
        Chunk::for_tests(&shard(), times.iter().map(record).collect())
    }

    fn shard() -> ShardRef {
        ShardRef::new("orders", "a")
    }

    fn stamped(stamper: &mut dyn Stamper, times: &[i64]) -> Vec<(i64, i64)> {
        let mut records = records(times);
        stamper.stamp(&mut records);
        let millis = |stamp: Stamp| (stamp.event_time.as_millis(), stamp.watermark.as_millis());
        records
            .map(|record| millis(record.stamp.expect("a stamp")))
            .collect()
    }

    #[test]
    fn bounded_out_of_orderness_stays_behind_the_latest_record() {
        let strategy = BoundedOutOfOrderness::by_arrival(Duration::from_millis(5));
        let mut stamper = stamping(strategy)(&shard(), None);
        let expected = [(1, -4), (10, 5), (7, 5)];
        assert_eq!(stamped(&mut *stamper, &[1, 10, 7]), expected);
        assert_eq!(stamped(&mut *stamper, &[11]), [(11, 6)], "across answers");
    }

    #[test]
    fn monotonous_timestamps_are_their_own_watermarks() {
        let mut stamper = stamping(MonotonousTimestamps::by_arrival())(&shard(), None);
        let expected = [(1, 1), (3, 3), (2, 3)];
        assert_eq!(stamped(&mut *stamper, &[1, 3, 2]), expected);
    }

    #[test]
    fn punctuated_watermarks_stand_still_between_markers() {
        let even = |_: &Record, time: Timestamp| (time.as_millis() % 2 == 0).then_some(time);
        let strategy = Punctuated::new(Record::approximate_arrival, even);
        let mut stamper = stamping(strategy)(&shard(), None);
        let none = i64::MIN;
        let expected = [(1, none), (4, 4), (5, 4), (2, 4)];
        assert_eq!(stamped(&mut *stamper, &[1, 4, 5, 2]), expected);
    }

    /// Says the time of the record before, and no watermark at all.
    struct Previous;

    impl WatermarkGenerator for Previous {
        fn event_time(&mut self, record: &Record, previous: Option<Timestamp>) -> Timestamp {
            assert!(!record.is_left_out());
            let previous = previous.unwrap_or_default();
            previous.saturating_add(Duration::from_millis(1))
        }

        fn watermark(&mut self) -> Option<Timestamp> {
            None
        }
    }

    #[test]
    fn a_stamper_goes_on_from_the_one_before_it() {
        let strategy = BoundedOutOfOrderness::by_arrival(Duration::from_millis(5));
        let stamping = stamping(strategy);
        let mut first = stamping(&shard(), None);
        assert_eq!(stamped(&mut *first, &[20]), [(20, 15)]);
        let mut second = stamping(&shard(), first.last());
        assert_eq!(stamped(&mut *second, &[11, 30]), [(11, 15), (30, 25)]);
    }

    #[test]
    fn a_generator_is_told_the_previous_time_and_nothing_of_what_is_left_out() {
        let mut stamper = stamping(|_: &ShardRef| Previous)(&shard(), None);
        let mut records = records(&[7, 8, 9]);
        let _ = records.decode(|record| {
            if record.approximate_arrival().as_millis() == 8 {
                record.leave_out();
            }
            ControlFlow::<()>::Continue(())
        });
        stamper.stamp(&mut records);
        let (times, watermarks): (Vec<_>, Vec<_>) = records
            .filter_map(|record| record.stamp)
            .map(|stamp| (stamp.event_time.as_millis(), stamp.watermark))
            .unzip();
        assert_eq!(times, [1, 8, 2]);
        assert_eq!(watermarks, [Timestamp::MIN; 3]);
    }
}
