//! Which file a path names. A connection whose database was replaced by a rename would otherwise serve the
//! deleted file for ever.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

/// Returns where SQLite keeps the write-ahead log of the database at `path`.
pub(crate) fn wal_path(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// Returns the size of a file in bytes; 0 if it does not exist.
pub(crate) fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Device and inode; `None` if the file does not exist, or the system has no such numbers.
pub(crate) type FileIdentity = Option<(u64, u64)>;

/// Returns the identity of the file at `path`.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> FileIdentity {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns nothing: elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
pub(crate) fn identity(_: &Path) -> FileIdentity {
    None
}

/// A connection, and which file it has open.
#[derive(Debug)]
pub(crate) struct FileConnection {
    connection: Connection,
    identity: FileIdentity,
}

impl FileConnection {
    /// Opens the file at `path` by calling `open`.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn open<E>(
        path: &Path,
        open: impl FnOnce() -> Result<Connection, E>,
    ) -> Result<Self, E> {
        // Asked before opening: if the file is replaced in between, the next check notices.
        let identity = identity(path);
        let connection = open()?;
        Ok(Self {
            connection,
            identity,
        })
    }

    /// Returns which file it has open.
    pub(crate) fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Returns whether `path` still names the open file. Costs one `stat`.
    pub(crate) fn is_current(&self, path: &Path) -> bool {
        self.identity == identity(path)
    }
}

impl Deref for FileConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for FileConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
