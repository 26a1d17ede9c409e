//! Copies a whole database through SQLite, checks it, and says what is in it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    backup::{Backup, StepResult},
    ffi,
};

use super::{
    file::FileFault,
    open::{OpenError, create_private},
};
use crate::store::{StoreError, import::ImportFault};

/// How long a copy waits for another process that has the database locked.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two reports of progress.
const PAGES_PER_STEP: i32 = 1024;

/// Why a database was not copied. The destination is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the databases cannot be used.
    #[error(transparent)]
    Open(OpenError),
    /// A side file belongs to another database.
    #[error(transparent)]
    File(#[from] FileFault),
    /// A path or its content is not acceptable.
    #[error("{}: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The backup is that of a follower, and belongs into a new file: only there is it still known to be a copy, and a
    /// server that had the database open could not write to it any more.
    #[error(
        "{}: is a copy of {upstream} that `serve --follow` has made: restore it into a new file, and use that with \
         `serve --promote` or `serve --follow`",
        path.display()
    )]
    OfFollower {
        /// The file.
        path: PathBuf,
        /// The publisher that it is a copy of.
        upstream: String,
    },
    /// `PRAGMA integrity_check` found something.
    #[error("{}: is damaged: {finding}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first finding.
        finding: String,
    },
    /// Another process had the database locked for too long.
    #[error(
        "{}: another process had it locked for {} seconds",
        path.display(),
        BUSY_TIMEOUT.as_secs()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// SQLite failed.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A server failed, or a stored value is invalid.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// A server did not take the content in.
    #[error(transparent)]
    Import(#[from] ImportFault),
    /// The operating system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<OpenError> for CopyError {
    fn from(error: OpenError) -> Self {
        if let OpenError::Sqlite { path, source } = error {
            Self::sqlite(&path)(source)
        } else {
            Self::Open(error)
        }
    }
}

impl CopyError {
    pub(super) fn refused(path: &Path, reason: &'static str) -> Self {
        let path = path.to_owned();
        Self::Refused { path, reason }
    }

    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy) => Self::Locked { path },
                Some(ErrorCode::DatabaseCorrupt) => Self::Damaged {
                    path,
                    finding: "malformed".to_owned(),
                },
                _ => Self::Sqlite { path, source },
            }
        }
    }

    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// What is being done at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Pages are copied.
    Copying {
        /// Bytes that were copied.
        bytes: u64,
        /// Bytes to copy.
        of: u64,
    },
    /// The copy is checked.
    Checking,
}

/// What a database contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Of every status.
    pub challenges: u64,
    /// Unpublished ones included.
    pub eval_runs: u64,
    /// Merkle epochs.
    pub merkle_epochs: u64,
    /// Which history the database tells; `None` if it was made before there were lineages.
    pub lineage: Option<String>,
}

impl Contents {
    pub(in crate::store) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let count = |table: &str| {
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
        };
        Ok(Self {
            challenges: count("challenges")?,
            eval_runs: count("eval_runs")?,
            merkle_epochs: count("merkle_epochs")?,
            lineage: super::read::lineage(connection).ok(),
        })
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "challenges: {}, eval runs: {}, epochs: {}, lineage: {}",
            self.challenges,
            self.eval_runs,
            self.merkle_epochs,
            self.lineage.as_deref().unwrap_or("none")
        )
    }
}

/// Makes an empty database that only its owner can read, for a copy that is thrown away unless it is completed: it has
/// no journal, and does not wait for the disk.
pub(super) fn new_database(path: &Path) -> Result<Connection, CopyError> {
    create_private(path)?;
    let failed = CopyError::sqlite(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    for pragma in ["journal_mode", "synchronous"] {
        connection
            .pragma_update(None, pragma, "OFF")
            .map_err(&failed)?;
    }
    Ok(connection)
}

/// Copies all pages of `from`, as they are at the beginning, into `into`: one write transaction there. It has begun
/// when `progress` is first called, and nothing is copied yet.
///
/// The read transaction keeps commits of other processes out of the copy. Without it SQLite begins again after
/// each of them, and never ends while somebody writes.
pub(super) fn copy(
    from: &Connection,
    into: &mut Connection,
    mut progress: impl FnMut(Step),
) -> rusqlite::Result<()> {
    let always = |step| {
        progress(step);
        true
    };
    copy_while(from, into, always).map(drop)
}

/// As [`copy`], while `goes_on` returns true; it is called first when nobody else can write to `into` any more. Returns
/// whether all was copied. If not, or after an error, `into` is as it was.
///
/// # Errors
/// Those of [`copy`].
pub(super) fn copy_while(
    from: &Connection,
    into: &mut Connection,
    mut goes_on: impl FnMut(Step) -> bool,
) -> rusqlite::Result<bool> {
    let snapshot = from.unchecked_transaction()?;
    let page: u64 = snapshot.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let backup = Backup::new(&snapshot, into)?;
    let mut pages_per_step = 0;
    loop {
        let stepped = backup.step(pages_per_step)?;
        pages_per_step = PAGES_PER_STEP;
        let pages = backup.progress();
        let bytes_of = |count: i32| u64::try_from(count).unwrap_or_default() * page;
        let copying = Step::Copying {
            bytes: bytes_of(pages.pagecount - pages.remaining),
            of: bytes_of(pages.pagecount),
        };
        match stepped {
            StepResult::Done => return Ok(true),
            StepResult::More if goes_on(copying) => {}
            StepResult::More => return Ok(false),
            // The connection's busy timeout has passed.
            StepResult::Busy | StepResult::Locked | _ => {
                let busy = ffi::Error::new(ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
        }
    }
}

/// Runs `PRAGMA integrity_check` on a copy of `original`, which an error names. Reads every page.
pub(super) fn check_integrity(connection: &Connection, original: &Path) -> Result<(), CopyError> {
    let finding: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(CopyError::sqlite(original))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(CopyError::Damaged {
        path: original.to_owned(),
        finding: finding.replace('\n', " "),
    })
}
