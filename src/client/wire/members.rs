//! Members of an answer, read one by one. The error for a member that is missing or cannot be read gives its name.
//!
//! Emulators and proxies write numbers as strings, strings as numbers, `null` for a missing member, or a member twice. A
//! value that has one meaning is taken; members that this library does not need are not looked at. The usual answers of GetRecords and
//! PutRecords never come here: a [scanner](super::scanner) reads them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::{Error, Result};

/// A value somewhere in an answer, and the way to it.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    /// `None` for a member that is missing, or null.
    value: Option<&'a Value>,
    within: Option<&'a Node<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Member(&'a str),
    Item(usize),
}

impl<'a> Node<'a> {
    pub fn root(tree: &'a Value) -> Node<'a> {
        Node {
            value: Some(tree),
            within: None,
            step: Step::Root,
        }
    }

    pub fn at(&'a self, name: &'a str) -> Node<'a> {
        let value = self.value.and_then(|value| value.get(name));
        Node {
            value: value.filter(|value| !value.is_null()),
            within: Some(self),
            step: Step::Member(name),
        }
    }

    /// The items of a list that has to be there: an empty one means something else than none.
    ///
    /// # Errors
    /// `Malformed`: it is no list.
    pub fn items(&'a self) -> Result<impl ExactSizeIterator<Item = Node<'a>> + 'a> {
        let items = self.value.and_then(Value::as_array);
        let items = items.ok_or_else(|| self.wrong("is no list"))?;
        Ok(items.iter().enumerate().map(|(place, value)| Node {
            value: Some(value),
            within: Some(self),
            step: Step::Item(place),
        }))
    }

    /// A text, also one that was written as a number; `None` if it is missing.
    ///
    /// # Errors
    /// `Malformed`: it is something else.
    pub fn text(&self) -> Result<Option<Cow<'a, str>>> {
        match self.value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(_) => Err(self.wrong("is no text")),
        }
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// `Malformed`: it is not.
    pub fn required(&self) -> Result<Cow<'a, str>> {
        self.text()?.ok_or_else(|| self.wrong("is missing"))
    }

    /// What the text means.
    ///
    /// # Errors
    /// `Malformed`: nothing.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self) -> Result<T> {
        let parsed = self.required()?.parse();
        parsed.map_err(|error: T::Err| self.wrong(&error.to_string()))
    }

    /// A whole number from 0, in whatever form; what is below counts as 0. `None` if it is missing or nothing like it.
    pub fn count(&self) -> Option<u64> {
        match self.value? {
            Value::Number(number) if number.is_u64() => number.as_u64(),
            // A float becomes the nearest integer that there is.
            _ => Some(self.decimal()? as u64),
        }
    }

    /// A count that has to be there.
    ///
    /// # Errors
    /// `Malformed`: it is not.
    pub fn required_count(&self) -> Result<u64> {
        self.count().ok_or_else(|| self.wrong("is no number"))
    }

    /// A number with a fraction, as a number or as a text.
    pub fn decimal(&self) -> Option<f64> {
        let number = match self.value? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite())
    }

    pub fn is_missing(&self) -> bool {
        self.value.is_none()
    }

    /// Error for this member, by its name and without its value: it may be a record's.
    pub fn wrong(&self, what: &str) -> Error {
        Error::of_member(format_args!("{self} {what}"))
    }
}

/// `Records[3].Data`
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_inside = self
            .within
            .is_some_and(|within| !matches!(within.step, Step::Root));
        if let Some(within) = self.within {
            write!(f, "{within}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Member(name) if is_inside => write!(f, ".{name}"),
            Step::Member(name) => f.write_str(name),
            Step::Item(place) => write!(f, "[{place}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_read_in_every_form_that_means_one() {
        for (value, count) in [
            (json!(7), Some(7)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!(7.0), Some(7)),
            (json!(7.9), Some(7)),
            (json!(-7), Some(0)),
            (json!(-0.5), Some(0)),
            (json!("7"), Some(7)),
            (json!(" 7.5\n"), Some(7)),
            (json!(1e300), Some(u64::MAX)),
            (json!("NaN"), None),
            (json!("many"), None),
            (json!(null), None),
            (json!([7]), None),
            (json!(true), None),
        ] {
            let tree = json!({ "N": value });
            assert_eq!(Node::root(&tree).at("N").count(), count, "{tree}");
        }
    }

    #[test]
    fn a_member_is_told_by_its_way_and_not_by_its_value() {
        let tree = json!({"Shards": [{"Range": {"Start": ["hidden"], "End": "hidden"}}]});
        let root = Node::root(&tree);
        let shards = root.at("Shards");
        let shard = shards.items().expect("a list").next().expect("a shard");
        let range = shard.at("Range");
        for (error, message) in [
            (
                range.at("Start").text().expect_err("a list"),
                "Shards[0].Range.Start is no text",
            ),
            (
                range.at("None").required().expect_err("missing"),
                "Shards[0].Range.None is missing",
            ),
            (
                range.at("End").required_count().expect_err("a text"),
                "Shards[0].Range.End is no number",
            ),
            (
                root.at("Records").items().err().expect("missing"),
                "Records is no list",
            ),
        ] {
            let expected = format!("response member is malformed: {message}");
            assert_eq!(error.to_string(), expected);
        }
    }
}
