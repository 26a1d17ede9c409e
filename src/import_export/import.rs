//! `import`: all items of a file in one transaction, or nothing.

use std::{io::BufRead, path::Path, time::Duration};

use rusqlite::{Connection, TransactionBehavior};

use crate::{
    config::Kind,
    domain::{Invalid, challenge::Challenge, eval_run::EvalRun},
    json_stream::{Envelope, SourceError, read_items},
    store::{
        StoreError,
        open::{OpenError, open_writer},
        write::{self, Counts, WriteError, Written},
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
    /// The file could not be read, or contains an item that is rejected.
    #[error(transparent)]
    Source(#[from] SourceError<WriteError>),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value beside the items is rejected.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Imports `source` into the database at `path`, which is created if missing.
///
/// # Errors
/// [`ImportError`]; then nothing has been imported.
pub fn import(path: &Path, kind: Kind, source: impl BufRead) -> Result<Counts, ImportError> {
    let mut connection = open_writer(path, BUSY_TIMEOUT)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut counts = Counts::default();
    let envelope: Envelope = read_items(source, |_, json| {
        counts.add(write_item(&transaction, kind, json)?);
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
    Ok(counts)
}

fn write_item(connection: &Connection, kind: Kind, json: &str) -> Result<Written, WriteError> {
    match kind {
        Kind::Board => write::put_challenge(connection, &Challenge::from_item(json)?),
        Kind::Rows => write::insert_eval_run(connection, &EvalRun::from_json(json)?),
    }
}
