//! URLs as they may be told: without the name and the password that they may hold.

use std::borrow::Cow;

/// Replaces the user information of a URL, `user:password@`, by `***@`.
///
/// For any text that may be one, also a malformed one: then all between `://`, or the text's start,
/// and the last `@` counts as user information, as a password may hold any character.
pub(crate) fn without_password(text: &str) -> Cow<'_, str> {
    let Some((front, host)) = text.rsplit_once('@') else {
        return Cow::Borrowed(text);
    };
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (scheme, user) = match front.split_once("://") {
        Some((scheme, user)) if is_scheme(scheme) => (&front[..scheme.len() + "://".len()], user),
        _ => ("", front),
    };
    // An address of mail, or what else has the sign and no password.
    if scheme.is_empty() && !user.contains(':') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{scheme}***@{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_is_told_without_its_user_and_password() {
        for (text, told) in [
            (
                "http://user:hidden@host:8080/path",
                "http://***@host:8080/path",
            ),
            ("https://hidden@host", "https://***@host"),
            ("http://user:hid/den?@host/", "http://***@host/"),
            ("http://user:hid@den@host/", "http://***@host/"),
            ("http://user:http://hidden@host/", "http://***@host/"),
            ("user:hidden@host:8080", "***@host:8080"),
            ("user:hid://den@host:8080", "***@host:8080"),
            ("ftp//user:hidden@host", "***@host"),
            ("http://host/path", "http://host/path"),
            ("somebody@example.com", "somebody@example.com"),
            ("30s", "30s"),
            ("", ""),
        ] {
            assert_eq!(without_password(text), told, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_password_is_left_in_a_url(password in "[!-~]{8,30}", scheme in "(https?://)?") {
            let told = without_password(&format!("{scheme}user:{password}@host")).into_owned();
            prop_assert!(!told.contains(&password), "{told}");
            if !scheme.is_empty() {
                prop_assert_eq!(told, format!("{scheme}***@host"));
            }
        }
    }
}
