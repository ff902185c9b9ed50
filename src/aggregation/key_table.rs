use std::hash::{BuildHasher, Hasher, RandomState};

use crate::aggregation::wire::{put_varint, varint_len};

/// The distinct keys of an aggregate in order of first use, in the form they go over the wire.
///
/// A key is hashed once and copied once: the lookup compares with the copy in the encoded table.
pub(super) struct KeyTable {
    tag: u8,
    encoded: Vec<u8>,
    keys: Vec<Span>,
    slots: Vec<Slot>,
    seed: u64,
}

/// Where a key's text lies in the encoded table.
struct Span {
    start: usize,
    len: usize,
}

/// A place of the open-addressed index: empty while `entry` is 0, else of the key `entry - 1`.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    entry: u32,
}

/// What a lookup found: the key's index, and for a new key what it takes to insert it.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The index that a record refers to the key with.
    pub(super) index: u64,
    /// The bytes that the table grows by: 0 for a key that it holds.
    pub(super) added_len: usize,
    hash: u32,
    slot: usize,
}

impl KeyTable {
    /// Makes an empty table whose entries carry this protobuf tag.
    pub(super) fn new(tag: u8) -> KeyTable {
        KeyTable {
            tag,
            encoded: Vec::new(),
            keys: Vec::new(),
            slots: Vec::new(),
            // Nobody who chooses the keys can make them collide. The bytes written do not depend on it.
            seed: RandomState::new().build_hasher().finish(),
        }
    }

    /// Returns the table as it goes over the wire.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Looks a key up, changing nothing but room for one more.
    #[inline(always)]
    pub(super) fn find(&mut self, key: &[u8]) -> Found {
        if self.keys.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash(self.seed, key);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let Slot { hash: held, entry } = self.slots[slot];
            if entry == 0 {
                return self.absent(key, hash, slot);
            }
            let index = entry as usize - 1;
            if held == hash && self.key(index) == key {
                return Found {
                    index: index as u64,
                    added_len: 0,
                    hash,
                    slot,
                };
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Takes in a key that the last lookup did not find.
    #[inline(always)]
    pub(super) fn insert(&mut self, key: &[u8], found: Found) {
        self.encoded.push(self.tag);
        put_varint(&mut self.encoded, key.len() as u64);
        self.keys.push(Span {
            start: self.encoded.len(),
            len: key.len(),
        });
        self.encoded.extend_from_slice(key);
        self.slots[found.slot] = Slot {
            hash: found.hash,
            entry: self.keys.len() as u32,
        };
    }

    /// Makes room for keys, up to a bound.
    pub(super) fn reserve(&mut self, keys: usize) {
        let slots = (keys.min(MAX_RESERVED_KEYS) * 2 + 1).next_power_of_two();
        if self.keys.is_empty() && slots > self.slots.len() {
            self.slots = vec![Slot::default(); slots];
        }
    }

    /// Forgets every key and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.encoded.clear();
        self.keys.clear();
        self.slots.fill(Slot::default());
    }

    #[inline(always)]
    fn absent(&self, key: &[u8], hash: u32, slot: usize) -> Found {
        Found {
            index: self.keys.len() as u64,
            added_len: (1 + varint_len(key.len() as u64)).saturating_add(key.len()),
            hash,
            slot,
        }
    }

    fn key(&self, index: usize) -> &[u8] {
        let Span { start, len } = self.keys[index];
        &self.encoded[start..start + len]
    }

    #[cold]
    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(MIN_SLOTS);
        let held = std::mem::replace(&mut self.slots, vec![Slot::default(); len]);
        for moved in held.into_iter().filter(|slot| slot.entry != 0) {
            let mut slot = moved.hash as usize & (len - 1);
            while self.slots[slot].entry != 0 {
                slot = (slot + 1) & (len - 1);
            }
            self.slots[slot] = moved;
        }
    }
}

/// Mixes sixteen bytes at a time by multiplying their halves and folding the product.
#[inline]
fn hash(seed: u64, key: &[u8]) -> u32 {
    let mut mixed = seed ^ MULTIPLIER;
    for chunk in key.as_chunks::<16>().0 {
        mixed = mix(seed, mixed, u128::from_le_bytes(*chunk));
    }
    mixed = mix(seed, mixed, last_bytes(key));
    mix(seed, mixed, key.len() as u128) as u32
}

#[inline]
fn mix(seed: u64, mixed: u64, bytes: u128) -> u64 {
    let (low, high) = (bytes as u64, (bytes >> 64) as u64);
    let product = u128::from(low ^ seed) * u128::from(high ^ mixed);
    product as u64 ^ (product >> 64) as u64
}

/// The last sixteen bytes or fewer, each at least once: overlapping reads save a copy.
#[inline]
fn last_bytes(key: &[u8]) -> u128 {
    if let Some(bytes) = key.last_chunk::<16>() {
        return u128::from_le_bytes(*bytes);
    }
    if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        return u128::from(u64::from_le_bytes(*first)) << 64
            | u128::from(u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        return u128::from(u32::from_le_bytes(*first)) << 64
            | u128::from(u32::from_le_bytes(*last));
    }
    match key {
        [first, .., last] => u128::from(*first) << 64 | u128::from(key[1]) << 8 | u128::from(*last),
        _ => key.iter().copied().map(u128::from).sum(),
    }
}

/// Slots of the smallest index, a power of two as all their numbers are.
const MIN_SLOTS: usize = 16;

/// Keys that room is made for before they are seen: 32 KiB of slots.
const MAX_RESERVED_KEYS: usize = 2048;

/// 2^64 divided by the golden ratio, odd: its multiples spread evenly.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(table: &mut KeyTable, key: &str) -> u64 {
        let found = table.find(key.as_bytes());
        if found.added_len > 0 {
            table.insert(key.as_bytes(), found);
        }
        found.index
    }

    #[test]
    fn a_key_keeps_its_index_however_many_follow() {
        let mut table = KeyTable::new(0x0a);
        for _ in 0..2 {
            for round in 0..3 {
                for i in 0..1000 {
                    assert_eq!(index_of(&mut table, &format!("key {i}")), i, "{round}");
                }
            }
            table.clear();
            assert!(table.encoded().is_empty());
        }
    }

    #[test]
    fn the_growth_told_is_the_growth_seen() {
        let mut table = KeyTable::new(0x12);
        for len in [0, 1, 127, 128, 16_383, 16_384] {
            let key = vec![b'k'; len];
            let before = table.encoded().len();
            let found = table.find(&key);
            table.insert(&key, found);
            assert_eq!(table.encoded().len() - before, found.added_len, "{len}");
            assert_eq!(table.find(&key).added_len, 0, "{len}");
        }
    }
}
