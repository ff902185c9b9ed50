//! Buffers of a connection that grow with what goes over it.
//!
//! ureq's own have a fixed size: small ones take a hundred system calls for a full answer of
//! GetRecords, and large ones a thousand times their memory for a thousand shards without news.

use std::sync::Arc;

use ureq::unversioned::transport::Buffers;

use crate::sys::buffers;

/// Small until a request or an answer is long.
pub(super) struct GrowingBuffers {
    memory: Arc<buffers::Buffers>,
    /// For requests that fit.
    output: Vec<u8>,
    /// In its place while a long body is sent; empty otherwise.
    long_output: Vec<u8>,
    /// How much of the output is waiting to be sent.
    filled: usize,
    /// Whether what is put out is a part of a body.
    is_body: bool,
    /// What was put out since the last answer.
    request_bytes: usize,
    /// Whether the last request was too long for the small output: so the next one probably is.
    is_long: bool,
    input: Vec<u8>,
    /// The part of the input that was read from the socket and not consumed.
    start: usize,
    end: usize,
    /// Whether what is there has not been looked at in vain.
    is_usable: bool,
}

impl GrowingBuffers {
    pub fn new(memory: Arc<buffers::Buffers>) -> GrowingBuffers {
        GrowingBuffers {
            memory,
            output: Vec::new(),
            long_output: Vec::new(),
            filled: 0,
            is_body: false,
            request_bytes: 0,
            is_long: false,
            input: Vec::new(),
            start: 0,
            end: 0,
            is_usable: false,
        }
    }

    /// Notes what was written to the output; says whether it should be sent now.
    pub fn output_filled(&mut self, amount: usize) -> bool {
        self.filled += amount;
        self.request_bytes += amount;
        self.is_body || self.filled > self.output.len() / 2
    }

    pub fn take_output(&mut self) -> &[u8] {
        let filled = std::mem::take(&mut self.filled);
        &self.whole_output()[..filled]
    }

    fn whole_output(&mut self) -> &mut Vec<u8> {
        match self.long_output.is_empty() {
            true => &mut self.output,
            false => &mut self.long_output,
        }
    }

    /// Borrows memory for a long body, behind the headers that wait for it.
    fn lengthen_output(&mut self) {
        let mut long = self.memory.take(LONG_OUTPUT_BYTES);
        long.resize(LONG_OUTPUT_BYTES, 0);
        long[..self.filled].copy_from_slice(&self.output[..self.filled]);
        self.long_output = long;
    }

    /// Gives back what was borrowed for a request, if one went out since the last answer.
    pub fn request_is_out(&mut self) {
        if self.request_bytes > 0 {
            self.is_long = self.request_bytes > self.output.len();
            self.request_bytes = 0;
            self.memory.give_back(std::mem::take(&mut self.long_output));
        }
    }

    /// Makes room behind what is read and not consumed.
    fn make_room(&mut self) {
        let is_full = self.end == self.input.len();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if is_full {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if is_full {
            // A read that filled everything is probably followed by another.
            let bytes = (4 * self.input.len()).clamp(INPUT_BYTES_MIN, INPUT_BYTES_MAX);
            self.input.resize(bytes.max(self.end + INPUT_BYTES_MIN), 0);
        }
    }
}

impl Buffers for GrowingBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.is_body = false;
        if self.output.is_empty() {
            self.output = vec![0; OUTPUT_BYTES_MIN];
        }
        let filled = self.filled;
        &mut self.whole_output()[filled..]
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.is_usable = amount > 0;
        self.start += amount;
    }

    /// Room for the next part of a body. The first of the two is not used for bodies of known length.
    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // A second part shows that the body is a long one.
        let is_long = self.is_long || self.is_body;
        self.output();
        self.is_body = true;
        if is_long && self.long_output.is_empty() {
            self.lengthen_output();
        }
        self.make_room();
        let output = match self.long_output.is_empty() {
            true => &mut self.output,
            false => &mut self.long_output,
        };
        (&mut self.input[self.end..], &mut output[self.filled..])
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.is_usable
    }
}

/// A poll's answer mostly fits.
const INPUT_BYTES_MIN: usize = 8 << 10;

/// Twice the headers with the longest session token, and a poll's whole request.
const OUTPUT_BYTES_MIN: usize = 16 << 10;

/// Of more the system gives no more at once, and it would not stay in the processor's cache.
const INPUT_BYTES_MAX: usize = 256 << 10;

/// What goes out at once. Each system call wakes who reads: a long request takes few of them.
const LONG_OUTPUT_BYTES: usize = 1 << 20;

