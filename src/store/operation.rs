//! The operations that are written in groups.

use crate::domain::{challenge::Challenge, eval_run::EvalRun};

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

impl Operation {
    /// Returns whether the operation may change the board.
    pub fn touches_board(&self) -> bool {
        matches!(self, Self::PutChallenges(_))
    }

    /// Returns the eval runs that it stores.
    pub fn rows(&self) -> &[EvalRun] {
        match self {
            Self::InsertEvalRuns(runs) => runs,
            Self::PutChallenges(_) | Self::PutMerkleEpoch { .. } => &[],
        }
    }
}
