//! MD5 of one message by `md-5`, and of many side by side.
//!
//! Each step of MD5 waits for the one before it, so one message leaves most of a processor idle. Four
//! messages in the lanes of `[u32; 4]` rows are vectors: 2.8 times as fast, without `unsafe`. Eight
//! are two vectors a row, of which one computes while the other waits: 4.5 times. Whether the
//! compiler makes vectors of the rows hangs on how [`round`] is written;
//! `cargo bench --bench aggregation -- --check` fails when it no longer does.
//!
//! Source of the algorithm and its constants: <https://www.rfc-editor.org/rfc/rfc1321>.

use std::array;

use md5::{Digest, Md5};

use crate::model::HashKey;

/// Computes the MD5 of one message.
pub(super) fn digest(message: &[u8]) -> Sum {
    Md5::digest(message).into()
}

/// Computes the MD5 of each message, up to eight at a time.
pub(super) fn digest_all(messages: &[&[u8]]) -> Vec<Sum> {
    // Messages of like length go together: a lane whose message has ended idles.
    let mut longest_first: Vec<usize> = (0..messages.len()).collect();
    longest_first.sort_unstable_by_key(|&at| usize::MAX - messages[at].len());
    let mut sums = vec![Sum::default(); messages.len()];
    for chunk in longest_first.chunks(LANES_MAX) {
        let mut group = [&[][..]; LANES_MAX];
        for (lane, &at) in group.iter_mut().zip(chunk) {
            *lane = messages[at];
        }
        for (&at, sum) in chunk.iter().zip(digest_group(&group[..chunk.len()])) {
            sums[at] = sum;
        }
    }
    sums
}

/// Computes where partition keys lie on the ring, in their order.
///
/// Eight at a time take a third of the time of [`HashKey::of_partition_key`] for each, and give the
/// same.
///
/// ```
/// use kinesis_blocking::HashKey;
/// use kinesis_blocking::aggregation::hash_keys;
///
/// let keys = ["a", "b", "c", "d", "e"];
/// assert_eq!(hash_keys(&keys), keys.map(HashKey::of_partition_key));
/// ```
pub fn hash_keys<T: AsRef<str>>(partition_keys: &[T]) -> Vec<HashKey> {
    let mut hash_keys = Vec::with_capacity(partition_keys.len());
    for chunk in partition_keys.chunks(LANES_MAX) {
        let mut group = [&[][..]; LANES_MAX];
        for (lane, key) in group.iter_mut().zip(chunk) {
            *lane = key.as_ref().as_bytes();
        }
        let sums = digest_group(&group[..chunk.len()]).into_iter();
        let hash_key = |sum| HashKey::from(u128::from_be_bytes(sum));
        hash_keys.extend(sums.take(chunk.len()).map(hash_key));
    }
    hash_keys
}

/// Computes up to eight MD5s in the way that is the quickest for them.
fn digest_group(messages: &[&[u8]]) -> [Sum; LANES_MAX] {
    if messages.len() > 4 && fills_lanes(messages, COST_OF_EIGHT) {
        return digest_lanes::<8, 4>(messages);
    }
    let mut sums = [Sum::default(); LANES_MAX];
    for (messages, sums) in messages.chunks(4).zip(sums.chunks_mut(4)) {
        if fills_lanes(messages, COST_OF_FOUR) {
            sums.copy_from_slice(&digest_lanes::<4, 1>(messages));
            continue;
        }
        for (sum, message) in sums.iter_mut().zip(messages) {
            *sum = digest(message);
        }
    }
    sums
}

/// Says whether the lanes beat `md-5`: for one message, or a long one among short, they do not.
#[inline]
fn fills_lanes(messages: &[&[u8]], cost: usize) -> bool {
    let blocks = messages.iter().map(|message| block_count(message));
    let (longest, total) = blocks.fold((0, 0), |(longest, total), count| {
        (count.max(longest), total + count)
    });
    total * 4 >= longest * cost
}

/// Computes up to `N` MD5s in lanes.
fn digest_lanes<const N: usize, const PARTS: usize>(messages: &[&[u8]]) -> [Sum; N] {
    let messages: [&[u8]; N] = array::from_fn(|lane| messages.get(lane).copied().unwrap_or(&[]));
    let mut tails = [[[0; BLOCK_LEN]; 2]; N];
    for (tail, message) in tails.iter_mut().zip(messages) {
        write_tail(tail, message);
    }
    let lanes = array::from_fn::<_, N, _>(|lane| Lane {
        whole: messages[lane].as_chunks().0,
        tail: &tails[lane],
        len: block_count(messages[lane]),
    });
    let common = lanes.iter().map(|lane| lane.whole.len()).min().unwrap_or(0);
    let end = lanes.iter().map(|lane| lane.len).max().unwrap_or(0);
    let mut state = START.map(|word| [word; N]);
    let mut sums = [Sum::default(); N];
    for at in 0..common {
        compress::<N, PARTS>(&mut state, lanes.each_ref().map(|lane| &lane.whole[at]));
    }
    for at in common..end {
        compress::<N, PARTS>(&mut state, lanes.each_ref().map(|lane| lane.block(at)));
        for (index, lane) in lanes.iter().enumerate() {
            if lane.len == at + 1 {
                sums[index] = sum_of_lane(&state, index);
            }
        }
    }
    sums
}

