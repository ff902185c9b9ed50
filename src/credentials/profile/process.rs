//! `credential_process`: a program that prints credentials.
//!
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>

use std::time::Duration;

use crate::credentials::profile::PLACE;
use crate::credentials::{Outside, document};
use crate::error::{Error, Result};
use crate::sign::Credentials;

/// Runs the program and reads what it prints. Blocks for a minute at most.
///
/// # Errors
/// `Malformed`: the program failed, or printed something else.
pub(super) fn credentials(outside: &Outside, command: &str) -> Result<Credentials> {
    let failed = |lack: String| Error::malformed(PLACE, format_args!("credential_process: {lack}"));
    let words = words(command).map_err(|lack| failed(lack.to_owned()))?;
    let printed = outside.env.run(&words, TIMEOUT).map_err(failed)?;
    let document = document::object(&printed)?;
    match document.get("Version") {
        Some(version) if version.as_u64() == Some(1) => {}
        _ => {
            return Err(failed(
                "what it prints has not the Version 1, the only one that is known".to_owned(),
            ));
        }
    }
    document::of_object(&document, &document::PROCESS)
}

/// Splits a command into words as a shell does, and does nothing else of what a shell does.
///
/// Blanks separate words. Single quotes keep everything, double quotes everything but a backslash before `"` or `\`;
/// outside of quotes a backslash keeps the next character. On Windows a backslash is a character of a path.
fn words(command: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some('"'), '\\') if matches!(characters.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(characters.next());
            }
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '\\') if !cfg!(windows) => {
                let kept = characters.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_default().push(kept);
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    match quote {
        Some(_) => Err("it has a quote that does not end"),
        None => Ok(words),
    }
}

/// Some ask a person to touch a key; longer than that nobody waits.
const TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::outside;

    fn ask(printed: &'static str) -> Result<Credentials> {
        let (outside, _) = outside(&[("$ vault|--role|a b", printed)], []);
        credentials(&outside, "vault --role 'a b'")
    }

    #[test]
    fn what_the_program_prints_is_read() {
        let printed = r#"{"Version":1,"AccessKeyId":"ASIA","SecretAccessKey":"s","SessionToken":"t","Expiration":"2026-11-22T20:34:15Z"}"#;
        let credentials = ask(printed).expect("sound");
        let expected = Credentials::new("ASIA", "s").with_session_token("t");
        assert!(credentials.is_same(&expected));
        let seconds = Duration::from_secs(1_795_379_655);
        assert_eq!(
            credentials.expires_at(),
            Some(std::time::SystemTime::UNIX_EPOCH + seconds)
        );
    }

    #[test]
    fn what_else_it_does_is_an_error_without_its_output() {
        for (printed, wrong) in [
            (
                r#"{"AccessKeyId":"hidden"}"#,
                "profile is malformed: credential_process: what it prints has not the Version 1, the only one that is known",
            ),
            (
                r#"{"Version":2,"AccessKeyId":"hidden"}"#,
                "profile is malformed: credential_process: what it prints has not the Version 1, the only one that is known",
            ),
            (
                "hidden",
                "credentials document is malformed: it is no JSON object, line 1 column 1",
            ),
            (
                r#"{"Version":1,"AccessKeyId":"hidden"}"#,
                "credentials document is malformed: it has no SecretAccessKey",
            ),
        ] {
            assert_eq!(ask(printed).expect_err(wrong).to_string(), wrong);
        }
        let (outside, _) = outside(&[], []);
        let error = credentials(&outside, "vault").expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "profile is malformed: credential_process: no such program"
        );
    }

    #[test]
    fn a_command_is_split_into_words_like_a_shell_does() {
        let split = |command| words(command).expect("words");
        assert_eq!(split("a  b\tc"), ["a", "b", "c"]);
        assert_eq!(
            split(r#""/opt/my tools/x" 'it is' a"b"'c' """#),
            ["/opt/my tools/x", "it is", "abc", ""]
        );
        assert_eq!(split(r#""a\"b\\c\d" '\'"#), [r#"a"b\c\d"#, "\\"]);
        #[cfg(unix)]
        assert_eq!(split(r"a\ b $HOME;x"), ["a b", "$HOME;x"]);
        assert_eq!(split(" "), [""; 0]);
        for command in ["'a", "\"a", "a'b"] {
            assert_eq!(words(command), Err("it has a quote that does not end"));
        }
    }
}
