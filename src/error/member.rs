use std::sync::Arc;

use crate::error::{Error, ErrorKind, Inner};

impl Error {
    /// An answer that was JSON and had a member that cannot be read. Names the member.
    pub(crate) fn of_member(detail: impl std::fmt::Display) -> Error {
        Error::malformed(MEMBER, detail)
    }

    /// The member that could not be read, and what is wrong with it.
    pub(crate) fn odd_member(&self) -> Option<&str> {
        match self.kind() {
            ErrorKind::Malformed { what, detail } if *what == MEMBER => Some(detail),
            _ => None,
        }
    }

    /// The same error where the member was the same twice: so it will be the next time.
    pub(crate) fn of_member_again(self) -> Error {
        let detail = self.odd_member().unwrap_or_default();
        let kind = ErrorKind::Malformed {
            what: FOR_GOOD,
            detail: format!("{detail}, in two responses"),
        };
        let mut inner = Inner::clone(&self.0);
        inner.kind = Arc::new(kind);
        Error(Arc::new(inner))
    }
}

/// Tells such errors from those of an answer that was garbled on its way.
pub(super) const MEMBER: &str = "response member";

/// An answer that is the same the next time.
pub(super) const FOR_GOOD: &str = "every response";
