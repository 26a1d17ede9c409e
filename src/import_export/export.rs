//! `export`: what is stored, in the form that `import` reads.

use std::io::{self, Write};

use crate::{
    cache::snapshot::Snapshot,
    config::Kind,
    domain::feed_envelope,
    store::{StoreError, dump::Dump},
};

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database failed, or could not be opened.
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

/// Writes what a database holds: the published board, or every eval run.
///
/// # Errors
/// [`ExportError`]; what was written by then is incomplete.
pub fn export(
    dump: &Dump,
    kind: Kind,
    ndjson: bool,
    mut out: impl Write,
) -> Result<(), ExportError> {
    match kind {
        Kind::Board => board(dump, ndjson, &mut out)?,
        Kind::Rows => rows(dump, ndjson, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

fn board(dump: &Dump, ndjson: bool, out: &mut impl Write) -> Result<(), ExportError> {
    let challenges = dump.active_challenges()?;
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

fn rows(dump: &Dump, ndjson: bool, out: &mut impl Write) -> Result<(), ExportError> {
    if !ndjson {
        out.write_all(feed_envelope::BEGIN)?;
    }
    let mut first = true;
    dump.every_eval_run::<ExportError>(|row| {
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
        let epoch = dump.merkle_epoch_latest()?;
        out.write_all(&feed_envelope::end(None, epoch)?)?;
    }
    Ok(())
}
