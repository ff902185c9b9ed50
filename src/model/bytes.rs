/// Says whether all bytes of a text are right.
///
/// Looks at sixteen at once, at the last sixteen perhaps twice, and never ends early: for vector
/// instructions.
#[inline(always)]
pub(crate) fn all(text: &[u8], is_right: impl Fn(u8) -> bool) -> bool {
    let both = |all: bool, byte: &u8| all & is_right(*byte);
    let Some(last) = text.last_chunk::<16>() else {
        return text.iter().fold(true, both);
    };
    let all = |all: bool, chunk: &[u8; 16]| all & chunk.iter().fold(true, both);
    let (chunks, _) = text.as_chunks();
    all(chunks.iter().fold(true, all), last)
}

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn each_byte_counts() {
        for length in 0..70 {
            let mut text = vec![b'0'; length];
            assert!(all(&text, |byte| byte.is_ascii_digit()));
            for at in 0..length {
                text[at] = b'x';
                assert!(!all(&text, |byte| byte.is_ascii_digit()), "{length} {at}");
                text[at] = b'0';
            }
        }
    }
}