/// One message as blocks: those that lie in it, then one or two with its rest, padding and length.
struct Lane<'a> {
    whole: &'a [Block],
    tail: &'a [Block; 2],
    len: usize,
}

impl Lane<'_> {
    /// Returns a block; past the end it is one whose result nobody looks at.
    #[inline]
    fn block(&self, at: usize) -> &Block {
        match self.whole.get(at) {
            Some(block) => block,
            None => &self.tail[(at - self.whole.len()).min(1)],
        }
    }
}

/// Ends a message in blocks of zeros: what is left of it, a mark, and its length in the last block.
#[inline]
fn write_tail(tail: &mut [Block; 2], message: &[u8]) {
    let (whole, rest) = message.as_chunks::<BLOCK_LEN>();
    tail[0][..rest.len()].copy_from_slice(rest);
    tail[0][rest.len()] = 0x80;
    // The length in bits, modulo 2^64.
    let bits = (message.len() as u64).wrapping_mul(8);
    let last = block_count(message) - whole.len() - 1;
    tail[last][BLOCK_LEN - 8..].copy_from_slice(&bits.to_le_bytes());
}

/// The blocks of a message with a byte of padding and eight of length.
#[inline]
fn block_count(message: &[u8]) -> usize {
    message.len() / BLOCK_LEN + 1 + usize::from(message.len() % BLOCK_LEN >= BLOCK_LEN - 8)
}

fn sum_of_lane<const N: usize>(state: &[[u32; N]; 4], lane: usize) -> Sum {
    let mut sum = Sum::default();
    for (bytes, row) in sum.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = row[lane].to_le_bytes();
    }
    sum
}

/// Takes one block of each lane into the state, each round in so many parts.
#[inline(never)]
fn compress<const N: usize, const PARTS: usize>(state: &mut [[u32; N]; 4], blocks: [&Block; N]) {
    let words = words_of(blocks);
    let start = *state;
    round::<N, PARTS, 7, 12, 17, 22>(state, &words, 0, |i| i, |x, y, z| z ^ (x & (y ^ z)));
    round::<N, PARTS, 5, 9, 14, 20>(state, &words, 1, |i| 5 * i + 1, |x, y, z| y ^ (z & (x ^ y)));
    round::<N, PARTS, 4, 11, 16, 23>(state, &words, 2, |i| 3 * i + 5, |x, y, z| x ^ (y ^ z));
    round::<N, PARTS, 6, 10, 15, 21>(state, &words, 3, |i| 7 * i, |x, y, z| y ^ (x | !z));
    for (mixed, start) in state.iter_mut().zip(start) {
        for (mixed, start) in mixed.iter_mut().zip(start) {
            *mixed = mixed.wrapping_add(start);
        }
    }
}

/// Lays the words of the blocks beside each other.
#[inline(always)]
fn words_of<const N: usize>(blocks: [&Block; N]) -> [[u32; N]; 16] {
    let mut words = [[0; N]; 16];
    for (lane, block) in blocks.into_iter().enumerate() {
        for (row, bytes) in words.iter_mut().zip(block.as_chunks().0) {
            row[lane] = u32::from_le_bytes(*bytes);
        }
    }
    words
}

/// Sixteen steps, which differ in the word, the constant and the shift.
///
/// The loop over the lanes is around the steps, as loops are what compilers make vectors of. It has
/// to be too long for its turns to be written out one by one before that: four lanes need all sixteen
/// steps in it. With eight lanes it makes two turns of a vector each, which wait for nothing of each
/// other; with four steps in it a processor looks far enough ahead to take both at once. Nothing
/// generic of the standard library is used: a call that is not inlined would end it all. And the state
/// stays in memory, or the compiler puts all steps of one vector before those of the other.
#[inline(always)]
fn round<
    const N: usize,
    const PARTS: usize,
    const S0: u32,
    const S1: u32,
    const S2: u32,
    const S3: u32,
>(
    state: &mut [[u32; N]; 4],
    words: &[[u32; N]; 16],
    number: usize,
    place: impl Fn(usize) -> usize,
    mix: impl Fn(u32, u32, u32) -> u32,
) {
    for part in 0..PARTS {
        for lane in 0..N {
            let [mut a, mut b, mut c, mut d] = [
                state[0][lane],
                state[1][lane],
                state[2][lane],
                state[3][lane],
            ];
            let add = |i: usize| words[place(i) % 16][lane].wrapping_add(CONSTANTS[number][i]);
            for four in 0..4 / PARTS {
                let i = 16 / PARTS * part + 4 * four;
                a = step::<S0>([a, b, c, d], add(i), &mix);
                d = step::<S1>([d, a, b, c], add(i + 1), &mix);
                c = step::<S2>([c, d, a, b], add(i + 2), &mix);
                b = step::<S3>([b, c, d, a], add(i + 3), &mix);
            }
            (state[0][lane], state[1][lane]) = (a, b);
            (state[2][lane], state[3][lane]) = (c, d);
        }
    }
}

