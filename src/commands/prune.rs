//! `prune`.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use cathedral_publisher::{
    config::{Prunable, Prune},
    domain::ran_at::RanAt,
    store::{import::ImportFault, prune::PruneSession, sqlite::prune::SqlitePrune},
};

use super::{database, import_export::progress_bar};

pub(crate) fn prune(options: &Prune) -> anyhow::Result<()> {
    let Prunable::Rows = options.content;
    let before = &options.before;
    // A year that is mistyped would remove everything.
    if RanAt::second_of(SystemTime::now()).is_some_and(|now| *before > now) {
        anyhow::bail!("--before {} is in the future", before.as_str());
    }
    let mut session = open(options)?;
    let count = session.count(before)?;
    let before_text = before.as_str();
    let said = if options.dry_run {
        format!("{count} eval runs ran before {before_text}: nothing was removed")
    } else {
        // With nothing to remove, the write lock is not taken.
        let removed = if count == 0 {
            0
        } else {
            let bar = progress_bar((Some(count), "removing {wide_bar} {pos}/{len} {eta}"))?;
            let mut so_far = 0;
            let removed = session.run(before, options.batch, |removed| {
                so_far += removed;
                bar.inc(removed);
            });
            bar.finish_and_clear();
            removed.map_err(|fault| failed(fault, so_far))?
        };
        format!("{removed} eval runs were removed that ran before {before_text}")
    };
    session.close();
    writeln!(io::stdout(), "{said}")?;
    Ok(())
}

/// What to do about a disk that is full.
const MAKE_ROOM: &str =
    "this needs room for the write-ahead log: make room on the disk, then run it again";

/// Opens the database. If it cannot, and the disk is full, says what to do.
fn open(options: &Prune) -> anyhow::Result<PruneSession> {
    let path = options.database.database.path();
    database::prune_session(&options.database).map_err(|error| {
        if path.is_some_and(SqlitePrune::is_disk_full) {
            error.context(format!("the disk is full; {MAKE_ROOM}"))
        } else {
            error
        }
    })
}

/// Says how far it came, and what to do.
fn failed(fault: ImportFault, removed: u64) -> anyhow::Error {
    let advice = if fault.is_disk_full() {
        MAKE_ROOM
    } else {
        "run it again for the rest"
    };
    let context = format!("{removed} eval runs were removed before this failed; {advice}");
    anyhow::Error::new(fault).context(context)
}
