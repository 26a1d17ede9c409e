//! An answer that is not what a publisher may say.

use std::fmt;

use crate::metrics::FollowRejected;

/// Why an answer is rejected as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lie {
    pub(super) reason: FollowRejected,
    text: String,
}

impl Lie {
    pub(super) fn new(reason: FollowRejected, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { reason, text }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.label(), self.text)
    }
}