#[inline(always)]
fn step<const SHIFT: u32>(
    [a, b, c, d]: [u32; 4],
    added: u32,
    mix: impl Fn(u32, u32, u32) -> u32,
) -> u32 {
    let mixed = a.wrapping_add(added).wrapping_add(mix(b, c, d));
    b.wrapping_add(mixed.rotate_left(SHIFT))
}

/// An MD5.
pub(super) type Sum = [u8; 16];

/// What MD5 takes in at a time.
type Block = [u8; BLOCK_LEN];

/// Messages that are digested side by side at most: 32-bit words in two of the narrowest vectors,
/// SSE2's and NEON's.
const LANES_MAX: usize = 8;

/// The time for a block in each of eight lanes, in quarters of `md-5`'s for one block.
const COST_OF_EIGHT: usize = 7;

/// The same for four lanes.
const COST_OF_FOUR: usize = 6;

const BLOCK_LEN: usize = 64;

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The integer part of 2^32 times the sine of 1 to 64, in rounds.
const CONSTANTS: [[u32; 16]; 4] = [
    [
        0xd76a_a478,
        0xe8c7_b756,
        0x2420_70db,
        0xc1bd_ceee,
        0xf57c_0faf,
        0x4787_c62a,
        0xa830_4613,
        0xfd46_9501,
        0x6980_98d8,
        0x8b44_f7af,
        0xffff_5bb1,
        0x895c_d7be,
        0x6b90_1122,
        0xfd98_7193,
        0xa679_438e,
        0x49b4_0821,
    ],
    [
        0xf61e_2562,
        0xc040_b340,
        0x265e_5a51,
        0xe9b6_c7aa,
        0xd62f_105d,
        0x0244_1453,
        0xd8a1_e681,
        0xe7d3_fbc8,
        0x21e1_cde6,
        0xc337_07d6,
        0xf4d5_0d87,
        0x455a_14ed,
        0xa9e3_e905,
        0xfcef_a3f8,
        0x676f_02d9,
        0x8d2a_4c8a,
    ],
    [
        0xfffa_3942,
        0x8771_f681,
        0x6d9d_6122,
        0xfde5_380c,
        0xa4be_ea44,
        0x4bde_cfa9,
        0xf6bb_4b60,
        0xbebf_bc70,
        0x289b_7ec6,
        0xeaa1_27fa,
        0xd4ef_3085,
        0x0488_1d05,
        0xd9d4_d039,
        0xe6db_99e5,
        0x1fa2_7cf8,
        0xc4ac_5665,
    ],
    [
        0xf429_2244,
        0x432a_ff97,
        0xab94_23a7,
        0xfc93_a039,
        0x655b_59c3,
        0x8f0c_cc92,
        0xffef_f47d,
        0x8584_5dd1,
        0x6fa8_7e4f,
        0xfe2c_e6e0,
        0xa301_4314,
        0x4e08_11a1,
        0xf753_7e82,
        0xbd3a_f235,
        0x2ad7_d2bb,
        0xeb86_d391,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + len + i / 251) as u8).collect()
    }

    fn assert_as_md5(lens: &[usize]) {
        let messages: Vec<Vec<u8>> = lens.iter().map(|&len| message(len)).collect();
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let single: Vec<Sum> = slices.iter().map(|message| digest(message)).collect();
        assert_eq!(digest_all(&slices), single, "{lens:?}");
    }

    #[test]
    fn lanes_give_the_md5_of_every_length() {
        for len in 0..=260 {
            let messages = [len, len + 1, len + 64, 260 - len].map(message);
            let sums = messages.each_ref().map(|message| digest(message));
            let slices = messages.each_ref().map(Vec::as_slice);
            assert_eq!(digest_lanes::<4, 1>(&slices), sums, "{len}");
            let twice = [slices, slices].concat();
            assert_eq!(
                digest_lanes::<8, 4>(&twice),
                *[sums, sums].concat(),
                "{len}"
            );
        }
    }

    #[test]
    fn a_batch_of_any_lengths_gives_their_md5s_in_order() {
        for lens in [
            &[][..],
            &[0],
            &[0, 0, 0, 0, 0],
            &[55, 56, 57],
            &[1000, 1000],
            &[3, 100_000, 2],
            &[64, 63, 65, 128, 127, 129, 119, 120, 121],
            &[50_000, 51_000, 49_000, 50_500, 20, 50_100],
            &[7_000, 7_001, 7_064, 7_128, 6_999],
            &[500, 501, 502, 503, 504, 505, 506, 507, 508, 1, 2],
        ] {
            assert_as_md5(lens);
        }
    }

    #[test]
    fn a_batch_of_partition_keys_lies_where_each_of_them_lies() {
        let keys: Vec<String> = (0..130).map(|len| "k\u{e9}".repeat(len)).collect();
        for count in [0, 1, 2, 3, 4, 5, 130] {
            let single = keys[..count].iter().map(|k| HashKey::of_partition_key(k));
            assert_eq!(hash_keys(&keys[..count]), single.collect::<Vec<_>>());
        }
    }
}
