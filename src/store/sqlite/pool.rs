//! The r2d2 pool of read connections.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Instant,
};

use r2d2::ManageConnection;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    Settings, StoreError,
    file::{DatabaseFile, FileConnection},
};
use crate::store::PoolUsage;

/// SQLite's virtual-machine steps between two checks of the clock: some tens of microseconds.
const STEPS_PER_DEADLINE_CHECK: i32 = 10_000;

/// The size of SQLite's page cache in each connection. A negative value is in KiB.
const READER_CACHE_KIB: i64 = -256;

/// Readers of one database file. Cloning shares the pool.
///
/// Getting a reader blocks the thread until one is free: call it on blocking threads only.
#[derive(Clone)]
pub struct ReadPool {
    pool: r2d2::Pool<FileManager>,
    file: DatabaseFile,
}

impl ReadPool {
    /// A pool of connections to the file, opened as they are needed. With `read_only`, SQLite
    /// avoids changing even the write-ahead log and its index, as far as it can.
    pub fn new(file: DatabaseFile, settings: Settings, read_only: bool) -> Self {
        let access = if read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        let inner = SqliteConnectionManager::file(file.path())
            // Without CREATE: a file that has gone must not come back empty.
            .with_flags(access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .with_init(move |connection| {
                connection.busy_timeout(settings.busy_timeout)?;
                // The files may have been replaced: only the writer copies the log into the database.
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
                // Responses are cached as bytes, and the kernel caches the file's pages. The pragma reads
                // the schema. Its error is ignored: if the file is no database, the first query fails at
                // once, but an error here would make the pool retry until its timeout.
                let _ = connection.pragma_update(None, "cache_size", READER_CACHE_KIB);
                // No statement can write through a connection of this pool.
                connection.pragma_update(None, "query_only", "ON")
            });
        let pool = r2d2::Pool::builder()
            .max_size(settings.pool_size)
            .min_idle(Some(0))
            .test_on_check_out(true)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(FileManager {
                inner,
                file: file.clone(),
            });
        Self { pool, file }
    }

    /// Returns how many connections the pool has at most.
    pub fn max_size(&self) -> u32 {
        self.pool.max_size()
    }

    /// Returns how many connections are open and idle.
    pub fn usage(&self) -> PoolUsage {
        let state = self.pool.state();
        PoolUsage {
            connections: state.connections,
            idle: state.idle_connections,
        }
    }

    /// Returns the size of the write-ahead log in bytes; 0 if it does not exist.
    pub fn wal_bytes(&self) -> u64 {
        self.file.wal_bytes()
    }

    /// Returns the database file.
    pub fn file(&self) -> &DatabaseFile {
        &self.file
    }

    /// Waits for a reader until `deadline` at most; its queries end in an error at `deadline`.
    ///
    /// # Errors
    /// [`StoreError::Pool`] if no connection came free in time, [`StoreError::File`] at once if the files do not
    /// belong together.
    pub fn reader(&self, deadline: Instant) -> Result<Reader, StoreError> {
        self.file.check()?;
        let wait = deadline.saturating_duration_since(Instant::now());
        let connection = self.pool.get_timeout(wait)?;
        connection.progress_handler(
            STEPS_PER_DEADLINE_CHECK,
            Some(move || Instant::now() >= deadline),
        )?;
        Ok(Reader(connection))
    }
}

impl fmt::Debug for ReadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPool").finish_non_exhaustive()
    }
}

/// A connection from the pool; dropping it returns it.
pub struct Reader(r2d2::PooledConnection<FileManager>);

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// Opens connections, and discards one if another file has replaced its file.
struct FileManager {
    inner: SqliteConnectionManager,
    file: DatabaseFile,
}

impl ManageConnection for FileManager {
    type Connection = FileConnection;
    type Error = StoreError;

    fn connect(&self) -> Result<FileConnection, StoreError> {
        self.file.open(|| Ok(self.inner.connect()?))
    }

    fn is_valid(&self, connection: &mut FileConnection) -> Result<(), StoreError> {
        if connection.is_current()? {
            Ok(())
        } else {
            let path = self.file.path().to_owned();
            Err(rusqlite::Error::InvalidPath(path).into())
        }
    }

    fn has_broken(&self, connection: &mut FileConnection) -> bool {
        self.inner.has_broken(connection)
    }
}
