//! Brings the content of a file of SQLite into PostgreSQL.

use rusqlite::Connection;

use super::{PostgresStore, import::PostgresImport};
use crate::store::{
    StoreError, WriteError,
    import::{ImportFault, ImportItem},
    sqlite::{
        page_copy::{Contents, CopyError},
        read,
        restore::Restored,
    },
};

/// Puts the content of a file in the place of what the server has, in one transaction: readers see the old or the new
/// content. Eval runs keep their numbers, and a lineage begins.
///
/// # Errors
/// [`CopyError`]; then the server has what it had, unless the outcome is unknown.
pub(in crate::store) fn replace_content(
    store: PostgresStore,
    copy: &Connection,
) -> Result<Restored, CopyError> {
    let mut contents = Contents::of(copy).map_err(StoreError::from)?;
    let mut import = PostgresImport::new(store);
    import.begin()?;
    let (replaced, live) = import.clear()?;
    read::every_challenge::<CopyError>(copy, |challenge| {
        Ok(import.put(0, ImportItem::Challenge(challenge))?)
    })?;
    read::every_eval_run_in_order::<CopyError>(copy, |run| {
        let (number, seq) = (run.seq.unsigned_abs(), Some(run.seq));
        let run = run.try_into().map_err(|invalid| ImportFault::Item {
            number,
            error: WriteError::Invalid(invalid),
        })?;
        Ok(import.put(number, ImportItem::EvalRun { seq, run })?)
    })?;
    read::every_merkle_epoch::<CopyError>(copy, |stored| {
        let epoch = stored.epoch;
        match stored.body {
            Some(body) => import.put(0, ImportItem::MerkleEpoch { epoch, body })?,
            None => drop(import.put_epoch_number(epoch)?),
        }
        Ok(())
    })?;
    if let Some(pruned) = read::pruned(copy)? {
        import.note_pruned(&pruned)?;
    }
    let last_seq = read::last_seq(copy)?;
    import.raise_last_seq(last_seq)?;
    let lineages = read::lineages(copy)?.taking_place_of(&live, last_seq);
    contents.lineage = Some(import.begin_lineage(&lineages, &live)?);
    import.commit()?;
    Ok(Restored {
        replaced: Some(replaced),
        contents,
    })
}
