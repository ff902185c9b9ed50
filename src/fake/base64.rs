use base64::Engine;

use crate::sys::base64::PADDED;

pub(super) fn encode(bytes: &[u8]) -> String {
    PADDED.encode(bytes)
}

/// Encodes behind what is already in `buffer`.
pub(super) fn encode_into(bytes: &[u8], buffer: &mut Vec<u8>) {
    let start = buffer.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    buffer.resize(start + length, 0);
    // The room is exactly what the engine asked for.
    let _ = PADDED.encode_slice(bytes, &mut buffer[start..]);
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    PADDED.decode(text).ok()
}
