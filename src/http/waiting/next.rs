//! How a client goes on after an answer that could have waited: the fields that say so.

use super::Slot;
use crate::{answer::CachePolicy, domain::position::Position};

/// How long a client that may not wait should pause, in seconds.
const RETRY_AFTER_SECS: &str = "5";

/// How a request for news came to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Reason {
    /// Its slot has ended, or something newer is there: its URL is never asked for again.
    Due,
    /// It did not name a slot, or one that is over. Others may ask the same soon.
    AtOnce,
    /// Too many requests wait.
    Refused,
}

/// The fields of such an answer.
#[derive(Debug)]
pub(in crate::http) struct Next {
    /// The value of `Link` (RFC 8288). Relative, so that it holds with and without the prefix.
    link: String,
    reason: Reason,
}

impl Next {
    /// After an answer with the board at this position: what to ask for next.
    pub(in crate::http) fn of_board(position: Position, slot: Slot, reason: Reason) -> Self {
        let slot = slot.number();
        Self {
            link: format!("<?after={position}&slot={slot}>; rel=\"next\""),
            reason,
        }
    }

    /// Returns how long caches may keep the answer.
    pub(in crate::http) fn cache_policy(&self) -> CachePolicy {
        match self.reason {
            Reason::Due => CachePolicy::Polled,
            Reason::AtOnce | Reason::Refused => CachePolicy::Brief,
        }
    }

    /// Returns the fields that stand beside `Cache-Control`.
    pub(in crate::http) fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let refused = self.reason == Reason::Refused;
        let retry_after = refused.then_some(("retry-after", RETRY_AFTER_SECS));
        [("link", self.link.as_str())]
            .into_iter()
            .chain(retry_after)
    }
}
