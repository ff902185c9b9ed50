use std::sync::Arc;

use crate::model::{HashKeyRange, ShardRef};

/// Says which of several consumers reads a shard.
///
/// Every consumer of the group asks its own assigner, so all have to give the same answer: it may
/// depend on nothing but the arguments. It is asked when a shard is listed for the first time.
///
/// ```
/// use kinesis_blocking::{HashKeyRange, ShardAssigner, ShardRef};
///
/// let by_last_digit = |shard: &ShardRef, _: HashKeyRange, _: usize| {
///     usize::from(*shard.shard_id.as_str().as_bytes().last().unwrap_or(&b'0') - b'0')
/// };
/// let shard = ShardRef::new("orders", "shardId-000000000007");
/// assert_eq!(by_last_digit.assign(&shard, HashKeyRange::FULL, 4), 7);
/// ```
///
/// Flink's `KinesisShardAssigner`.
pub trait ShardAssigner: Send + Sync {
    /// Returns the index of a shard's reader; what is not below `parallelism` is taken modulo it.
    fn assign(&self, shard: &ShardRef, range: HashKeyRange, parallelism: usize) -> usize;
}

impl<F> ShardAssigner for F
where
    F: Fn(&ShardRef, HashKeyRange, usize) -> usize + Send + Sync,
{
    fn assign(&self, shard: &ShardRef, range: HashKeyRange, parallelism: usize) -> usize {
        self(shard, range, parallelism)
    }
}

/// Spreads shards by where their hash keys lie: every consumer gets its share of the ring, however
/// often the stream was resharded. The default.
///
/// Flink's assigner of the name `uniform`. Streams start at different consumers, so that small ones
/// do not all end up with the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniformAssigner;

impl ShardAssigner for UniformAssigner {
    fn assign(&self, shard: &ShardRef, range: HashKeyRange, parallelism: usize) -> usize {
        let n = subtasks(parallelism);
        let (start, end) = (range.start.as_u128(), range.end.as_u128());
        let middle = start / 2 + end / 2 + (start & end & 1);
        // Below n, so it fits.
        let index = i32::try_from(high_bits_of_product(middle, n as u32)).unwrap_or(0);
        owner(index.wrapping_add(java_hash(shard.stream_name())), n)
    }
}

/// Spreads shards by the hash of their names, as Flink's connector does unless told otherwise.
///
/// For groups in which both read, and for checkpoints that are to stay where Flink had them. It may
/// leave a consumer without a shard: prefer [`UniformAssigner`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FlinkHashAssigner;

impl ShardAssigner for FlinkHashAssigner {
    fn assign(&self, shard: &ShardRef, _: HashKeyRange, parallelism: usize) -> usize {
        owner(flink_hash(shard), subtasks(parallelism))
    }
}

/// What this process reads: one of several that share the shards.
#[derive(Clone)]
pub(super) struct Assignment {
    pub assigner: Arc<dyn ShardAssigner>,
    pub index: usize,
    pub parallelism: usize,
    /// How many consumers each of the processes has.
    pub members: usize,
}

impl Assignment {
    /// Says which of this process's consumers is the one to read a shard; `None` if another
    /// process's is.
    pub fn member(&self, shard: &ShardRef, range: HashKeyRange) -> Option<usize> {
        let all = self.subtasks();
        if all == 1 {
            return Some(0);
        }
        let owner = self.assigner.assign(shard, range, all) % all;
        let member = owner.checked_sub(self.subtask(0))?;
        (member < self.members).then_some(member)
    }

    pub fn owns(&self, shard: &ShardRef, range: HashKeyRange) -> bool {
        self.member(shard, range).is_some()
    }

    /// The index of one of this process's consumers among those of all.
    pub fn subtask(&self, member: usize) -> usize {
        self.index
            .saturating_mul(self.members)
            .saturating_add(member)
    }

    /// How many consumers there are in all processes.
    pub fn subtasks(&self) -> usize {
        self.parallelism.saturating_mul(self.members).max(1)
    }
}

