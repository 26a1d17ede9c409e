//! The r2d2 pool of read connections.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    time::Instant,
};

use r2d2::ManageConnection;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};

use super::{
    Settings, StoreError,
    file::{FileConnection, bytes_of, wal_path},
};

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
    path: PathBuf,
}

/// The numbers of connections of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// Connections that are open.
    pub connections: u32,
    /// Open connections that are idle.
    pub idle: u32,
}

impl ReadPool {
    /// A pool of connections to the file at `path`, opened as they are needed. With `read_only`, SQLite
    /// avoids changing even the write-ahead log and its index, as far as it can.
    pub fn new(path: &Path, settings: Settings, read_only: bool) -> Self {
        let access = if read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        let inner = SqliteConnectionManager::file(path)
            // Without CREATE: a file that has gone must not come back empty.
            .with_flags(access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .with_init(move |connection| {
                connection.busy_timeout(settings.busy_timeout)?;
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
                path: path.to_owned(),
            });
        Self {
            pool,
            path: path.to_owned(),
        }
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
        bytes_of(&wal_path(&self.path))
    }

    /// Waits for a reader until `deadline` at most; its queries end in an error at `deadline`.
    ///
    /// # Errors
    /// [`StoreError::Pool`] if no connection came free in time.
    pub fn reader(&self, deadline: Instant) -> Result<Reader, StoreError> {
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
    path: PathBuf,
}

impl ManageConnection for FileManager {
    type Connection = FileConnection;
    type Error = rusqlite::Error;

    fn connect(&self) -> Result<FileConnection, rusqlite::Error> {
        FileConnection::open(&self.path, || self.inner.connect())
    }

    fn is_valid(&self, connection: &mut FileConnection) -> Result<(), rusqlite::Error> {
        if connection.is_current(&self.path) {
            Ok(())
        } else {
            Err(rusqlite::Error::InvalidPath(self.path.clone()))
        }
    }

    fn has_broken(&self, connection: &mut FileConnection) -> bool {
        self.inner.has_broken(connection)
    }
}
