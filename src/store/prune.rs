//! Removes old eval runs from either store, a few in each transaction, so that a server that uses the database can write
//! in between.
//!
//! What was removed is noted in the same transaction: clients are told from where on all eval runs are kept.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    StoreError, import::ImportFault, postgres::prune::PostgresPrune, sqlite::prune::SqlitePrune,
};
use crate::domain::ran_at::RanAt;

/// How many times as long as a transaction the pause after it lasts. So pruning takes a tenth of the time of a processor, of
/// the disk and of the lock of all writers, however slow they are, and nine out of ten tries of a writer that waits find the
/// lock free. A low priority of the process would not do: it delays a transaction that has the lock.
const PAUSES: u32 = 9;
/// The longest pause: the transaction may have waited for others.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
                let begun = Instant::now();
                let count = self.remove(before, which, batch)?;
                let lasted = begun.elapsed();
                progress(count);
                removed += count;
                if count < batch.into() {
                    break;
                }
                thread::sleep(pause_after(lasted));
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

fn pause_after(transaction: Duration) -> Duration {
    (transaction * PAUSES).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_takes_a_tenth_of_the_time_unless_it_waits_long_for_others() {
        for millis in [0, 4, 20, 500] {
            let transaction = Duration::from_millis(millis);
            assert_eq!(transaction + pause_after(transaction), transaction * 10);
        }
        assert_eq!(pause_after(Duration::from_secs(30)), LONGEST_PAUSE);
    }
}
