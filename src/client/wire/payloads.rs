//! Payloads as base64, short ones together: vector instructions need a long one, and what they leave of
//! each is finished byte by byte, which takes longer than all the rest.

use base64::Engine;

use crate::sys::base64::ANY_PADDING;

/// Payloads of a request as text.
#[derive(Default)]
pub(super) struct Encoder {
    joined: Vec<u8>,
    encoded: Vec<u8>,
}

impl Encoder {
    /// Encodes payloads together, unless they are so long that each is better encoded into its place.
    pub fn encode<'a>(
        &mut self,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> bool {
        let bytes: usize = payloads.clone().map(<[u8]>::len).sum();
        if bytes > payloads.len() * JOINED_BYTES_MAX {
            return false;
        }
        self.joined.clear();
        for payload in payloads {
            self.joined.extend_from_slice(payload);
            let padding = self.joined.len().next_multiple_of(3);
            self.joined.resize(padding, 0);
        }
        let bytes = self.joined.len() / 3 * 4;
        if self.encoded.len() < bytes {
            self.encoded.resize(bytes, 0);
        }
        let written = ANY_PADDING.encode_slice(&self.joined, &mut self.encoded);
        debug_assert_eq!(written.ok(), Some(bytes));
        true
    }

    /// The text of a payload of this length, which begins at a place among those that were encoded.
    pub fn text(&mut self, at: usize, bytes: usize) -> &[u8] {
        let text = &mut self.encoded[at..at + encoded_bytes(bytes)];
        let padding = bytes.next_multiple_of(3) - bytes;
        let meaning = text.len() - padding;
        text[meaning..].fill(b'=');
        text
    }
}

/// As long as its text is.
pub(super) fn encoded_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

pub(super) fn encode_into(payload: &[u8], room: &mut [u8]) {
    let written = ANY_PADDING.encode_slice(payload, room);
    debug_assert_eq!(written.ok(), Some(encoded_bytes(payload.len())));
}

/// Of an average payload: to copy a longer one takes more than is won.
const JOINED_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn together_they_are_what_each_is_alone(
            requests in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..9),
                1..4,
            ),
        ) {
            let mut encoder = Encoder::default();
            for payloads in requests {
                prop_assert!(encoder.encode(payloads.iter().map(|payload| &payload[..])));
                let mut start = 0;
                for payload in payloads {
                    let mut text = vec![0; encoded_bytes(payload.len())];
                    encode_into(&payload, &mut text);
                    prop_assert_eq!(encoder.text(start, payload.len()), &text[..]);
                    start += text.len();
                }
            }
        }
    }

    #[test]
    fn long_ones_are_not_copied() {
        let long = vec![7; JOINED_BYTES_MAX + 1];
        let mut encoder = Encoder::default();
        assert!(!encoder.encode([&long[..]].into_iter()));
        assert!(encoder.encode([&long[..], b""].into_iter()));
    }
}
