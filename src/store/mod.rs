//! The database: one coarse [`Store`], and all SQL behind it.
//!
//! | file | knows |
//! |---|---|
//! | `sqlite` | a database file |
//! | `dump` | everything that is stored, at one moment |
//! | `location` | what `--database` names |
//! | `import` | many items in one transaction, into either store |
//! | `operation` | what is written in groups |
//! | `outcome` | what a write changed, or why it was rejected |
//! | `state` | what readers find: board, feed, versions, the ends of pages |
//! | `prune` | removes old eval runs, a few at a time, from either store |
//! | `polls` | whether changes by other processes are noticed |
//! | `postgres` | a database of PostgreSQL |
//! | `settings` | the options of this room |

pub mod dump;
pub mod import;
pub mod location;
pub mod operation;
mod outcome;
mod polls;
pub mod postgres;
pub mod prune;
mod settings;
pub mod sqlite;
mod state;

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::domain::{
    challenge::{Challenge, Status},
    cursor::{Cursor, PageLimit},
    position::NotAPosition,
    ran_at::RanAt,
    seq_cursor::SeqCursor,
};
use operation::Operation;
use postgres::{PostgresStore, PostgresWatcher, PostgresWriter};
use sqlite::SqliteStore;

pub use outcome::{CommitError, Committed, Counts, RefusedItem, WriteError, Written};
pub use settings::Settings;
pub use state::{
    Board, BoardStamp, DatabaseSize, DatabaseState, DiskSpace, FeedStamp, KeptFrom, LastRow,
    PageEnd, PoolUsage, SeqPageEnd, SeqPageError, Since, Version,
};

/// Well, or what is wrong in a few words.
pub type Check = Result<(), Cow<'static, str>>;

/// What is wrong with a database that cannot be read in time.
pub(crate) const NO_ANSWER: &str = "no answer";

/// A database. Cheap to clone.
///
/// All methods that take a deadline block until then at most: call them on blocking threads only.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file.
    Sqlite(SqliteStore),
    /// A database of PostgreSQL, which replicas share.
    Postgres(PostgresStore),
}

impl Store {
    /// Returns the board, as of one moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn board(&self, deadline: Instant) -> Result<Board, StoreError> {
        match self {
            Self::Sqlite(store) => store.board(deadline),
            Self::Postgres(store) => store.board(deadline),
        }
    }

    /// Returns one challenge, whatever its status.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn challenge(&self, id: &str, deadline: Instant) -> Result<Option<Challenge>, StoreError> {
        match self {
            Self::Sqlite(store) => store.challenge(id, deadline),
            Self::Postgres(store) => store.challenge(id, deadline),
        }
    }

    /// Returns up to `limit` challenges whose ids follow `after`, in the order of their ids (by bytes): those of one
    /// status, or all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn challenges(
        &self,
        status: Option<Status>,
        after: &str,
        limit: PageLimit,
        deadline: Instant,
    ) -> Result<Vec<Challenge>, StoreError> {
        match self {
            Self::Sqlite(store) => store.challenges(status, after, limit, deadline),
            Self::Postgres(store) => store.challenges(status, after, limit, deadline),
        }
    }

    /// Hands the stored bytes of up to `limit` rows after `cursor` to `each_row`, in the feed's order; those up to
    /// `until`, if it is given. They are of one moment; the cost grows with the page, not with the feed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn feed_page(
        &self,
        cursor: &Cursor,
        until: Option<&RanAt>,
        limit: PageLimit,
        deadline: Instant,
        each_row: &mut dyn FnMut(&[u8]),
    ) -> Result<PageEnd, StoreError> {
        match self {
            Self::Sqlite(store) => store.feed_page(cursor, until, limit, deadline, each_row),
            Self::Postgres(store) => store.feed_page(cursor, until, limit, deadline, each_row),
        }
    }

    /// As [`Store::feed_page`], in the order of commits: every row with a smaller `seq` that will ever be committed is
    /// visible before a row is.
    ///
    /// # Errors
    /// [`SeqPageError`].
    pub fn feed_page_by_seq(
        &self,
        cursor: SeqCursor,
        limit: PageLimit,
        deadline: Instant,
        each_row: &mut dyn FnMut(&[u8]),
    ) -> Result<SeqPageEnd, SeqPageError> {
        match self {
            Self::Sqlite(store) => store.feed_page_by_seq(cursor, limit, deadline, each_row),
            Self::Postgres(store) => store.feed_page_by_seq(cursor, limit, deadline, each_row),
        }
    }

    /// Returns what happened to the feed since it was as `known`. The cost grows with the rows that were inserted since.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inserted_since(
        &self,
        known: &FeedStamp,
        deadline: Instant,
    ) -> Result<Since, StoreError> {
        match self {
            Self::Sqlite(store) => store.inserted_since(known, deadline),
            Self::Postgres(store) => store.inserted_since(known, deadline),
        }
    }

    /// Checks that the database answers a query that needs its content, and that it can be trusted.
    ///
    /// # Errors
    /// What is wrong.
    pub fn probe(&self, deadline: Instant) -> Check {
        match self {
            Self::Sqlite(store) => store.probe(deadline),
            Self::Postgres(store) => store.probe(deadline),
        }
    }

    /// Returns a writer. Opens nothing yet.
    pub fn writer(&self, settings: WriterSettings) -> Writer {
        match self {
            Self::Sqlite(store) => Writer::Sqlite(Box::new(store.writer(settings))),
            Self::Postgres(store) => {
                Writer::Postgres(Box::new(store.writer(settings.busy_timeout)))
            }
        }
    }

    /// Returns what notices the commits of other connections. Blocks while it opens the database; if that fails, the
    /// first poll tries again.
    pub fn watcher(&self) -> Watcher {
        match self {
            Self::Sqlite(store) => Watcher::Sqlite(Box::new(store.watcher())),
            Self::Postgres(store) => Watcher::Postgres(Box::new(store.watcher())),
        }
    }

    /// Notes whether a poll could read the database.
    pub(crate) fn polled(&self, succeeded: bool) {
        match self {
            Self::Sqlite(store) => store.polled(succeeded),
            Self::Postgres(store) => store.polled(succeeded),
        }
    }

    /// Discards what was found of the content: another one has taken its place.
    pub(crate) fn replaced(&self) {
        match self {
            Self::Sqlite(store) => store.replaced(),
            Self::Postgres(_) => {}
        }
    }

    /// Returns what kind of database it is: `sqlite` or `postgresql`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }

    /// Returns how many connections read at once at most.
    pub fn max_readers(&self) -> u32 {
        match self {
            Self::Sqlite(store) => store.pool().max_size(),
            Self::Postgres(store) => store.max_readers(),
        }
    }

    /// Returns the state of the pool of readers.
    pub fn usage(&self) -> PoolUsage {
        match self {
            Self::Sqlite(store) => store.pool().usage(),
            Self::Postgres(store) => store.usage(),
        }
    }

    /// Returns whether the database tells of changes, and how far it is behind its primary, in seconds.
    pub fn replication(&self) -> (bool, u64) {
        match self {
            Self::Sqlite(_) => (false, 0),
            Self::Postgres(store) => store.replication(),
        }
    }

    /// Returns the size of the database and of its disk; `None` if they are unknown. Blocks.
    pub fn size(&self) -> Option<DatabaseSize> {
        match self {
            Self::Sqlite(store) => store.size(),
            Self::Postgres(store) => Some(store.size()),
        }
    }

    /// Returns the size of the write-ahead log in bytes; 0 if there is none.
    pub fn wal_bytes(&self) -> u64 {
        match self {
            Self::Sqlite(store) => store.pool().wal_bytes(),
            Self::Postgres(_) => 0,
        }
    }
}

