//! The operations of the writer, and their outcomes.

use rusqlite::Connection;

use crate::{
    domain::{challenge::Challenge, eval_run::EvalRun},
    store::{
        StoreError,
        write::{self, Counts, WriteError, Written},
    },
};

/// All or nothing.
#[derive(Debug)]
pub enum Operation {
    /// Create or replace challenges.
    PutChallenges(Vec<Challenge>),
    /// Store eval runs.
    InsertEvalRuns(Vec<EvalRun>),
    /// Store an epoch of the Merkle tree.
    PutMerkleEpoch {
        /// Its number, at least 0.
        epoch: i64,
        /// Its JSON.
        body: String,
    },
}

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
    /// Too many writes are in flight.
    #[error("too many writes are in flight")]
    Busy,
    /// Its body arrived so slowly that others needed its room.
    #[error("the body arrived too slowly")]
    Slow,
    /// It waited too long for the commit before it.
    #[error("not stored: an earlier commit takes too long")]
    Queued,
    /// It may be stored: its commit takes too long, or the files of the database were touched during it.
    #[error("the outcome is unknown: the commit takes too long, or the files were touched")]
    Unknown,
    /// The writer has stopped: the process is ending.
    #[error("the writer has stopped")]
    Stopped,
}

impl From<StoreError> for Rejected {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Operation {
    /// Returns whether the operation may change the board.
    pub fn touches_board(&self) -> bool {
        matches!(self, Self::PutChallenges(_))
    }

    /// Returns the eval runs that it stores.
    pub(super) fn rows(&self) -> &[EvalRun] {
        match self {
            Self::InsertEvalRuns(runs) => runs,
            Self::PutChallenges(_) | Self::PutMerkleEpoch { .. } => &[],
        }
    }

    /// Carries the operation out in the open transaction.
    ///
    /// # Errors
    /// [`Rejected::Item`] or [`Rejected::Store`]; the caller must roll back.
    pub(super) fn apply(&self, connection: &Connection) -> Result<Counts, Rejected> {
        let mut counts = Counts::default();
        match self {
            Self::PutChallenges(challenges) => each(challenges, &mut counts, |challenge| {
                write::put_challenge(connection, challenge)
            })?,
            Self::InsertEvalRuns(runs) => each(runs, &mut counts, |run| {
                write::insert_eval_run(connection, run)
            })?,
            Self::PutMerkleEpoch { epoch, body } => each(&[()], &mut counts, |()| {
                write::put_merkle_epoch(connection, *epoch, Some(body))
            })?,
        }
        Ok(counts)
    }
}

fn each<T>(
    items: &[T],
    counts: &mut Counts,
    write: impl Fn(&T) -> Result<Written, WriteError>,
) -> Result<(), Rejected> {
    for (index, item) in items.iter().enumerate() {
        match write(item) {
            Ok(written) => counts.add(written),
            Err(WriteError::Store(error)) => return Err(error.into()),
            Err(error @ (WriteError::Conflict { .. } | WriteError::Invalid(_))) => {
                return Err(Rejected::Item { index, error });
            }
        }
    }
    Ok(())
}
