use std::mem;

/// Bytes that grow at the end, with a gap in front for what is known last.
///
/// The gap is as large as the last head was, with a little more, so that usually the head goes where
/// it belongs and nothing moves. Memory is handed out with the bytes, not kept.
pub(super) struct GapBuffer {
    bytes: Vec<u8>,
    /// Where the bytes behind the gap begin.
    start: usize,
    /// The gap and the length that the next bytes begin with.
    usual_gap: usize,
    usual_len: usize,
}

/// A head with the bytes behind it, after `start` bytes that are nothing.
pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
}

impl GapBuffer {
    /// Makes an empty buffer, which holds no memory.
    pub(super) fn new() -> GapBuffer {
        GapBuffer {
            bytes: Vec::new(),
            start: 0,
            usual_gap: MIN_GAP,
            usual_len: 0,
        }
    }

    /// Returns the length of what was appended.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Makes room, if nothing was appended yet, for a head and what will be appended.
    pub(super) fn foresee(&mut self, head_len: usize, len: usize) {
        self.usual_gap = head_len.max(MIN_GAP);
        self.usual_len = len;
    }

    /// Returns where to append.
    #[inline]
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        if self.bytes.is_empty() {
            self.leave_gap();
        }
        &mut self.bytes
    }

    /// Forgets what was appended and keeps at most this much memory.
    pub(super) fn clear(&mut self, max_memory: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(max_memory);
        self.start = 0;
    }

    /// Hands out head and bytes as one, which `room` more will follow, and is empty again.
    ///
    /// They are moved if the head does not fit, or a quarter of the memory would be for nothing.
    pub(super) fn join(&mut self, head: [&[u8]; 3], room: usize) -> Joined {
        let head_len = head.iter().map(|part| part.len()).sum::<usize>();
        let (start, len) = (self.start, self.len());
        self.start = 0;
        let mut bytes = mem::take(&mut self.bytes);
        self.foresee(head_len + head_len / 8, len + room);
        let needed = head_len + len + room;
        match start.checked_sub(head_len) {
            Some(at) if bytes.capacity() - bytes.capacity() / 4 <= needed => {
                write_all(&mut bytes[at..start], head);
                Joined { bytes, start: at }
            }
            _ => Joined {
                bytes: [head[0], head[1], head[2], &bytes[start..]].concat(),
                start: 0,
            },
        }
    }

    #[cold]
    fn leave_gap(&mut self) {
        self.bytes.reserve(self.usual_gap + self.usual_len);
        self.bytes.resize(self.usual_gap, 0);
        self.start = self.usual_gap;
    }
}

fn write_all(mut space: &mut [u8], parts: [&[u8]; 3]) {
    for part in parts {
        let (here, rest) = space.split_at_mut(part.len());
        here.copy_from_slice(part);
        space = rest;
    }
}

/// The least gap, so that a buffer with a gap is never empty.
const MIN_GAP: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(buffer: &mut GapBuffer, head: &[u8], tail: &[u8]) -> Joined {
        buffer.end().extend_from_slice(tail);
        assert_eq!(buffer.len(), tail.len());
        let joined = buffer.join([head, b"", b"|"], 16);
        assert_eq!(joined.bytes[joined.start..], [head, b"|", tail].concat());
        assert_eq!(buffer.len(), 0);
        joined
    }

    #[test]
    fn a_head_of_any_length_comes_before_what_was_appended() {
        let mut buffer = GapBuffer::new();
        for head_len in [0, 5, 15, 16, 17, 200, 3, 4000, 4001, 1] {
            joined(&mut buffer, &vec![b'h'; head_len], &[b't'; 300]);
        }
    }

    #[test]
    fn nothing_moves_when_one_is_like_the_last() {
        let mut buffer = GapBuffer::new();
        joined(&mut buffer, &[b'h'; 1000], &[b't'; 3000]);
        buffer.end();
        let before = buffer.bytes.as_ptr();
        let joined = joined(&mut buffer, &[b'h'; 1100], &[b't'; 2950]);
        assert_eq!(joined.bytes.as_ptr(), before);
        assert!(joined.start > 0);
    }

    #[test]
    fn little_after_much_takes_little_memory() {
        let mut buffer = GapBuffer::new();
        joined(&mut buffer, &[b'h'; 100_000], &[b't'; 1_000_000]);
        let little = joined(&mut buffer, b"h", b"t");
        assert!(little.bytes.capacity() < 100, "{}", little.bytes.capacity());
    }

    #[test]
    fn clearing_keeps_no_more_memory_than_asked() {
        let mut buffer = GapBuffer::new();
        buffer.end().extend_from_slice(&[0; 10_000]);
        buffer.clear(500);
        assert!(buffer.bytes.capacity() <= 500);
        joined(&mut buffer, b"head", b"tail");
    }
}
