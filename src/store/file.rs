//! Which file a path names: a database that was replaced by a rename would otherwise be served from
//! its deleted predecessor for ever.

use std::path::{Path, PathBuf};

/// Where SQLite keeps the write-ahead log of the database at `path`.
pub fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// The size of a file in bytes; 0 where there is none.
pub fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Device and inode; none where there is no file, or no such thing.
pub type FileIdentity = Option<(u64, u64)>;

/// The identity of the file at `path`.
#[cfg(unix)]
pub fn identity(path: &Path) -> FileIdentity {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
pub fn identity(_: &Path) -> FileIdentity {
    None
}
