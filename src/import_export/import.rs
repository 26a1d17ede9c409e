//! `import`: reads and checks the whole input first, and takes the write lock only then.

use std::{
    io::{self, BufRead},
    mem,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior};

use super::spool::{Item, Items, Spool};
use crate::{
    config::Kind,
    domain::Invalid,
    json_stream::{Envelope, SourceError, read_items},
    store::{
        Counts, StoreError, WriteError, Written,
        sqlite::{file::FileFault, kept_open::KeptOpen, open::OpenError, write},
    },
};

/// How long an import waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// SQLite's page cache; negative means KiB. Ids come in no order, so with the default of 2 MiB the pages of their
/// index are written again and again, and the write lock is held for half as long again.
const CACHE_KIB: i64 = -64 * 1024;
/// How long a batch holds the write lock, beside the time of its commit.
const BATCH: Duration = Duration::from_millis(250);
/// How long the write lock is free between two batches. SQLite's busy handler tries every 100 ms, so everybody
/// who waits gets a turn.
const PAUSE: Duration = Duration::from_millis(120);

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The input could not be read, or contains an item that is rejected.
    #[error(transparent)]
    Source(#[from] SourceError<WriteError>),
    /// The items could not be kept until they are written.
    #[error("temporary file: {0}")]
    Spool(#[from] io::Error),
    /// The files of the database were deleted or replaced during the import.
    #[error(transparent)]
    File(#[from] FileFault),
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

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The input was read and checked, and is going to be written.
    Read {
        /// How many items it has.
        items: u64,
    },
    /// One more item was written.
    Written,
}

/// How the items are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transactions {
    /// All items or nothing: other writers wait until all are written.
    One,
    /// Many short ones: other writers wait for one of them. After a failure some items are stored.
    Batches,
}

/// Imports `source` into the database at `path`, which is created if missing. Nothing is locked while `source`
/// is read.
///
/// # Errors
/// [`ImportError`]; then nothing has been imported, except for earlier batches of [`Transactions::Batches`].
pub fn import(
    path: &Path,
    kind: Kind,
    transactions: Transactions,
    source: impl BufRead,
    mut progress: impl FnMut(Progress),
) -> Result<Counts, ImportError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let open = || KeptOpen::open(path, false, BUSY_TIMEOUT);
    // A wrong path is reported before the input is read. A new database is created after that.
    let is_there = path.exists() || !folder.is_dir();
    let opened = is_there.then(open).transpose()?;
    let mut spool = Spool::new(folder);
    let mut spooled = Ok(());
    let read = read_items(source, |place, json| {
        let item = Item::parse(kind, json)?;
        spooled = spool.push(place, &item);
        match &spooled {
            Ok(()) => Ok(()),
            Err(_) => Err(Invalid::new("", "cannot be kept").into()),
        }
    });
    spooled?;
    let epoch = epoch(&read?)?;
    let mut items = spool.into_items(kind)?;
    progress(Progress::Read {
        items: items.left(),
    });
    let mut connection = opened.map_or_else(open, Ok)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    let mut counts = Counts::default();
    let mut is_first = true;
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if mem::take(&mut is_first) {
            write::continue_lineage(&transaction)?;
        }
        let until = match transactions {
            Transactions::One => None,
            Transactions::Batches => Some(Instant::now() + BATCH),
        };
        write_items(&transaction, &mut items, until, &mut counts, &mut progress)?;
        let is_last = items.left() == 0;
        if is_last && let Some(epoch) = epoch {
            write::put_merkle_epoch(&transaction, epoch, None)?;
        }
        transaction.commit()?;
        // What went into a file that nobody finds any more is lost.
        connection.check()?;
        if is_last {
            connection.close();
            return Ok(counts);
        }
        thread::sleep(PAUSE);
    }
}

fn epoch(envelope: &Envelope) -> Result<Option<i64>, WriteError> {
    match envelope.merkle_epoch_latest {
        Some(..0) => Err(Invalid::new("merkle_epoch_latest", "must not be negative").into()),
        epoch => Ok(epoch),
    }
}

/// Writes the items that are left, or those of the time until `until`.
fn write_items(
    connection: &Connection,
    items: &mut Items,
    until: Option<Instant>,
    counts: &mut Counts,
    progress: &mut impl FnMut(Progress),
) -> Result<(), ImportError> {
    for item in items.by_ref() {
        let (place, item) = item?;
        let written =
            write_item(connection, &item).map_err(|error| SourceError::Item(place, error))?;
        counts.add(written);
        progress(Progress::Written);
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
    }
    Ok(())
}

fn write_item(connection: &Connection, item: &Item) -> Result<Written, WriteError> {
    match item {
        Item::Challenge(challenge) => write::put_challenge(connection, challenge),
        Item::Run(run) => write::insert_eval_run(connection, run),
    }
}
