//! `export`: what is stored, in the form that `import` reads.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use rusqlite::Connection;

use crate::{
    cache::snapshot::Snapshot,
    config::Kind,
    domain::feed_envelope,
    store::{
        StoreError,
        sqlite::{
            open::{OpenError, open_reader},
            read,
        },
    },
};

pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Serialising failed.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The output could not be written.
    #[error("the output cannot be written: {0}")]
    Io(#[from] io::Error),
    /// A row was stored with line breaks between its tokens, which NDJSON cannot hold.
    #[error(
        "an eval run contains line breaks, which NDJSON cannot represent: export without --ndjson"
    )]
    LineBreak,
}

impl From<rusqlite::Error> for ExportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Writes what the database at `path` holds: the published board, or every eval run.
///
/// # Errors
/// [`ExportError`]; what was written by then is incomplete.
pub fn export(
    path: &Path,
    kind: Kind,
    ndjson: bool,
    mut out: impl Write,
) -> Result<(), ExportError> {
    let connection = open_reader(path, BUSY_TIMEOUT)?;
    match kind {
        Kind::Board => board(&connection, ndjson, &mut out)?,
        Kind::Rows => rows(&connection, ndjson, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

fn board(connection: &Connection, ndjson: bool, out: &mut impl Write) -> Result<(), ExportError> {
    let challenges = read::active_challenges(connection)?;
    if !ndjson {
        out.write_all(Snapshot::new(&challenges)?.board().identity().body_ref())?;
        return Ok(());
    }
    for challenge in &challenges {
        let mut line = Vec::new();
        challenge.write_item(&mut line)?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

fn rows(connection: &Connection, ndjson: bool, out: &mut impl Write) -> Result<(), ExportError> {
    // One transaction: the rows and the epoch are of the same moment.
    let transaction = connection.unchecked_transaction()?;
    if !ndjson {
        out.write_all(feed_envelope::BEGIN)?;
    }
    let mut first = true;
    read::every_eval_run::<ExportError>(&transaction, |row| {
        if ndjson {
            if row.contains(&b'\n') {
                return Err(ExportError::LineBreak);
            }
            out.write_all(row)?;
            return Ok(out.write_all(b"\n")?);
        }
        if !std::mem::take(&mut first) {
            out.write_all(&[feed_envelope::SEPARATOR])?;
        }
        Ok(out.write_all(row)?)
    })?;
    if !ndjson {
        let epoch = read::merkle_epoch_latest(&transaction)?;
        out.write_all(&feed_envelope::end(None, epoch)?)?;
    }
    Ok(())
}
