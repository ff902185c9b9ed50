use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::PAD;

// The fastest engine of this machine; other processors have only the plain one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static ENGINE: LazyLock<base64::engine::Simd> =
    LazyLock::new(|| base64::engine::Simd::standard(PAD));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINE: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, PAD));

pub(super) fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// Encodes behind what is already in `buffer`.
pub(super) fn encode_into(bytes: &[u8], buffer: &mut Vec<u8>) {
    let start = buffer.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    buffer.resize(start + length, 0);
    // The room is exactly what the engine asked for.
    let _ = ENGINE.encode_slice(bytes, &mut buffer[start..]);
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}