/// As many as a producer sends at a time.
pub(super) const LONG_OUTPUTS_IDLE_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers() -> GrowingBuffers {
        GrowingBuffers::new(Arc::new(buffers::Buffers::keeping(1)))
    }

    #[test]
    fn buffers_grow_with_what_goes_through_them_and_lose_nothing() {
        let (mut buffers, mut got, mut sizes) = (buffers(), Vec::new(), Vec::new());
        let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut left = &bytes[..];
        while !left.is_empty() || buffers.start < buffers.end {
            let room = buffers.input_append_buf();
            let amount = room.len().min(left.len());
            room[..amount].copy_from_slice(&left[..amount]);
            left = &left[amount..];
            buffers.input_appended(amount);
            sizes.push(buffers.input.len());
            // Not all of it: the rest is moved to the front.
            let consumed = buffers.input().len().div_ceil(2).max(amount / 2);
            got.extend_from_slice(&buffers.input()[..consumed]);
            buffers.input_consume(consumed);
        }
        assert!(got == bytes);
        assert!(
            sizes.is_sorted() && sizes[0] == INPUT_BYTES_MIN,
            "{sizes:?}"
        );
        assert!(
            sizes.iter().all(|size| *size <= 2 * INPUT_BYTES_MAX),
            "{sizes:?}"
        );
        sizes.dedup();
        let first = [1, 4, 16].map(|times| times * INPUT_BYTES_MIN);
        assert_eq!(sizes[..3], first, "a few reads are enough to grow");
    }

    #[test]
    fn input_is_of_use_while_it_is_consumed_and_not_after_a_look_in_vain() {
        let mut buffers = buffers();
        buffers.input_append_buf()[..4].copy_from_slice(b"part");
        buffers.input_appended(4);
        assert!(!buffers.can_use_input(), "ureq looks at once");
        for (consumed, can_use) in [(0, false), (1, true), (0, false), (2, true), (1, false)] {
            buffers.input_consume(consumed);
            assert_eq!(buffers.can_use_input(), can_use, "{:?}", buffers.input());
        }
    }

    #[test]
    fn headers_wait_until_they_fill_more_than_half_of_the_output() {
        let mut buffers = buffers();
        let half = buffers.output().len() / 2;
        assert!(!buffers.output_filled(half));
        assert!(buffers.output_filled(1));
    }

    /// Sends a body, and gives the bytes of each of its parts.
    fn parts_of(buffers: &mut GrowingBuffers, head: &[u8], body: &[u8]) -> (Vec<usize>, Vec<u8>) {
        let (mut parts, mut sent, mut left) = (Vec::new(), Vec::new(), body);
        buffers.output()[..head.len()].copy_from_slice(head);
        assert!(!buffers.output_filled(head.len()));
        while !left.is_empty() {
            let room = buffers.tmp_and_output().1;
            let amount = room.len().min(left.len());
            room[..amount].copy_from_slice(&left[..amount]);
            left = &left[amount..];
            assert!(buffers.output_filled(amount));
            sent.extend_from_slice(buffers.take_output());
            parts.push(amount);
        }
        buffers.request_is_out();
        // Once for each read of an answer.
        buffers.request_is_out();
        (parts, sent)
    }

    #[test]
    fn a_long_body_borrows_memory_from_its_first_part_on_if_the_last_one_was_long() {
        let (mut buffers, head) = (buffers(), b"head");
        let (long, short) = (vec![7; 2_000_000], vec![8; 1_000]);
        let (small, large) = (OUTPUT_BYTES_MIN, LONG_OUTPUT_BYTES);
        let (fitting, nearly) = (vec![6; small - 4], vec![9; small - 3]);
        for (body, expected) in [
            (&short, vec![1_000]),
            (&long, vec![small - 4, large, 2_000_000 - large - small + 4]),
            (&long, vec![large - 4, 2_000_000 - large + 4]),
            (&fitting, vec![small - 4]),
            (&nearly, vec![small - 4, 1]),
            (&nearly, vec![small - 3]),
            (&short, vec![1_000]),
            (&short, vec![1_000]),
            (&long, vec![small - 4, large, 2_000_000 - large - small + 4]),
        ] {
            let (parts, sent) = parts_of(&mut buffers, head, body);
            assert_eq!(parts, expected);
            assert!(sent[..4] == *head && sent[4..] == body[..]);
            assert_eq!(buffers.long_output, [0; 0], "it is given back");
        }
        assert_eq!(
            buffers.memory.take(LONG_OUTPUT_BYTES).len(),
            LONG_OUTPUT_BYTES
        );
    }
}
