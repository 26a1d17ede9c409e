//! What those are told who wait for the feed to change.

use std::time::Instant;

use crate::domain::seq_cursor::SeqCursor;

/// The last change of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedNews {
    /// The cursor after the last published eval run, in the order of commits. `None` if it is not known: nothing was
    /// read yet, or the database cannot be read.
    pub end: Option<SeqCursor>,
    /// When the cached pages that the change invalidates were dropped.
    pub changed_at: Instant,
    /// How many changes there have been.
    pub(super) changes: u64,
}

impl FeedNews {
    /// Nothing is known yet.
    pub(super) fn none() -> Self {
        Self {
            end: None,
            changed_at: Instant::now(),
            changes: 0,
        }
    }

    /// Takes what the cache knew at some moment, which may be before the last one. Returns whether the feed has changed.
    pub(super) fn update(&mut self, changes: u64, end: Option<SeqCursor>) -> bool {
        let has_changed = changes > self.changes;
        if has_changed {
            self.changed_at = Instant::now();
        }
        if changes >= self.changes {
            (self.changes, self.end) = (changes, end);
        }
        has_changed
    }
}
