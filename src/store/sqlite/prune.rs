//! Removes old eval runs from a file.

use std::{path::Path, time::Duration};

use rusqlite::{TransactionBehavior, params};

use super::{
    file::DatabaseFile,
    kept_open::KeptOpen,
    open::{OpenError, open_reader},
    write,
};
use crate::{
    domain::ran_at::RanAt,
    store::{StoreError, import::ImportFault, prune::Which, state::Pruned},
};

/// How long a transaction waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that prunes.
#[derive(Debug)]
pub struct SqlitePrune(KeptOpen);

impl SqlitePrune {
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
        let count = "SELECT count(*) FROM eval_runs WHERE schema_version >= 5 AND ran_at < ?1";
        let others = "SELECT count(*) FROM eval_runs WHERE schema_version < 5 AND ran_at < ?1";
        let mut sum = 0;
        for query in [count, others] {
            let count: u64 = self
                .0
                .query_row(query, [before.as_str()], |row| row.get(0))?;
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
            let condition = which.condition();
            let mut old = transaction.prepare_cached(&format!(
                "SELECT seq FROM eval_runs WHERE {condition} AND ran_at < ?1 ORDER BY ran_at, id LIMIT ?2"
            ))?;
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
