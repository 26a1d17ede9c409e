//! `Cache-Status` (RFC 9211) and `Age` (RFC 9111 §5.1), for operators that switch them on.

use std::time::Duration;

use crate::{cache::handle::Freshness, metrics::Source};

/// How the cache came to an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum CacheStatus {
    /// From the published snapshot of the board.
    Board(Freshness),
    /// A page of the feed. Cached pages are current however old they are, so they have no age.
    Page(Source),
    /// Made when the process started.
    Document,
}

impl CacheStatus {
    /// The header fields that say so. `Age` shortens how long caches on the way keep the answer.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'static str, String)> {
        let seconds = |time: Duration| time.as_secs();
        let (status, age) = match self {
            Self::Board(at) if at.is_stale() => {
                let stale_for = seconds(at.stale_for);
                let detail = if at.is_saved {
                    "snapshot-file"
                } else {
                    "stale-while-revalidate"
                };
                let status = format!("publisher; hit; ttl=-{stale_for}; detail={detail}");
                (status, Some(at.age))
            }
            Self::Board(at) => (
                format!("publisher; hit; ttl={}", seconds(at.fresh_for)),
                Some(at.age),
            ),
            Self::Page(Source::Hit) | Self::Document => ("publisher; hit".to_owned(), None),
            Self::Page(Source::Join) => ("publisher; fwd=uri-miss; collapsed".to_owned(), None),
            Self::Page(Source::Miss) => ("publisher; fwd=uri-miss; stored".to_owned(), None),
        };
        let age = age.map(|age| ("age", seconds(age).to_string()));
        [("cache-status", status)].into_iter().chain(age)
    }
}
