//! What a page answers.

use crate::domain::{
    cursor::{Cursor, PageLimit},
    ran_at::RanAt,
    seq_cursor::SeqCursor,
};

/// Where a page begins, and so the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum After {
    /// After a place in the order of (ran_at, id).
    Place(Cursor),
    /// After a position in the order of commits.
    Seq(SeqCursor),
}

/// What a page answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageKey {
    pub(super) after: After,
    pub(super) limit: PageLimit,
    /// The last time of which rows are shown; `None` for all times, and in the order of commits.
    pub(super) until: Option<RanAt>,
    /// In the order of commits: whether it has what followers need.
    pub(super) is_detailed: bool,
}

/// What a page in the order of commits answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeqPage {
    /// Where it begins.
    pub cursor: SeqCursor,
    /// How many rows it has at most.
    pub limit: PageLimit,
    /// Whether it has what followers need.
    pub is_detailed: bool,
}

impl SeqPage {
    /// Returns what the page answers.
    pub fn key(self) -> PageKey {
        PageKey {
            is_detailed: self.is_detailed,
            ..PageKey::new(After::Seq(self.cursor), self.limit)
        }
    }
}

impl PageKey {
    /// What a page of up to `limit` rows answers.
    pub fn new(after: After, limit: PageLimit) -> Self {
        Self {
            after,
            limit,
            until: None,
            is_detailed: false,
        }
    }

    /// Returns the page in the order of commits; `None` if it is in that of (ran_at, id).
    pub fn seq_page(&self) -> Option<SeqPage> {
        match self.after {
            After::Seq(cursor) => Some(SeqPage {
                cursor,
                limit: self.limit,
                is_detailed: self.is_detailed,
            }),
            After::Place(_) => None,
        }
    }

    /// Returns where the page begins.
    pub fn after(&self) -> &After {
        &self.after
    }

    /// Returns how many rows it has at most.
    pub fn limit(&self) -> PageLimit {
        self.limit
    }

    /// Returns how many bytes its text has.
    pub(super) fn bytes(&self) -> usize {
        let until = self.until.as_ref().map_or(0, |until| until.as_str().len());
        match &self.after {
            After::Place(cursor) => cursor.bytes() + until,
            After::Seq(_) => until,
        }
    }
}
