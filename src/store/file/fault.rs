//! What can be wrong with the files of a database.

use std::path::{Path, PathBuf};

/// A file of the database cannot be used as it is. Nothing has been touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct FileFault {
    path: PathBuf,
    kind: FaultKind,
}

/// What happened to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// It is missing.
    #[error("does not exist any more")]
    Deleted,
    /// Another file has its name.
    #[error("was replaced by another file")]
    Replaced,
    /// It is shorter than what was written to it.
    #[error("was truncated")]
    Truncated,
    /// It is being copied to its place, or is no database.
    #[error("is incomplete or no database")]
    Incomplete,
    /// A side file remained when the database was replaced.
    #[error(
        "belongs to another database: move the -wal and -shm files away to use the database beside them as it is"
    )]
    Foreign,
}

impl FileFault {
    pub(in crate::store) fn new(path: &Path, kind: FaultKind) -> Self {
        Self {
            path: path.to_owned(),
            kind,
        }
    }

    /// Returns the fault with the name of the file only, without its folder: for clients.
    pub fn brief(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        format!("{}: {}", Path::new(name).display(), self.kind)
    }

    /// Returns whether the write-ahead log is missing, and nothing else.
    pub(crate) fn is_deleted_log(&self) -> bool {
        self.kind == FaultKind::Deleted && self.path.to_string_lossy().ends_with("-wal")
    }
}
