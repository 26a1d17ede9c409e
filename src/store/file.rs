//! Which file a path names: a database that was replaced by a rename would otherwise be served from
//! its deleted predecessor for ever.

use std::path::Path;

/// Device and inode; none where there is no file, or no such thing.
pub(super) type FileIdentity = Option<(u64, u64)>;

/// The identity of the file at `path`.
#[cfg(unix)]
pub(super) fn identity(path: &Path) -> FileIdentity {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
pub(super) fn identity(_: &Path) -> FileIdentity {
    None
}
