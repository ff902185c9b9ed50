//! Text from outside, made fit for a line of a log and for a terminal.
//!
//! A service, a file or an environment variable may hold a line break, which forges a line of the log,
//! an escape sequence, which moves the terminal's cursor, or a character that turns the direction of
//! the text behind it. Messages show them as escapes.

use std::fmt::{self, Display, Formatter, Write};

/// Displays what it wraps, with control and direction-changing characters as escapes.
pub(crate) struct Escaped<T>(pub T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes what is written to it on, with control and direction-changing characters as escapes.
///
/// Escapes are plain text themselves: escaping twice is the same as once.
pub(crate) struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        // Nearly always nothing is found, and the text is written in one piece.
        while let Some(start) = rest.find(is_misleading) {
            let (plain, from) = rest.split_at(start);
            self.0.write_str(plain)?;
            let mut behind = from.chars();
            for escape in behind.next().into_iter().flat_map(char::escape_default) {
                self.0.write_char(escape)?;
            }
            rest = behind.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Says whether a character makes a terminal or an editor show something else than the text.
///
/// Source: <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>; 206A to 206F are
/// their deprecated kin.
pub(crate) fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}'
            | '\u{200e}' | '\u{200f}'
            // Both separators end a line in many programs.
            | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_and_direction_changing_characters_become_escapes() {
        for (text, shown) in [
            ("", ""),
            (
                "Größe, 大きさ, 🦀 and \u{a0}",
                "Größe, 大きさ, 🦀 and \u{a0}",
            ),
            ("one\ntwo\r\n", "one\\ntwo\\r\\n"),
            ("\u{1b}[31mred\u{7f}", "\\u{1b}[31mred\\u{7f}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            (
                "a\u{2066}b\u{2069}c\u{2028}",
                "a\\u{2066}b\\u{2069}c\\u{2028}",
            ),
            (
                "\u{61c}\u{200e}\u{200f}\u{2029}",
                "\\u{61c}\\u{200e}\\u{200f}\\u{2029}",
            ),
        ] {
            assert_eq!(Escaped(text).to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn the_bounds_of_each_range_are_kept() {
        for (below, first, last, above) in [
            ('\u{1f}', '\u{7f}', '\u{9f}', '\u{a0}'),
            ('\u{2027}', '\u{2028}', '\u{202e}', '\u{202f}'),
            ('\u{2065}', '\u{2066}', '\u{206f}', '\u{2070}'),
            ('\u{200d}', '\u{200e}', '\u{200f}', '\u{2010}'),
            ('\u{61b}', '\u{61c}', '\u{61c}', '\u{61d}'),
        ] {
            assert!(is_misleading(first) && is_misleading(last));
            assert!(!is_misleading(above), "{above:?}");
            // What is below the first range is a control character as well.
            assert_eq!(is_misleading(below), below == '\u{1f}', "{below:?}");
        }
        assert!(is_misleading('\0') && !is_misleading(' ') && !is_misleading('~'));
    }

    proptest! {
        #[test]
        fn nothing_misleading_is_left_and_all_else_stays(text in any::<String>()) {
            let shown = Escaped(&text).to_string();
            prop_assert!(!shown.contains(is_misleading));
            prop_assert_eq!(&Escaped(&shown).to_string(), &shown);
            let mut expected = String::new();
            for c in text.chars() {
                match is_misleading(c) {
                    true => expected.extend(c.escape_default()),
                    false => expected.push(c),
                }
            }
            prop_assert_eq!(shown, expected);
        }
    }
}
