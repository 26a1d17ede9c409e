//! The outcomes of writes.

use crate::store::{Counts, RefusedItem, WriteError};

/// The outcome of an operation that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// What it changed.
    pub counts: Counts,
    /// Whether the published board shows it. True for everything that the board does not contain.
    pub published: bool,
}

/// Why an operation was rejected: nothing of it is stored, unless the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// An item is invalid or conflicts with what is stored.
    #[error("item {index}: {error}")]
    Item {
        /// Its index, from 0.
        index: usize,
        /// What is wrong with it.
        error: WriteError,
    },
    /// The database failed, or another process kept it locked.
    #[error("not committed: {0}")]
    Store(String),
    /// The database refuses it, by a rule that somebody has added.
    #[error("the database refuses it: {0}")]
    Refused(String),
    /// Too many writes are in flight.
    #[error("too many writes are in flight")]
    Busy,
    /// Its body arrived so slowly that others needed its room.
    #[error("the body arrived too slowly")]
    Slow,
    /// It waited too long for the commit before it.
    #[error("not stored: an earlier commit takes too long")]
    Queued,
    /// It may be stored: its commit takes too long, the connection broke, or the files of the database were touched
    /// during it.
    #[error("the outcome is unknown")]
    Unknown,
    /// The writer has stopped: the process is ending.
    #[error("the writer has stopped")]
    Stopped,
}

impl From<RefusedItem> for Rejected {
    fn from(RefusedItem { index, error }: RefusedItem) -> Self {
        match error {
            WriteError::Store(error) => Self::Store(error.to_string()),
            error @ (WriteError::Conflict { .. }
            | WriteError::Invalid(_)
            | WriteError::Mirror(_)) => Self::Item { index, error },
        }
    }
}
