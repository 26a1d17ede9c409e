//! The operations that are written in groups.

use super::{WriteError, Written};
use crate::domain::{Invalid, challenge::Challenge, eval_run::EvalRun};

/// All or nothing.
#[derive(Debug)]
pub enum Operation {
    /// Create or replace challenges.
    PutChallenges(Vec<Challenge>),
    /// Replace a challenge, if it is still as it was read.
    ReplaceChallenge {
        /// As it was read.
        old: Box<Challenge>,
        /// What takes its place.
        new: Box<Challenge>,
    },
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

impl Operation {
    /// Returns whether the operation may change the board.
    pub fn touches_board(&self) -> bool {
        matches!(self, Self::PutChallenges(_) | Self::ReplaceChallenge { .. })
    }

    /// Returns the eval runs that it stores.
    pub fn rows(&self) -> &[EvalRun] {
        match self {
            Self::InsertEvalRuns(runs) => runs,
            Self::PutChallenges(_)
            | Self::ReplaceChallenge { .. }
            | Self::PutMerkleEpoch { .. } => &[],
        }
    }
}

/// Decides what becomes of a challenge that is to be created or to replace `stored`. Its status may only go forward.
///
/// # Errors
/// [`WriteError::Invalid`] if the status would go back.
pub(super) fn put(new: &Challenge, stored: Option<&Challenge>) -> Result<Written, WriteError> {
    match stored {
        Some(stored) if stored == new => return Ok(Written::Unchanged),
        Some(stored) => new.check_replaces(stored)?,
        None => {}
    }
    Ok(Written::Inserted)
}

/// As [`put`], for a challenge that replaces `old`, as it was read before.
///
/// # Errors
/// Those of [`put`], and [`WriteError::Invalid`] if another one is stored meanwhile.
pub(super) fn replace(
    new: &Challenge,
    old: &Challenge,
    stored: Option<&Challenge>,
) -> Result<Written, WriteError> {
    if stored.is_none_or(|stored| stored != old && stored != new) {
        let id = &new.challenge_id;
        let reason = format!("challenge {id:?} was changed by another request: try again");
        return Err(Invalid::new("", reason).into());
    }
    put(new, stored)
}
