//! Removes old eval runs from a file.

use std::{path::Path, time::Duration};

use rusqlite::{TransactionBehavior, params};

use super::{
    disk_space,
    file::DatabaseFile,
    kept_open::KeptOpen,
    open::{OpenError, open_reader},
    write,
};
use crate::{
    domain::ran_at::RanAt,
    store::{DiskSpace, StoreError, import::ImportFault, prune::Which, state::Pruned},
};

/// How long a transaction waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that prunes.
#[derive(Debug)]
pub struct SqlitePrune(KeptOpen);

impl SqlitePrune {
    /// Returns whether the disk of a database is full ([`DiskSpace::FULL_BYTES`]). False if that is unknown.
    pub fn is_disk_full(path: &Path) -> bool {
        let disk = disk_space::size(path).ok().and_then(|size| size.disk);
        disk.is_some_and(|disk| disk.free_bytes < DiskSpace::FULL_BYTES)
    }

    /// Opens an existing database, and migrates it if needed.
    ///
    /// # Errors
    /// [`OpenError`], also if there is no such file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        // The writer would create it.
        drop(open_reader(path, BUSY_TIMEOUT)?);
        let file = DatabaseFile::new(path, false);
        Ok(Self(KeptOpen::open_existing(&file, BUSY_TIMEOUT)?))
    }

    pub(in crate::store) fn count(&self, before: &RanAt) -> Result<u64, StoreError> {
        let mut sum = 0;
        for which in Which::ALL {
            let condition = which.condition();
            let query = format!("SELECT count(*) FROM eval_runs WHERE {condition} AND ran_at < ?1");
            let count: u64 = self
                .0
                .query_row(&query, [before.as_str()], |row| row.get(0))?;
            sum += count;
        }
        Ok(sum)
    }

    pub(in crate::store) fn remove(
        &mut self,
        before: &RanAt,
        which: Which,
        most: u32,
    ) -> Result<u64, ImportFault> {
        let removed = self.try_remove(before, which, most)?;
        // What was done to a file that nobody finds any more is not done.
        self.0.check().map_err(StoreError::from)?;
        Ok(removed)
    }

    fn try_remove(&mut self, before: &RanAt, which: Which, most: u32) -> Result<u64, StoreError> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut removed = (0, 0);
        {
            let mut old = transaction.prepare_cached(&oldest(which))?;
            let old = old.query_map(params![before.as_str(), most], |row| row.get(0))?;
            let old = old.collect::<rusqlite::Result<Vec<i64>>>()?;
            let mut delete = transaction.prepare_cached("DELETE FROM eval_runs WHERE seq = ?1")?;
            for seq in old {
                delete.execute([seq])?;
                removed = (removed.0 + 1, seq.max(removed.1));
            }
        }
        let (removed, through_seq) = removed;
        if removed > 0 {
            let before = before.as_str().to_owned();
            let pruned = Pruned {
                before,
                through_seq,
            };
            write::note_pruned(&transaction, &pruned)?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    pub(in crate::store) fn close(self) {
        self.0.close();
    }
}

/// The query of the oldest eval runs of a kind: a walk along the index of that kind.
fn oldest(which: Which) -> String {
    let condition = which.condition();
    format!(
        "SELECT seq FROM eval_runs WHERE {condition} AND ran_at < ?1 ORDER BY ran_at, id LIMIT ?2"
    )
}

#[cfg(test)]
mod tests {
    use super::{super::migrations::STEPS, *};

    #[test]
    fn the_oldest_eval_runs_are_found_by_an_index_and_need_no_sorting() -> rusqlite::Result<()> {
        let connection = rusqlite::Connection::open_in_memory()?;
        for step in STEPS {
            connection.execute_batch(step)?;
        }
        for (which, index) in [
            (Which::Published, "eval_runs_feed"),
            (Which::Unpublished, "eval_runs_unpublished"),
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", oldest(which)))?;
            let steps =
                plan.query_map(params!["2026-06-01T00:00:00.000Z", 500], |row| row.get(3))?;
            let steps = steps.collect::<rusqlite::Result<Vec<String>>>()?;
            let expected = format!("INDEX {index} (ran_at<?)");
            // A step more would be one that sorts.
            assert!(
                steps.len() == 1 && steps[0].ends_with(&expected),
                "{steps:?}"
            );
        }
        Ok(())
    }
}
