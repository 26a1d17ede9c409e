//! A database file of SQLite.
//!
//! | file | knows |
//! |---|---|
//! | `open` | what must be true of a file before it is used |
//! | `backup` | writes a copy of a database in use |
//! | `change_detector` | notices commits of other connections |
//! | `condition` | whether the database can be trusted: damage, failed polls |
//! | `disk_space` | the size of the file, and the free space of its disk |
//! | `file` | whether the files of the database are those that were opened |
//! | `history` | whether the database went back without a restore |
//! | `import` | write transactions of many items |
//! | `kept_open` | the connection that is opened first and closed last |
//! | `migrations` | the schema, and how a database gets it |
//! | `mirror` | what a follower stores: the numbers, lineages and positions of its upstream |
//! | `page_copy` | copies a database through SQLite, and checks it |
//! | `pool` | the r2d2 pool of read connections, and its pragmas |
//! | `prune` | removes old eval runs |
//! | `read` | the queries of the board, the feed, the health check and the exports |
//! | `restore` | brings a backup into a database in use |
//! | `scratch` | a private folder for a database that is being made |
//! | `wal_size` | keeps the write-ahead log (WAL) bounded |
//! | `write` | inserts and replacements, and when they conflict |
//! | `writer` | one transaction for a group of operations, a savepoint for each |

pub mod backup;
pub(super) mod change_detector;
mod condition;
mod disk_space;
pub mod file;
mod history;
pub mod import;
pub mod kept_open;
mod migrations;
pub mod mirror;
pub mod open;
pub mod page_copy;
pub mod pool;
pub mod prune;
pub mod read;
pub mod restore;
mod scratch;
mod wal_size;
pub mod write;
pub(super) mod writer;

use std::time::Instant;

use super::{
    Board, Check, DatabaseSize, FeedStamp, PageEnd, SeqPageEnd, SeqPageError, Settings, Since,
    StoreError, WriterSettings,
};
use crate::domain::{
    challenge::{Challenge, Status},
    cursor::{Cursor, PageLimit},
    eval_run::EvalRun,
    ran_at::RanAt,
    seq_cursor::SeqCursor,
};
use change_detector::ChangeDetector;
use file::DatabaseFile;
use mirror::{
    Mirrored, Part,
    claim::{self, FollowerToken},
};
use pool::{ReadPool, Reader};
use writer::WriteConnection;

/// A database file, and the pool of its readers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: ReadPool,
    settings: Settings,
    writable: bool,
    follows: Option<FollowerToken>,
}

impl SqliteStore {
    /// The database `file`. Unless it is `writable`, nothing in it is changed.
    pub fn new(file: DatabaseFile, settings: Settings, writable: bool) -> Self {
        Self {
            pool: ReadPool::new(file, settings, !writable),
            settings,
            writable,
            follows: None,
        }
    }

    /// Serves board and feed only once they were copied, and copies only while the claim holds: the database is that of a
    /// follower (see `mirror::claim::claim`).
    #[must_use]
    pub fn following(mut self, claimed: FollowerToken) -> Self {
        self.follows = Some(claimed);
        self
    }

    /// Returns the pool of readers.
    pub fn pool(&self) -> &ReadPool {
        &self.pool
    }

    fn file(&self) -> &DatabaseFile {
        self.pool.file()
    }

    pub(super) fn board(&self, deadline: Instant) -> Result<Board, StoreError> {
        self.read(deadline, |reader| {
            self.expect_copied(Part::Board, reader)?;
            read::board(reader)
        })
    }

    pub(super) fn challenge(
        &self,
        id: &str,
        deadline: Instant,
    ) -> Result<Option<Challenge>, StoreError> {
        self.read(deadline, |reader| read::challenge_by_id(reader, id))
    }

    pub(super) fn challenges(
        &self,
        status: Option<Status>,
        after: &str,
        limit: PageLimit,
        deadline: Instant,
    ) -> Result<Vec<Challenge>, StoreError> {
        self.read(deadline, |reader| {
            read::challenges(reader, status, after, limit)
        })
    }

