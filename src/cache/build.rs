//! Makes a snapshot from the database.

use std::{fmt, time::Instant};

use super::snapshot::Snapshot;
use crate::store::{BoardStamp, Store, StoreError};

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The board could not be serialised.
    #[error("serialising the board: {0}")]
    Json(#[from] serde_json::Error),
    /// The blocking thread panicked; the panic hook has printed where.
    #[error("the build panicked")]
    Panicked,
}

/// What a build yields.
#[derive(Debug)]
pub struct Built {
    /// The board.
    pub snapshot: Snapshot,
    /// Its state at the moment of reading.
    pub stamp: BoardStamp,
}

/// Something that makes snapshots. Called on a blocking thread, by one thread at a time.
pub trait BuildSnapshot: fmt::Debug + Send + Sync + 'static {
    /// Reads and serialises the board as it is now; gives up at `deadline`, as far as it can.
    ///
    /// # Errors
    /// [`BuildError`]; a panic counts as one.
    fn build(&self, deadline: Instant) -> Result<Built, BuildError>;
}

/// Builds from the database.
#[derive(Debug, Clone)]
pub struct StoreBuilder {
    /// The database.
    pub store: Store,
}

impl BuildSnapshot for StoreBuilder {
    fn build(&self, deadline: Instant) -> Result<Built, BuildError> {
        let board = self.store.board(deadline)?;
        Ok(Built {
            snapshot: Snapshot::new(&board.challenges)?,
            stamp: board.stamp,
        })
    }
}