/// The bounds of a commit.
#[derive(Debug, Clone, Copy)]
pub struct WriterSettings {
    /// How long a commit waits while another process writes.
    pub busy_timeout: Duration,
    /// SQLite: the size of the write-ahead log above which a commit waits briefly for readers, in bytes.
    pub wal_soft_bytes: u64,
    /// SQLite: the size above which it waits for `long_wait`, in bytes.
    pub wal_hard_bytes: u64,
    /// How long a read may take.
    pub long_wait: Duration,
}

/// The one connection that writes. Its methods block.
#[derive(Debug)]
pub enum Writer {
    /// To a file.
    Sqlite(Box<sqlite::writer::WriteConnection>),
    /// To PostgreSQL.
    Postgres(Box<PostgresWriter>),
}

impl Writer {
    /// Carries all operations out in one transaction, each one completely or not at all. Blocks until the commit is
    /// durable.
    ///
    /// # Errors
    /// [`CommitError`], for all of them.
    pub fn commit(&mut self, operations: &[Operation]) -> Result<Committed, CommitError> {
        match self {
            Self::Sqlite(writer) => writer.commit(operations),
            Self::Postgres(writer) => writer.commit(operations),
        }
    }
}

/// Notices the commits of other connections.
#[derive(Debug)]
pub enum Watcher {
    /// Of a file.
    Sqlite(Box<sqlite::change_detector::ChangeDetector>),
    /// Of PostgreSQL.
    Postgres(Box<PostgresWatcher>),
}

impl Watcher {
    /// Returns what changes whenever the database says that something was committed. Some databases never say it: they
    /// must be polled.
    pub fn news(&self) -> watch::Receiver<u64> {
        match self {
            // Without a sender it never changes.
            Self::Sqlite(_) => watch::Sender::new(0).subscribe(),
            Self::Postgres(watcher) => watcher.news(),
        }
    }

    /// Returns the state of the database at the first poll, and whenever anything has been committed since the last
    /// one. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; the next poll tries anew.
    pub fn poll(&mut self) -> Result<Option<DatabaseState>, StoreError> {
        match self {
            Self::Sqlite(detector) => detector.poll(),
            Self::Postgres(watcher) => watcher.poll(),
        }
    }
}

/// A read or write of the database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection came free or could be opened in the time allowed.
    #[error("no database connection: {0}")]
    Pool(#[from] r2d2::Error),
    /// SQLite says why.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The files of the database do not belong together.
    #[error(transparent)]
    File(#[from] sqlite::file::FileFault),
    /// The file is no database that this program can use.
    #[error(transparent)]
    Open(Box<sqlite::open::OpenError>),
    /// A stored value is invalid: another program wrote it.
    #[error("database: challenge {challenge_id:?} has an invalid {column}")]
    Corrupt {
        /// The row.
        challenge_id: String,
        /// The column.
        column: &'static str,
    },
    /// PostgreSQL failed, or did not answer.
    #[error(transparent)]
    Postgres(#[from] postgres::error::PostgresError),
    /// The table of lineages has an invalid row: another program wrote it.
    #[error("database: a lineage is {0}")]
    Lineage(#[from] NotAPosition),
    /// The database is that of a follower, and nothing was copied into it yet.
    #[error("nothing was copied from the upstream yet")]
    NotCopied,
    /// A follower finds a database that is no copy: another file has taken its place, or it was promoted.
    #[error(
        "the database is no copy of another publisher any more: put the copy back, or follow with a new file"
    )]
    NotACopy,
    /// A follower finds that another process has claimed its database since.
    #[error(
        "another process has begun to follow with this database: each follower needs a file of its own"
    )]
    TakenOver,
}

impl From<sqlite::open::OpenError> for StoreError {
    fn from(error: sqlite::open::OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}
