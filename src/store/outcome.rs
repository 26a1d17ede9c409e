//! What a write changed, or why it was rejected.

use std::ops::AddAssign;

use std::time::Duration;

use super::{BoardStamp, FeedStamp, StoreError, operation::MirrorRefused};
use crate::domain::Invalid;

/// What a write changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A row is new, or has been replaced.
    Inserted,
    /// The row was stored before, with the same bytes.
    Unchanged,
}

/// The number of items that a write changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// New, or replaced.
    pub inserted: u64,
    /// Stored before, with the same bytes.
    pub unchanged: u64,
}

impl Counts {
    /// Counts one more item.
    pub fn add(&mut self, written: Written) {
        match written {
            Written::Inserted => self.inserted += 1,
            Written::Unchanged => self.unchanged += 1,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.unchanged += other.unchanged;
    }
}

/// Why a write was rejected; the transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The id is already stored with different bytes.
    #[error("{id:?} is already stored with different bytes")]
    Conflict {
        /// The row's id, or the epoch.
        id: String,
    },
    /// The change is not allowed.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// What an upstream says does not fit what is stored.
    #[error(transparent)]
    Mirror(#[from] MirrorRefused),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why an operation was rejected: nothing of it is stored.
#[derive(Debug, thiserror::Error)]
#[error("item {index}: {error}")]
pub struct RefusedItem {
    /// Its index, from 0.
    pub index: usize,
    /// What is wrong with it: it is invalid, or conflicts with what is stored.
    pub error: WriteError,
}

/// A group of operations that was committed.
#[derive(Debug)]
pub struct Committed {
    /// The results, in the order of the operations.
    pub results: Vec<Result<Counts, RefusedItem>>,
    /// The feed that the transaction found.
    pub before: FeedStamp,
    /// The feed that it left.
    pub after: FeedStamp,
    /// The board that it left.
    pub board: BoardStamp,
    /// How long it waited for the commits of other replicas, if the database says that.
    pub lock_wait: Option<Duration>,
}

/// Why a group of operations was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing is stored.
    #[error("{0}")]
    NotStored(String),
    /// Nothing is stored: the database refuses something of it, by a rule that somebody has added, and would do so again.
    #[error("the database refuses it: {0}")]
    Refused(String),
    /// The operations may be stored.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}
