//! Access key, secret key and session token: three texts that make sense together only.

use crate::sign::Credentials;

/// The texts that one place has, each with the name by which the place calls it.
///
/// A set comes from one place as a whole. Two halves from two places would sign with a pair that nobody made.
pub(super) struct KeySet<'a> {
    pub id: (&'a str, Option<String>),
    pub secret: (&'a str, Option<String>),
    pub token: (&'a str, Option<String>),
}

impl KeySet<'_> {
    /// Makes credentials of the set; `None` if the place has none of the three.
    ///
    /// Blanks and line ends around a text are dropped. An empty session token counts as none.
    ///
    /// # Errors
    /// Names the text that is missing, empty, or holds what no key has. Never quotes one.
    pub fn credentials(self) -> Result<Option<Credentials>, String> {
        let (id_name, secret_name, token_name) = (self.id.0, self.secret.0, self.token.0);
        let (id, secret) = (checked(self.id)?, checked(self.secret)?);
        let token = self.token.1.filter(|token| !token.trim().is_empty());
        let token = checked((token_name, token))?;
        match (id, secret) {
            (Some(id), Some(secret)) => {
                let credentials = Credentials::new(id, secret);
                Ok(Some(match token {
                    Some(token) => credentials.with_session_token(token),
                    None => credentials,
                }))
            }
            (Some(_), None) => Err(half(id_name, secret_name)),
            (None, Some(_)) => Err(half(secret_name, id_name)),
            (None, None) if token.is_some() => Err(half(token_name, id_name)),
            (None, None) => Ok(None),
        }
    }
}

fn half(present: &str, absent: &str) -> String {
    format!("{present} is set and {absent} is not: set both, or neither")
}

/// What AWS makes has ASCII letters, digits and signs only. Anything else is a slip on the way here: a second line, a
/// blank from a copy, a wrong encoding.
fn checked((name, value): (&str, Option<String>)) -> Result<Option<String>, String> {
    let Some(value) = value else { return Ok(None) };
    let value = value.trim();
    if value.is_empty() {
        return Err(format!("{name} is empty"));
    }
    match value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(value.to_owned())),
        false => Err(format!(
            "{name} has a blank, a line end or a character outside of ASCII in it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(
        id: Option<&str>,
        secret: Option<&str>,
        token: Option<&str>,
    ) -> Result<Option<Credentials>, String> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let set = KeySet {
            id: ("ID", owned(id)),
            secret: ("SECRET", owned(secret)),
            token: ("TOKEN", owned(token)),
        };
        set.credentials()
    }

    #[test]
    fn a_whole_set_makes_credentials_without_the_blanks_around_it() {
        let made = set(Some("AKID\r\n"), Some(" secret\n"), Some("token\t")).expect("sound");
        let expected = Credentials::new("AKID", "secret").with_session_token("token");
        assert!(made.expect("some").is_same(&expected));
        for token in [None, Some(""), Some(" \n")] {
            let made = set(Some("AKID"), Some("secret"), token).expect("sound");
            assert!(
                made.expect("some")
                    .is_same(&Credentials::new("AKID", "secret"))
            );
        }
        assert!(set(None, None, None).expect("sound").is_none());
    }

    #[test]
    fn a_part_of_a_set_is_an_error_that_names_the_other_part() {
        for (id, secret, token, wrong) in [
            (
                Some("a"),
                None,
                None,
                "ID is set and SECRET is not: set both, or neither",
            ),
            (
                None,
                Some("s"),
                None,
                "SECRET is set and ID is not: set both, or neither",
            ),
            (
                None,
                None,
                Some("t"),
                "TOKEN is set and ID is not: set both, or neither",
            ),
            (Some(""), Some("s"), None, "ID is empty"),
            (Some("a"), Some(" "), None, "SECRET is empty"),
        ] {
            assert_eq!(set(id, secret, token).expect_err(wrong), wrong);
        }
    }

    #[test]
    fn a_text_that_no_key_has_is_refused_by_its_name_and_never_quoted() {
        for hidden in [
            "hid den",
            "hid\nden",
            "hid\u{fffd}den",
            "hid\u{202e}den",
            "hid\0den",
        ] {
            let wrong = set(Some(hidden), Some("s"), None).expect_err(hidden);
            assert_eq!(
                wrong,
                "ID has a blank, a line end or a character outside of ASCII in it"
            );
            assert!(
                set(Some("a"), Some(hidden), None)
                    .is_err_and(|wrong| wrong.starts_with("SECRET has"))
            );
            assert!(
                set(Some("a"), Some("s"), Some(hidden))
                    .is_err_and(|wrong| wrong.starts_with("TOKEN has"))
            );
        }
    }
}
