//! The operations that are written in groups.

use std::sync::Arc;

use super::{WriteError, Written, state::KeptFrom};
use crate::domain::{
    Invalid, challenge::Challenge, eval_run::EvalRun, feed_detail::FeedDetail, position::Position,
    seq_cursor::SeqCursor,
};

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
    /// Make it as another publisher has it.
    Mirror(Mirror),
}

/// What a follower writes: what its upstream has, in place of what is there. Only in a database file that was claimed
/// for that.
#[derive(Debug)]
pub enum Mirror {
    /// The board.
    Board {
        /// All its challenges; others are deleted. `None` if they are as they were.
        challenges: Option<Vec<Challenge>>,
        /// Where the upstream is with it, if it says that.
        position: Option<Position>,
    },
    /// A page of the feed of an upstream that tells its numbers.
    Page(MirroredPage),
    /// Eval runs of an upstream that tells no numbers: they get numbers here. Those whose id is stored with other bytes
    /// are left out, and counted neither as inserted nor as unchanged.
    Rows {
        /// The eval runs.
        rows: Arc<Vec<EvalRun>>,
        /// The greatest epoch.
        merkle_epoch_latest: Option<i64>,
        /// Whether the upstream has no further ones.
        is_last: bool,
    },
}

/// A page of the feed in the order of commits.
#[derive(Debug)]
pub struct MirroredPage {
    /// What was asked for: the state of the database must still be so.
    pub asked: SeqCursor,
    /// What the upstream said beside the rows.
    pub detail: FeedDetail,
    /// The eval runs that were accepted, with their numbers, ascending.
    pub rows: Vec<(i64, EvalRun)>,
    /// Whether the upstream has no further ones.
    pub is_last: bool,
    /// If the upstream has removed eval runs after `asked`.
    pub kept_from: Option<KeptFrom>,
}

/// Why what an upstream says is not stored, beside an eval run that is stored with other bytes or another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MirrorRefused {
    /// Another page was stored since this one was asked for.
    #[error("another page was stored meanwhile")]
    Overtaken,
    /// A lineage begins that may lack the last eval runs: all of them must be read anew.
    #[error("the upstream may have lost eval runs that were copied")]
    Parted,
    /// The next page in the order of commits tells the lineage.
    #[error("the lineage of the board is not known yet")]
    UnknownLineage,
    /// Its numbers, lineages or positions contradict each other, or what is stored.
    #[error("{0}")]
    Numbers(&'static str),
}

impl Operation {
    /// Returns whether the operation may change the board.
    pub fn touches_board(&self) -> bool {
        matches!(
            self,
            Self::PutChallenges(_)
                | Self::ReplaceChallenge { .. }
                | Self::Mirror(Mirror::Board { .. })
        )
    }

    /// Returns the eval runs that it stores.
    pub fn rows(&self) -> &[EvalRun] {
        match self {
            Self::InsertEvalRuns(runs) => runs,
            Self::PutChallenges(_)
            | Self::ReplaceChallenge { .. }
            | Self::PutMerkleEpoch { .. }
            | Self::Mirror(_) => &[],
        }
    }

    /// Returns whether it may change or remove eval runs that are stored.
    pub fn may_replace_rows(&self) -> bool {
        matches!(self, Self::Mirror(_))
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
