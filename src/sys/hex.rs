//! Bytes as hexadecimal digits.

/// Writes two lower-case digits a byte.
pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let pairs = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(encoded([0, 0x9a, 0xff]), "009aff");
        assert_eq!(encoded([]), "");
    }
}