impl Default for Assignment {
    fn default() -> Assignment {
        Assignment {
            assigner: Arc::new(UniformAssigner),
            index: 0,
            parallelism: 1,
            members: 1,
        }
    }
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.index, self.parallelism)
    }
}

/// `StreamShardHandle.hashCode` in
/// <https://github.com/apache/flink-connector-aws/blob/v4.3/flink-connector-aws/flink-connector-kinesis>.
fn flink_hash(shard: &ShardRef) -> i32 {
    let names = [shard.stream_name(), shard.shard_id.as_str()];
    names.iter().fold(17_i32, |hash, name| {
        hash.wrapping_mul(37).wrapping_add(java_hash(name))
    })
}

/// `String.hashCode`: <https://docs.oracle.com/javase/8/docs/api/java/lang/String.html#hashCode-->.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// Java's remainder has the sign of the hash, so it is its size that counts.
fn owner(hash: i32, parallelism: i32) -> usize {
    (hash % parallelism).unsigned_abs() as usize
}

/// More than there are shards are as good as so many.
fn subtasks(parallelism: usize) -> i32 {
    i32::try_from(parallelism).unwrap_or(i32::MAX).max(1)
}

/// `wide * narrow / 2^128`, without a number that is wider.
fn high_bits_of_product(wide: u128, narrow: u32) -> u128 {
    let (high, low) = (wide >> 64, wide & u128::from(u64::MAX));
    let narrow = u128::from(narrow);
    (high * narrow + ((low * narrow) >> 64)) >> 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashKey;

    /// Equal parts of the ring, as the service makes them.
    fn part(n: u128, of: u128) -> HashKeyRange {
        let width = u128::MAX / of + u128::from(of.is_power_of_two());
        let end = match n + 1 == of {
            true => u128::MAX,
            false => (n + 1) * width - 1,
        };
        let (start, end) = ((n * width).into(), end.into());
        HashKeyRange { start, end }
    }

    fn shard(stream: &str, n: usize) -> ShardRef {
        ShardRef::new(stream, format!("shardId-{n:012}"))
    }

    #[test]
    fn flinks_hash_gives_what_a_jvm_gives() {
        for (stream, n, hash, owners) in [
            ("fakeStream", 0, -1450717882, [0, 1, 2, 2]),
            ("fakeStream", 1, -1450717881, [1, 0, 1, 1]),
            ("fakeStream", 2, -1450717880, [0, 2, 0, 0]),
            ("fakeStream", 3, -1450717879, [1, 1, 3, 9]),
            ("fakeStream1", 0, -649894871, [1, 2, 3, 1]),
            ("kinesis_stream_name", 0, -1290340964, [0, 2, 0, 4]),
            ("test-stream", 0, 1008324484, [0, 1, 0, 4]),
            ("orders", 9, -433539649, [1, 1, 1, 9]),
            ("orders", 10, -433539627, [1, 0, 3, 7]),
            ("orders", 99, -433539370, [0, 1, 2, 0]),
            ("orders", 100, -433538697, [1, 0, 1, 7]),
        ] {
            let shard = shard(stream, n);
            assert_eq!(flink_hash(&shard), hash, "{shard}");
            let assign = |n| FlinkHashAssigner.assign(&shard, HashKeyRange::FULL, n);
            assert_eq!([2, 3, 4, 10].map(assign), owners, "{shard}");
        }
    }

    #[test]
    fn a_process_has_as_many_subtasks_as_consumers() {
        for (parallelism, members) in [(1, 1), (1, 4), (2, 3), (3, 2)] {
            let all = parallelism * members;
            for n in 0..24 {
                let range = part(n as u128, 24);
                let reader = |index| {
                    let assigner = Arc::new(UniformAssigner);
                    let assignment = Assignment {
                        assigner,
                        index,
                        parallelism,
                        members,
                    };
                    let member = assignment.member(&shard("orders", n), range)?;
                    Some(assignment.subtask(member))
                };
                let readers: Vec<_> = (0..parallelism).filter_map(reader).collect();
                let assigned = UniformAssigner.assign(&shard("orders", n), range, all);
                assert_eq!(readers, [assigned], "{parallelism} processes of {members}");
            }
        }
    }

    #[test]
    fn javas_hash_counts_utf16_units() {
        for (text, hash) in [
            ("", 0),
            ("héllo-流", 289820930),
            ("a😀b", 57849694),
            ("fakeStream", 1633582901),
        ] {
            assert_eq!(java_hash(text), hash, "{text}");
        }
    }

    #[test]
    fn the_owner_is_the_size_of_javas_remainder() {
        for (hash, parallelism, index) in [
            (0, 2, 0),
            (1, 2, 1),
            (2, 2, 0),
            (-1, 2, 1),
            (-7, 4, 3),
            (i32::MIN, 10, 8),
            (i32::MIN, 1, 0),
        ] {
            assert_eq!(owner(hash, parallelism), index, "{hash} of {parallelism}");
        }
    }

    #[test]
    fn uniform_gives_what_flink_gives() {
        for (stream, parallelism, owners) in [
            ("", 2, [0, 0, 1, 1]),
            ("", 3, [0, 1, 1, 2]),
            ("", 4, [0, 1, 2, 3]),
            ("", 8, [0, 2, 4, 6]),
            ("kinesis_stream_name", 3, [0, 2, 2, 1]),
            ("kinesis_stream_name", 4, [1, 0, 3, 2]),
            ("fakeStream", 3, [2, 0, 0, 1]),
            ("fakeStream", 4, [1, 2, 3, 0]),
            ("test-stream", 4, [1, 0, 3, 2]),
        ] {
            let assign =
                |n| UniformAssigner.assign(&shard(stream, n), part(n as u128, 4), parallelism);
            let assigned = [0, 1, 2, 3].map(assign);
            assert_eq!(assigned, owners, "{stream:?} to {parallelism}");
        }
    }

    #[test]
    fn uniform_goes_by_the_middle_of_the_range() {
        let at = |key: HashKey| HashKeyRange {
            start: key,
            end: key,
        };
        let third = |n| part(n, 3);
        for (range, index) in [
            (at(HashKey::MIN), 0),
            (third(0), 0),
            (third(1), 1),
            (third(2), 2),
            (at(HashKey::MAX), 2),
        ] {
            let shard = ShardRef::new("", "shardId-0");
            assert_eq!(UniformAssigner.assign(&shard, range, 3), index, "{range:?}");
        }
    }

    #[test]
    fn a_stream_has_the_same_owner_by_name_and_by_arn() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
        for n in 0..10 {
            let (by_name, by_arn) = (shard("orders", n), shard(arn, n));
            for parallelism in 1..7 {
                for assigner in [&FlinkHashAssigner as &dyn ShardAssigner, &UniformAssigner] {
                    let assign = |shard| assigner.assign(shard, part(n as u128, 10), parallelism);
                    assert_eq!(assign(&by_name), assign(&by_arn));
                }
            }
        }
    }

    #[test]
    fn exactly_one_of_a_group_owns_a_shard() {
        let beyond = |_: &ShardRef, _: HashKeyRange, parallelism: usize| 3 * parallelism + 1;
        for parallelism in 1..10 {
            for n in 0..20 {
                let owns = |assigner: Arc<dyn ShardAssigner>, index| {
                    let assignment = Assignment {
                        assigner,
                        index,
                        parallelism,
                        members: 1,
                    };
                    assignment.owns(&shard("orders", n), part(n as u128, 20))
                };
                let owners = |assigner: fn() -> Arc<dyn ShardAssigner>| {
                    (0..parallelism).filter(|i| owns(assigner(), *i)).count()
                };
                assert_eq!(owners(|| Arc::new(UniformAssigner)), 1);
                assert_eq!(owners(|| Arc::new(FlinkHashAssigner)), 1);
                assert!(owns(Arc::new(beyond), 1 % parallelism));
            }
        }
    }
}
