use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Takes data out of gzip, as CloudWatch Logs puts them. What is no gzip, is damaged, or would be larger
/// than `max` bytes, stays as it is.
pub fn decompressed(data: &[u8], max: usize) -> Cow<'_, [u8]> {
    if !data.starts_with(MAGIC) {
        return data.into();
    }
    let mut plain = Vec::new();
    // One byte more says that there are too many.
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(data)
        .take(limit)
        .read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() <= max => plain.into(),
        _ => data.into(),
    }
}

/// Begins what gzip compressed by its only method, deflate (RFC 1952, 2.3.1).
const MAGIC: &[u8] = b"\x1f\x8b\x08";
