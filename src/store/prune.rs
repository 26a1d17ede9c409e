//! Removes old eval runs from either store, a few in each transaction, so that a server that uses the database can write
//! in between.
//!
//! What was removed is noted in the same transaction: clients are told from where on all eval runs are kept.

use std::{thread, time::Duration};

use super::{
    StoreError, import::ImportFault, postgres::prune::PostgresPrune, sqlite::prune::SqlitePrune,
};
use crate::domain::ran_at::RanAt;

/// How long the lock of all writers is free between two transactions. SQLite's busy handler tries every 100 ms, so
/// everybody who waits gets a turn.
const PAUSE: Duration = Duration::from_millis(120);

/// Which eval runs a transaction looks for: each kind has an index of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those of the feed.
    Published,
    /// Those with an older schema version.
    Unpublished,
}

impl Which {
    pub(super) const ALL: [Self; 2] = [Self::Published, Self::Unpublished];

    /// The condition that selects them.
    pub(super) fn condition(self) -> &'static str {
        match self {
            Self::Published => "schema_version >= 5",
            Self::Unpublished => "schema_version < 5",
        }
    }
}

/// A database that is pruned, through a connection of its own. Its methods block.
#[derive(Debug)]
pub enum PruneSession {
    /// A file.
    Sqlite(Box<SqlitePrune>),
    /// A server.
    Postgres(Box<PostgresPrune>),
}

impl PruneSession {
    /// Counts the eval runs that ran before this time, published or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count(&self, before: &RanAt) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(session) => session.count(before),
            Self::Postgres(session) => session.count(before),
        }
    }

    /// Removes the eval runs that ran before this time, up to `batch` in each transaction, and tells `progress` how many
    /// each one has removed. Returns how many there were in all.
    ///
    /// Only the time of an eval run decides; no clock is asked.
    ///
    /// # Errors
    /// [`ImportFault`]; what was removed before that stays removed.
    pub fn run(
        &mut self,
        before: &RanAt,
        batch: u32,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, ImportFault> {
        let mut removed = 0;
        for which in Which::ALL {
            loop {
                let count = self.remove(before, which, batch)?;
                progress(count);
                removed += count;
                if count < batch.into() {
                    break;
                }
                thread::sleep(PAUSE);
            }
        }
        Ok(removed)
    }

    /// Closes the database.
    pub fn close(self) {
        match self {
            Self::Sqlite(session) => session.close(),
            Self::Postgres(_) => {}
        }
    }

    fn remove(&mut self, before: &RanAt, which: Which, most: u32) -> Result<u64, ImportFault> {
        match self {
            Self::Sqlite(session) => session.remove(before, which, most),
            Self::Postgres(session) => session.remove(before, which, most),
        }
    }
}
