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
    /// It was in use before another database took its place, and parts of that use have not ended.
    #[error("was put back after another database was in its place: restart the server")]
    Returned,
    /// A side file was written for another file than the database beside it.
    #[error(
        "belongs to another file than the database beside it. If both were copied together, `sqlite3 DATABASE 'PRAGMA wal_checkpoint(TRUNCATE)'` makes them one. If not, move the -wal and -shm files away to use the database as it is"
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

    /// Returns whether only open connections still have the log: its name is gone, or names an empty file.
    pub(crate) fn is_lost_log(&self) -> bool {
        self.is_log()
            && match self.kind {
                FaultKind::Deleted => true,
                FaultKind::Replaced => {
                    std::fs::metadata(&self.path).is_ok_and(|found| found.len() == 0)
                }
                FaultKind::Truncated
                | FaultKind::Incomplete
                | FaultKind::Returned
                | FaultKind::Foreign => false,
            }
    }

    /// Returns whether another log took the place of the one that open connections have.
    pub(crate) fn is_replaced_log(&self) -> bool {
        self.is_log() && self.kind == FaultKind::Replaced
    }

    fn is_log(&self) -> bool {
        self.path.to_string_lossy().ends_with("-wal")
    }

    /// Returns the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