    pub(super) fn feed_page(
        &self,
        cursor: &Cursor,
        until: Option<&RanAt>,
        limit: PageLimit,
        deadline: Instant,
        each_row: &mut dyn FnMut(&[u8]),
    ) -> Result<PageEnd, StoreError> {
        self.read(deadline, |reader| {
            self.expect_copied(Part::Feed, reader)?;
            read::feed_page(reader, cursor, until, limit, each_row)
        })
    }

    pub(super) fn feed_page_by_seq(
        &self,
        cursor: SeqCursor,
        limit: PageLimit,
        deadline: Instant,
        each_row: &mut dyn FnMut(&[u8]),
    ) -> Result<SeqPageEnd, SeqPageError> {
        let reader = self.pool.reader(deadline)?;
        let page = self
            .expect_copied(Part::Feed, &reader)
            .map_err(SeqPageError::from)
            .and_then(|()| read::feed_page_by_seq(&reader, cursor, limit, each_row));
        if let Err(SeqPageError::Store(error)) = &page {
            self.file().condition().failed(error);
        }
        page
    }

    pub(super) fn inserted_since(
        &self,
        known: &FeedStamp,
        deadline: Instant,
    ) -> Result<Since, StoreError> {
        self.read(deadline, |reader| read::inserted_since(reader, known))
    }

    /// Returns how far a follower has got.
    ///
    /// # Errors
    /// [`StoreError`]; also if the database was not claimed.
    pub(crate) fn mirrored(&self, deadline: Instant) -> Result<Mirrored, StoreError> {
        self.read(deadline, |reader| {
            claim::expect_copy(reader)?;
            mirror::mirrored(reader)
        })
    }

    /// Returns the ids of those eval runs that are stored with other bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn conflicting(
        &self,
        rows: &[EvalRun],
        deadline: Instant,
    ) -> Result<Vec<String>, StoreError> {
        self.read(deadline, |reader| mirror::conflicting(reader, rows))
    }

    fn expect_copied(&self, part: Part, reader: &Reader) -> Result<(), StoreError> {
        if self.follows.is_some() {
            claim::expect_copy(reader)?;
            part.expect_copied(reader)?;
        }
        Ok(())
    }

    /// Reads, and notes an error that tells of damage.
    fn read<T>(
        &self,
        deadline: Instant,
        read: impl FnOnce(&Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = read(&self.pool.reader(deadline)?);
        found.inspect_err(|error| self.file().condition().failed(error))
    }

    pub(super) fn probe(&self, deadline: Instant) -> Check {
        let condition = self.file().condition();
        let probed = self.pool.reader(deadline).and_then(|reader| {
            read::probe(&reader)?;
            if let Some(claimed) = self.follows {
                claimed.check(&reader)?;
            }
            Ok(condition.is_damaged(|| read::is_sound(&reader)))
        });
        match probed {
            Ok(true) => Err("damaged: restore a backup".into()),
            Ok(false) => condition.polls.check(),
            Err(error) => {
                log::debug!("health: {error}");
                Err(match error {
                    StoreError::File(fault) => fault.brief().into(),
                    StoreError::NotACopy => "no copy of another publisher any more".into(),
                    StoreError::TakenOver => "another process follows with it".into(),
                    StoreError::Pool(_)
                    | StoreError::Sqlite(_)
                    | StoreError::Open(_)
                    | StoreError::Corrupt { .. }
                    | StoreError::Postgres(_)
                    | StoreError::NotCopied
                    | StoreError::Lineage(_) => super::NO_ANSWER.into(),
                })
            }
        }
    }

    pub(super) fn size(&self) -> Option<DatabaseSize> {
        disk_space::size(self.file().path())
            .inspect_err(|error| log::debug!("the size of the database: {error}"))
            .ok()
    }

    pub(super) fn writer(&self, settings: WriterSettings) -> WriteConnection {
        WriteConnection::new(self.file().clone(), settings, self.follows)
    }

    pub(super) fn watcher(&self) -> ChangeDetector {
        ChangeDetector::new(
            self.file().clone(),
            self.writable,
            self.settings.busy_timeout,
            self.follows.is_some(),
        )
    }

    pub(super) fn polled(&self, succeeded: bool) {
        self.file().condition().polls.polled(succeeded);
    }

    pub(super) fn replaced(&self) {
        self.file().condition().replaced();
    }
}
