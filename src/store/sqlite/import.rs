//! An import: write transactions of one connection, which is opened first and closed last.

use std::{
    mem,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    kept_open::KeptOpen, mirror::claim::expect_own, open::OpenError, read, scratch::folder_of,
    write,
};
use crate::store::{
    Counts, StoreError, WriteError, Written,
    import::{ImportFault, ImportItem},
};

/// How long an import waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// SQLite's page cache; negative means KiB. Ids come in no order, so with the default of 2 MiB the pages of their
/// index are written again and again, and the write lock is held for half as long again.
const CACHE_KIB: i64 = -64 * 1024;

/// A connection that imports. Dropping it rolls back what is not committed.
#[derive(Debug)]
pub struct SqliteImport {
    path: PathBuf,
    connection: Option<KeptOpen>,
    has_begun: bool,
    counts: Counts,
    /// The greatest `seq` that was ever given.
    greatest_seq: i64,
}

impl SqliteImport {
    /// An import into the database at `path`, which is not open yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: None,
            has_begun: false,
            counts: Counts::default(),
            greatest_seq: 0,
        }
    }

    /// Opens the database if it exists, or cannot be created.
    pub(in crate::store) fn prepare(&mut self) -> Result<(), OpenError> {
        if self.path.exists() || !self.folder().is_dir() {
            self.connection = Some(self.open()?);
        }
        Ok(())
    }

    pub(in crate::store) fn folder(&self) -> PathBuf {
        folder_of(&self.path)
    }

    fn open(&self) -> Result<KeptOpen, OpenError> {
        let connection = KeptOpen::open(&self.path, false, BUSY_TIMEOUT)?;
        if let Err(error) = expect_own(&connection, &self.path) {
            connection.close();
            return Err(error);
        }
        Ok(connection)
    }

    pub(in crate::store) fn begin(&mut self) -> Result<(), ImportFault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().map_err(StoreError::from)?,
        };
        let connection = self.connection.insert(connection);
        let is_first = !mem::replace(&mut self.has_begun, true);
        begin(connection, is_first).map_err(StoreError::from)?;
        self.greatest_seq = read::last_seq(connection)?;
        Ok(())
    }

    pub(in crate::store) fn put(
        &mut self,
        number: u64,
        item: &ImportItem,
    ) -> Result<(), ImportFault> {
        let written = self.write(item);
        let written = written.map_err(|error| ImportFault::Item { number, error })?;
        self.counts.add(written);
        Ok(())
    }

    fn write(&mut self, item: &ImportItem) -> Result<Written, WriteError> {
        let connection = self.connection()?;
        match item {
            ImportItem::Challenge(challenge) => write::put_challenge(connection, challenge),
            ImportItem::EvalRun { seq: None, run } => write::insert_eval_run(connection, run),
            ImportItem::EvalRun {
                seq: Some(seq),
                run,
            } => {
                let next = self.greatest_seq + 1;
                let seq = next.max(*seq);
                let written = write::insert_eval_run_at(connection, Some(seq), run)?;
                if written == Written::Inserted {
                    self.greatest_seq = seq;
                }
                Ok(written)
            }
            ImportItem::MerkleEpoch { epoch, body } => {
                write::put_merkle_epoch(connection, *epoch, Some(body))
            }
        }
    }

    pub(in crate::store) fn put_epoch_number(
        &mut self,
        epoch: i64,
    ) -> Result<Written, ImportFault> {
        let written = write::put_merkle_epoch(self.connection()?, epoch, None);
        written.map_err(|error| match error {
            WriteError::Store(error) => error.into(),
            error @ (WriteError::Conflict { .. }
            | WriteError::Invalid(_)
            | WriteError::Mirror(_)) => ImportFault::Item { number: 0, error },
        })
    }

    pub(in crate::store) fn raise_last_seq(&mut self, last: i64) -> Result<(), StoreError> {
        write::raise_last_seq(self.connection()?, last)
    }

    pub(in crate::store) fn commit(&mut self) -> Result<Counts, ImportFault> {
        let connection = self.connection()?;
        connection
            .execute_batch("COMMIT")
            .map_err(StoreError::from)?;
        // What went into a file that nobody finds any more is lost.
        connection.check().map_err(StoreError::from)?;
        Ok(mem::take(&mut self.counts))
    }

    pub(in crate::store) fn close(self) {
        if let Some(connection) = self.connection {
            connection.close();
        }
    }

    /// Returns the connection; without [`SqliteImport::begin`] there is none.
    fn connection(&self) -> Result<&KeptOpen, StoreError> {
        let misused = rusqlite::Error::InvalidQuery;
        self.connection.as_ref().ok_or(StoreError::Sqlite(misused))
    }
}

fn begin(connection: &KeptOpen, is_first: bool) -> rusqlite::Result<()> {
    if is_first {
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    if is_first {
        write::continue_lineage(connection)?;
    }
    Ok(())
}
