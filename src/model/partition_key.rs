use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The partition key of a record that was read: a slice of the text of all keys of an answer.
///
/// Used like a `&str`. Cheap to clone; keeps the other keys of the answer alive, so make a `String`
/// of one that is kept for long.
#[derive(Clone)]
pub struct PartitionKey {
    /// `None` holds the empty key, for which no memory is needed.
    text: Option<Arc<str>>,
    start: u32,
    end: u32,
}

impl PartitionKey {
    /// The key of no characters.
    pub(crate) const EMPTY: PartitionKey = PartitionKey {
        text: None,
        start: 0,
        end: 0,
    };

    /// How many bytes it has, told without a look at the text.
    pub(crate) fn bytes_len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Takes a slice of a text, if the text has it.
    pub(crate) fn slice(text: &Arc<str>, range: Range<u32>) -> Option<PartitionKey> {
        let Range { start, end } = range;
        text.get(start as usize..end as usize)?;
        Some(PartitionKey {
            text: Some(Arc::clone(text)),
            start,
            end,
        })
    }
}

impl Deref for PartitionKey {
    type Target = str;

    fn deref(&self) -> &str {
        let range = self.start as usize..self.end as usize;
        let text = self.text.as_ref().and_then(|text| text.get(range));
        text.unwrap_or_default()
    }
}

impl AsRef<str> for PartitionKey {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for PartitionKey {
    fn borrow(&self) -> &str {
        self
    }
}

/// All of a text, up to 4 GiB of it.
impl<T: Into<Arc<str>>> From<T> for PartitionKey {
    fn from(text: T) -> PartitionKey {
        let text = text.into();
        let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        PartitionKey {
            text: Some(text),
            start: 0,
            end,
        }
    }
}

impl PartialEq for PartitionKey {
    fn eq(&self, other: &PartitionKey) -> bool {
        **self == **other
    }
}

impl Eq for PartitionKey {}

impl PartialEq<str> for PartitionKey {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for PartitionKey {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialOrd for PartitionKey {
    fn partial_cmp(&self, other: &PartitionKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PartitionKey {
    fn cmp(&self, other: &PartitionKey) -> Ordering {
        (**self).cmp(other)
    }
}

impl Hash for PartitionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Shows the length only: keys are often names of people or accounts.
impl fmt::Debug for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionKey({} bytes)", self.len())
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
