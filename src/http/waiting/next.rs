//! How a client goes on after an answer that could have waited: the fields that say so.

use std::sync::Arc;

use super::Slot;
use crate::{
    answer::CachePolicy,
    domain::{cursor::PageLimit, position::Position},
    feed::{Page, PageKey},
};

/// How long a client that may not wait should pause, in seconds.
const REFUSED_FOR_SECS: &str = "5";
/// How long a client should pause whose server stops, in seconds.
const STOPPING_FOR_SECS: &str = "1";

/// How a request for news came to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Reason {
    /// Its slot has ended. Its URL is never asked for again.
    Due,
    /// Something newer than the client has is there. Likewise.
    Newer,
    /// It did not name a slot, or one that is over. Others may ask the same soon.
    AtOnce,
    /// Too many requests wait, or this one would take too much memory.
    Refused,
    /// The server stops.
    Stopping,
}

/// The fields of such an answer.
#[derive(Debug)]
pub(in crate::http) struct Next {
    /// The value of `Link` (RFC 8288). Relative, so that it holds with and without the prefix.
    link: String,
    /// The value of `Kept-From`.
    kept_from: Option<Arc<str>>,
    reason: Reason,
    cache_policy: CachePolicy,
}

impl Next {
    /// After an answer with the board at this position.
    pub(in crate::http) fn of_board(position: Position, slot: Slot, reason: Reason) -> Self {
        let slot = slot.number();
        Self {
            link: format!("<?after={position}&slot={slot}>; rel=\"next\""),
            kept_from: None,
            reason,
            cache_policy: reason.cache_policy(),
        }
    }

    /// After a page; `None` if it is in the order of (ran_at, id). A full page has no slot: so
    /// it is the same at any time, and the next one has rows as a rule.
    pub(in crate::http) fn of_page(
        page: &Page,
        key: &PageKey,
        slot: Slot,
        reason: Reason,
    ) -> Option<Self> {
        let mut link = format!("<?since_seq={}", page.next?);
        let asked = key.seq_page()?;
        if asked.limit != PageLimit::default() {
            link += &format!("&limit={}", asked.limit.rows());
        }
        if asked.is_detailed {
            link += "&detail=1";
        }
        // As of a cursor that is another text for the end of the feed.
        let is_empty_at_once = page.rows == 0 && reason == Reason::Newer;
        let cache_policy = if page.is_full {
            page.representation.cache_policy()
        } else {
            link += &format!("&slot={}", slot.number());
            let reason = if is_empty_at_once {
                Reason::AtOnce
            } else {
                reason
            };
            reason.cache_policy()
        };
        link += ">; rel=\"next\"";
        Some(Self {
            link,
            kept_from: page.kept_from.clone(),
            reason,
            cache_policy,
        })
    }

    /// Returns how long caches may keep the answer.
    pub(in crate::http) fn cache_policy(&self) -> CachePolicy {
        self.cache_policy
    }

    /// Returns the fields that stand beside `Cache-Control`.
    pub(in crate::http) fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let seconds = match self.reason {
            Reason::Due | Reason::Newer | Reason::AtOnce => None,
            Reason::Refused => Some(REFUSED_FOR_SECS),
            Reason::Stopping => Some(STOPPING_FOR_SECS),
        };
        let retry_after = seconds.map(|seconds| ("retry-after", seconds));
        let kept_from = self.kept_from.as_deref();
        [("link", self.link.as_str())]
            .into_iter()
            .chain(kept_from.map(|kept_from| ("kept-from", kept_from)))
            .chain(retry_after)
    }
}

impl Reason {
    fn cache_policy(self) -> CachePolicy {
        match self {
            Self::Due | Self::Newer => CachePolicy::Momentary,
            Self::AtOnce => CachePolicy::Brief,
            // It must not end the wait of all others behind a cache: the next request has the same URL.
            Self::Refused | Self::Stopping => CachePolicy::NotStored,
        }
    }
}
