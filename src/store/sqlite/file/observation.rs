//! The files of a database at one moment. They are only asked for by name, never opened: closing a file drops the
//! locks that SQLite has on it in the same process (POSIX).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{FaultKind, FileFault};

/// How many files of databases that were replaced are kept beside a database.
const MAX_SET_ASIDE: u32 = 100;

/// Device and inode. While a connection has the file open, the numbers are not used again.
pub(super) type FileId = (u64, u64);

/// The files of a database at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    database: (PathBuf, Option<FileId>),
    log: Option<FileId>,
    index: Option<FileId>,
}

/// How the files are related to those of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Relation {
    /// The same files.
    Same,
    /// Another database; these side files of the one before are left.
    Other(Vec<PathBuf>),
}

impl Observation {
    /// Looks at the files of the database at `path`.
    ///
    /// # Errors
    /// [`FileFault`] if the database is missing or empty.
    pub(super) fn of(path: &Path) -> Result<Self, FileFault> {
        let path = target(path);
        let fault = |kind| FileFault::new(&path, kind);
        let database = fs::metadata(&path).map_err(|_| fault(FaultKind::Deleted))?;
        if database.len() == 0 {
            return Err(fault(FaultKind::Truncated));
        }
        let id_beside = |suffix| {
            fs::metadata(beside(&path, suffix))
                .ok()
                .as_ref()
                .and_then(file_id)
        };
        let (log, index) = (id_beside("-wal"), id_beside("-shm"));
        Ok(Self {
            database: (path, file_id(&database)),
            log,
            index,
        })
    }

    /// Returns which file the database is.
    pub(super) fn id(&self) -> Option<FileId> {
        self.database.1
    }

    pub(super) fn same_database(&self, before: &Self) -> bool {
        self.database.1 == before.database.1
    }

    /// Compares the files with those that open connections have.
    ///
    /// # Errors
    /// [`FileFault`] if a side file is missing or was replaced, and the database was not.
    pub(super) fn relation(&self, before: &Self) -> Result<Relation, FileFault> {
        let same = self.same_database(before);
        let sides = [
            ("-wal", before.log, self.log),
            ("-shm", before.index, self.index),
        ];
        let mut left = Vec::new();
        for (suffix, before, now) in sides {
            let path = beside(&self.database.0, suffix);
            match (before, now) {
                (Some(before), Some(now)) if before == now && !same => left.push(path),
                (Some(before), Some(now)) if before != now && same => {
                    return Err(FileFault::new(&path, FaultKind::Replaced));
                }
                (Some(_), None) if same => {
                    return Err(FileFault::new(&path, FaultKind::Deleted));
                }
                _ => {}
            }
        }
        Ok(if same {
            Relation::Same
        } else {
            Relation::Other(left)
        })
    }
}

/// Renames a side file of a database that was replaced, so that no connection to the new one finds it.
///
/// # Errors
/// [`FaultKind::Foreign`] if it cannot be renamed.
pub(crate) fn set_aside(side_file: &Path) -> Result<(), FileFault> {
    let failed = || FileFault::new(side_file, FaultKind::Foreign);
    let mut names = (1..=MAX_SET_ASIDE).map(|number| beside(side_file, &format!(".old-{number}")));
    let free = names.find(|name| !name.exists()).ok_or_else(failed)?;
    fs::rename(side_file, &free).map_err(|_| failed())?;
    log::warn!(
        "{} is of another database than the one in use, and has the name {} now",
        side_file.display(),
        free.display()
    );
    Ok(())
}

/// Returns the size of the log of the database at `path`; 0 if it does not exist.
pub(super) fn wal_bytes(path: &Path) -> u64 {
    bytes_of(&beside(&target(path), "-wal"))
}

/// What SQLite appends to the name of a database for its side files.
pub(crate) const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Returns whether both paths name one file. They need not exist.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().as_ref().and_then(file_id);
    if let (Some(a), Some(b)) = (id(a), id(b)) {
        return a == b;
    }
    let absolute = |path: &Path| {
        let path = std::path::absolute(target(path)).ok()?;
        let folder = fs::canonicalize(path.parent()?).ok()?;
        Some(folder.join(path.file_name()?))
    };
    absolute(a).is_some_and(|a| Some(a) == absolute(b))
}

/// Returns the file that a symbolic link names: SQLite puts the side files beside it.
pub(crate) fn target(path: &Path) -> PathBuf {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link && let Ok(target) = fs::canonicalize(path) {
        return target;
    }
    path.to_owned()
}

/// Returns the path of a side file.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(unix)]
pub(super) fn file_id(metadata: &fs::Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns nothing: elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
pub(super) fn file_id(_: &fs::Metadata) -> Option<FileId> {
    None
}
