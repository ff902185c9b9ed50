//! Seconds as AWS writes them, eight digits at a time.

/// The milliseconds of a text that begins like `1.761500000123E9`, with as many digits, and the rest.
#[inline(always)]
pub(super) fn usual_seconds(text: &[u8]) -> Option<(i64, &[u8])> {
    let (seconds, rest) = text.split_first_chunk::<USUAL_BYTES>()?;
    let [first @ b'1'..=b'9', b'.', .., b'E', b'9'] = seconds else {
        return None;
    };
    if rest.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    // Four digits are in both.
    let high = eight(seconds[2..].first_chunk()?)?;
    let low = eight(seconds[6..].first_chunk()?)?;
    let first = i64::from(first - b'0');
    let millis = first * 1_000_000_000_000 + high * 10_000 + low % 10_000;
    Some((millis, rest))
}

const USUAL_BYTES: usize = 16;

/// The number that eight bytes are, if all of them are digits.
#[inline(always)]
fn eight(bytes: &[u8; 8]) -> Option<i64> {
    // The first one is the lowest.
    let values = u64::from_le_bytes(*bytes) ^ each(b'0');
    // The highest bit of a byte says that it, or one before it, is over 9.
    let others = (values.wrapping_add(each(0x80 - 10)) | values) & each(0x80);
    if others != 0 {
        return None;
    }
    // Of each two neighbours the first counts ten times, and so on.
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    Some(eight as i64)
}

const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn seconds_are_read_to_their_last_digit(
            number in 1_000_000_000_000_i64..10_000_000_000_000,
            at in 0..USUAL_BYTES,
            byte: u8,
        ) {
            let (first, others) = (number / 1_000_000_000_000, number % 1_000_000_000_000);
            let mut text = format!("{first}.{others:012}E9,").into_bytes();
            prop_assert_eq!(usual_seconds(&text), Some((number, &b","[..])));
            prop_assert_eq!(usual_seconds(&text[..at]), None);
            let is_still_read = match at {
                0 => matches!(byte, b'1'..=b'9'),
                1 | 14.. => byte == text[at],
                _ => byte.is_ascii_digit(),
            };
            text[at] = byte;
            prop_assert_eq!(usual_seconds(&text).is_some(), is_still_read);
            text[USUAL_BYTES] = b'9';
            prop_assert_eq!(usual_seconds(&text), None);
        }
    }
}
