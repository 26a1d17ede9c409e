//! The size of a database file, and the space of the disk that it is on.

use std::{fs, io, path::Path};

use rustix::fs::statvfs;

use crate::store::{DatabaseSize, DiskSpace};

/// Returns the size of the file at `path` and the space of its disk. Two system calls.
///
/// # Errors
/// If there is no such file.
pub(super) fn size(path: &Path) -> io::Result<DatabaseSize> {
    let database_bytes = fs::metadata(path)?.len();
    let disk = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(DatabaseSize {
        database_bytes,
        disk: Some(DiskSpace {
            // Not those that are reserved to root.
            free_bytes: bytes(disk.f_bavail),
            bytes: bytes(disk.f_blocks),
        }),
    })
}
