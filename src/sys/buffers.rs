//! Memory for long messages: the same again and again.

use crate::sys::lock::lock;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// What is kept of those that nobody uses, unless said.
const IDLE_MAX: usize = 4;

/// What is kept of one: more than a full answer at the rate that a shard is read at for two seconds.
const IDLE_BYTES_MAX: usize = 4 << 20;

/// A smaller one is made faster than kept.
const KEPT_BYTES_MIN: usize = 16 << 10;

/// Buffers that await their next message: so many at most, of [`IDLE_BYTES_MAX`] at most.
pub(crate) struct Buffers(Arc<Home>);

struct Home {
    /// The last one in is the first one out: more of it is in the processor's cache.
    idle: Mutex<Vec<Vec<u8>>>,
    idle_max: usize,
}

impl Home {
    fn take(&self) -> Option<Vec<u8>> {
        lock(&self.idle).pop()
    }

    /// Keeps a buffer; one too many is freed, and so is one that is small or large.
    fn keep(&self, buffer: Vec<u8>) {
        let mut idle = lock(&self.idle);
        if idle.len() < self.idle_max && is_worth_keeping(&buffer) {
            idle.push(buffer);
        }
    }
}

impl Buffers {
    pub fn keeping(idle_max: usize) -> Buffers {
        let idle = Mutex::default();
        Buffers(Arc::new(Home { idle, idle_max }))
    }

    /// Memory for a message of about so many bytes. What is in it is left from another one.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        match bytes < KEPT_BYTES_MIN {
            true => Vec::new(),
            false => self.0.take().unwrap_or_else(new_buffer),
        }
    }

    /// Keeps memory that was taken and made no message.
    pub fn give_back(&self, buffer: Vec<u8>) {
        self.0.keep(buffer);
    }

    /// The message that the buffer begins with. The buffer comes back when nobody needs it any more.
    pub fn lend(&self, mut buffer: Vec<u8>, bytes: usize) -> Bytes {
        if !is_worth_keeping(&buffer) {
            buffer.truncate(bytes);
            return buffer.into();
        }
        let home = self.0.clone();
        let mut message = Bytes::from_owner(Lent { buffer, home });
        message.truncate(bytes);
        message
    }
}

/// A message that is being written into memory which may hold an older one: what is written over is
/// not cleared before.
pub(crate) struct Writing {
    memory: Vec<u8>,
    written: usize,
}

impl Writing {
    /// Begins where `memory` does, with room for so many bytes.
    pub fn over(memory: Vec<u8>, bytes: usize) -> Writing {
        let memory = match memory.len() < bytes {
            // New memory is often clear already.
            true => vec![0; bytes],
            false => memory,
        };
        let written = 0;
        Writing { memory, written }
    }

    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.push_by(bytes.len(), |room| room.copy_from_slice(bytes));
    }

    /// Lets so many bytes be written, all of them.
    #[inline]
    pub fn push_by(&mut self, bytes: usize, write: impl FnOnce(&mut [u8])) {
        let end = self.written + bytes;
        if end > self.memory.len() {
            self.grow(end);
        }
        write(&mut self.memory[self.written..end]);
        self.written = end;
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        self.memory.resize(bytes.max(2 * self.memory.len()), 0);
    }

    /// The message, whose memory is its own.
    pub fn into_message(mut self) -> Bytes {
        self.memory.truncate(self.written);
        self.memory.into()
    }

    /// The memory, and how much of it is the message.
    pub fn finish(self) -> (Vec<u8>, usize) {
        (self.memory, self.written)
    }
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers::keeping(IDLE_MAX)
    }
}

fn is_worth_keeping(buffer: &Vec<u8>) -> bool {
    (KEPT_BYTES_MIN..=IDLE_BYTES_MAX).contains(&buffer.capacity())
}

/// glibc hands what is freed back to the kernel, to be faulted in again page by page, unless it has seen
/// a larger piece come and go. What an answer is made into is freed with each, so it is shown one.
fn new_buffer() -> Vec<u8> {
    drop(black_box(Vec::<u8>::with_capacity(IDLE_BYTES_MAX)));
    Vec::new()
}

struct Lent {
    buffer: Vec<u8>,
    home: Arc<Home>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.keep(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_message_is_the_next_ones_when_its_last_slice_is_gone() {
        let buffers = Buffers::default();
        let message = buffers.lend(vec![7; 20_000], 19_000);
        let (at, slice) = (message.as_ptr(), message.slice(5..10));
        assert_eq!(message, vec![7; 19_000]);
        drop(message);
        assert_eq!(buffers.take(20_000), [0; 0], "it is still read");
        drop(slice);
        let next = buffers.take(20_000);
        assert_eq!((next.as_ptr(), next.len()), (at, 20_000));
        assert_eq!(buffers.take(20_000), [0; 0], "it is in use");
    }

    #[test]
    fn few_are_kept_and_none_that_is_small_or_large() {
        let buffers = Buffers::default();
        for bytes in [KEPT_BYTES_MIN - 1, IDLE_BYTES_MAX + 1] {
            assert_eq!(buffers.lend(vec![7; bytes], 9), [7; 9][..]);
            assert_eq!(buffers.0.take(), None, "{bytes}");
        }
        let lent = [IDLE_BYTES_MAX; 10].map(|bytes| buffers.lend(vec![0; bytes], bytes));
        drop(lent);
        let kept = std::iter::from_fn(|| buffers.0.take());
        assert_eq!(kept.count(), IDLE_MAX);
        assert_eq!(buffers.take(KEPT_BYTES_MIN - 1), [0; 0], "it needs none");
    }

    #[test]
    fn the_last_one_used_is_the_next() {
        let buffers = Buffers::keeping(2);
        for byte in [1, 2, 3] {
            buffers.give_back(vec![byte; KEPT_BYTES_MIN]);
        }
        let next = || buffers.take(KEPT_BYTES_MIN).first().copied();
        assert_eq!([next(), next(), next()], [Some(2), Some(1), None]);
    }

    #[test]
    fn what_is_written_replaces_what_was_there_and_grows() {
        for before in [Vec::new(), vec![7; 5], vec![7; 100]] {
            let mut message = Writing::over(before, 4);
            message.push(b"abc");
            message.push_by(2, |room| room.fill(b'd'));
            message.push(b"");
            message.push(&[b'e'; 20]);
            assert_eq!(message.into_message(), "abcddeeeeeeeeeeeeeeeeeeee");
        }
    }

    #[test]
    fn a_message_may_outlive_where_its_memory_belongs() {
        let message = Buffers::default().lend(vec![7; 20_000], 20_000);
        assert_eq!(message, vec![7; 20_000]);
    }
}
