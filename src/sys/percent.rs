//! Percent-encoding of RFC 3986, for forms, queries and URLs.

/// Appends a text in which everything but RFC 3986's unreserved characters is `%XX`.
pub(crate) fn push_encoded(target: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                target.push(char::from(byte));
            }
            _ => target.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// The same as a text of its own.
pub(crate) fn encoded(text: &str) -> String {
    let mut target = String::with_capacity(text.len());
    push_encoded(&mut target, text);
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_characters_stay_and_all_others_are_encoded() {
        assert_eq!(encoded("aZ09-._~"), "aZ09-._~");
        assert_eq!(encoded("a b/c?é"), "a%20b%2Fc%3F%C3%A9");
    }
}
