//! `import`: reads and checks the whole input first, and takes the write lock only then.

use std::{
    io::{self, BufRead},
    thread,
    time::{Duration, Instant},
};

use super::spool::{Item, Items, Spool};
use crate::{
    config::Kind,
    domain::{
        Invalid,
        signature::{PublicKeys, Verifier},
    },
    json_stream::{Envelope, Place, SourceError, read_items},
    store::{
        Counts, WriteError,
        import::{ImportFault, ImportSession},
    },
};

/// How long a batch takes, beside the time of its commit. With SQLite it holds the write lock.
const BATCH: Duration = Duration::from_millis(250);
/// How long the write lock is free between two batches. SQLite's busy handler tries every 100 ms, so every
/// writer that waits gets a turn.
const PAUSE: Duration = Duration::from_millis(120);

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input could not be read, or contains an item that is rejected.
    #[error(transparent)]
    Source(#[from] SourceError<WriteError>),
    /// The items could not be kept until they are written.
    #[error("temporary file: {0}")]
    Spool(#[from] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] ImportFault),
    /// A value beside the items is rejected.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ImportError {
    /// Returns whether the last transaction may be stored all the same.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Store(ImportFault::Unknown(_)))
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

/// Imports `source`. Nothing is locked while it is read. With `keys`, which are for eval runs only, an item that none of
/// them has signed is rejected.
///
/// # Errors
/// [`ImportError`]; then nothing has been imported, except for earlier batches of [`Transactions::Batches`].
pub fn import(
    mut session: ImportSession,
    kind: Kind,
    transactions: Transactions,
    keys: Option<&PublicKeys>,
    source: impl BufRead,
    mut progress: impl FnMut(Progress),
) -> Result<Counts, ImportError> {
    // A wrong path is reported before the input is read.
    session.prepare()?;
    let mut spool = Spool::new(&session.folder());
    let mut spooled = Ok(());
    let mut verifier = keys.map(Verifier::new);
    // Rows that no key has signed. They are found some rows later.
    let mut unsigned = Vec::new();
    let read = read_items(source, |place, json| {
        let item = Item::parse(kind, json)?;
        if let Some(verifier) = &mut verifier {
            unsigned = verifier.push(place, json);
        }
        if !unsigned.is_empty() {
            return Err(Invalid::new("", "an earlier item is invalid").into());
        }
        spooled = spool.push(place, &item);
        match &spooled {
            Ok(()) => Ok(()),
            Err(_) => Err(Invalid::new("", "cannot be kept").into()),
        }
    });
    spooled?;
    if unsigned.is_empty()
        && let Some(verifier) = verifier
    {
        unsigned = verifier.finish();
    }
    // The first of them, also if a later item is invalid in another way.
    if let Some((place, invalid)) = unsigned.into_iter().next() {
        return Err(SourceError::Item(place, invalid.into()).into());
    }
    let epoch = epoch(&read?)?;
    let mut items = spool.into_items(kind)?;
    progress(Progress::Read {
        items: items.left(),
    });
    let mut counts = Counts::default();
    loop {
        session.begin()?;
        let until = match transactions {
            Transactions::One => None,
            Transactions::Batches => Some(Instant::now() + BATCH),
        };
        let mut place: fn(u64) -> Place = Place::Item;
        write_items(&mut session, &mut items, until, &mut place, &mut progress)?;
        if items.left() == 0
            && let Some(epoch) = epoch
        {
            named(session.put_epoch_number(epoch), place)?;
        }
        counts += named(session.commit(), place)?;
        if items.left() == 0 {
            session.close();
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

/// Writes the items that are left, or those of the time until `until`. `place` becomes what the numbers of the items are.
fn write_items(
    session: &mut ImportSession,
    items: &mut Items,
    until: Option<Instant>,
    place: &mut fn(u64) -> Place,
    progress: &mut impl FnMut(Progress),
) -> Result<(), ImportError> {
    for item in items.by_ref() {
        let (at, item) = item?;
        let number = match at {
            Place::Item(number) => {
                *place = Place::Item;
                number
            }
            Place::Line(number) => {
                *place = Place::Line;
                number
            }
        };
        named(session.put(number, item.into()), *place)?;
        progress(Progress::Written);
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
    }
    Ok(())
}

/// Names the item that a session has rejected as it is named in the input.
fn named<T>(result: Result<T, ImportFault>, place: fn(u64) -> Place) -> Result<T, ImportError> {
    result.map_err(|fault| match fault {
        ImportFault::Item { number, error } => SourceError::Item(place(number), error).into(),
        ImportFault::Store(_) | ImportFault::Broken(_) | ImportFault::Unknown(_) => fault.into(),
    })
}
