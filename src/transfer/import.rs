//! `import`: all of a file's items in one transaction, or none.

use std::{io::BufRead, path::Path, time::Duration};

use rusqlite::{Connection, TransactionBehavior};

use super::source::{Envelope, SourceError, read_items};
use crate::{
    config::Kind,
    domain::{Invalid, challenge::Challenge, eval_run::EvalRun},
    store::{
        StoreError,
        open::{OpenError, open_writer},
        write::{self, WriteError, Written},
    },
};

/// How long an import waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file could not be read, or holds an item that is refused.
    #[error(transparent)]
    Source(#[from] SourceError<WriteError>),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What follows the items is refused.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What an import did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Items that are new or have been replaced.
    pub inserted: u64,
    /// Items that were there, just so.
    pub unchanged: u64,
}

impl Summary {
    /// Counts one more item.
    pub fn count(&mut self, written: Written) {
        match written {
            Written::Inserted => self.inserted += 1,
            Written::Unchanged => self.unchanged += 1,
        }
    }
}

/// Imports `source` into the database at `path`, which is made where there is none.
///
/// # Errors
/// [`ImportError`]; then nothing has been imported.
pub fn import(path: &Path, kind: Kind, source: impl BufRead) -> Result<Summary, ImportError> {
    let mut connection = open_writer(path, BUSY_TIMEOUT)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut summary = Summary::default();
    let envelope: Envelope = read_items(source, |_, json| {
        summary.count(write_item(&transaction, kind, json)?);
        Ok(())
    })?;
    if let Some(epoch) = envelope.merkle_epoch_latest {
        if epoch < 0 {
            return Err(WriteError::from(Invalid::new(
                "merkle_epoch_latest",
                "must not be negative",
            ))
            .into());
        }
        write::put_merkle_epoch(&transaction, epoch, None)?;
    }
    transaction.commit()?;
    Ok(summary)
}

fn write_item(connection: &Connection, kind: Kind, json: &str) -> Result<Written, WriteError> {
    match kind {
        Kind::Board => write::put_challenge(connection, &Challenge::from_item(json)?),
        Kind::Rows => write::insert_eval_run(connection, &EvalRun::from_json(json)?),
    }
}
