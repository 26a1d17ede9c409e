//! Which files a database consists of, and whether they are still those that were opened.
//!
//! SQLite finds the write-ahead log (`-wal`) and its index (`-shm`) by name. If another database is moved to the
//! path of a live one, or a side file is deleted, the next connection would combine files that do not belong
//! together, and damage them. So every connection is opened and used through [`DatabaseFile`], which compares
//! the files with those that the open connections have, and refuses to touch them until they fit.

mod fault;
mod log_end;
mod log_file;
mod mark;
mod observation;

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::Connection;

use super::condition::Condition;
use log_end::LogEnd;
use observation::{FileId, Observation, Relation};

pub use fault::{FaultKind, FileFault};
pub(crate) use mark::{check_log, file_mark, open_immutable, record_file, remove_mark, write_mark};
pub(crate) use observation::{SIDE_FILES, beside, is_same_file, set_aside, target};

/// A database file, and its side files as the open connections know them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DatabaseFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    read_only: bool,
    known: Mutex<Known>,
    condition: Condition,
}

/// The files that the connections of one generation have open.
#[derive(Debug, Default)]
struct Known {
    /// Grows when the database is replaced as a whole.
    generation: u64,
    /// The open connections, by generation. While there is one of this generation, SQLite deletes no side file.
    open: BTreeMap<u64, Open>,
    files: Observation,
    /// Set when the log of this generation was found to be truncated.
    truncated: Option<FileFault>,
}

/// The connections of a generation.
#[derive(Debug)]
struct Open {
    database: Option<FileId>,
    connections: usize,
}

impl DatabaseFile {
    /// The database at `path`, which may be a symbolic link. Unless it is `read_only`, side files that are left
    /// of a database that was replaced are renamed.
    pub fn new(path: &Path, read_only: bool) -> Self {
        Self(Arc::new(Shared {
            path: path.to_owned(),
            read_only,
            known: Mutex::default(),
            condition: Condition::default(),
        }))
    }

    /// Returns the path as it was given.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns whether nothing in it is changed.
    pub fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    /// Returns the size of the write-ahead log in bytes; 0 if it does not exist.
    pub fn wal_bytes(&self) -> u64 {
        observation::wal_bytes(&self.0.path)
    }

    /// Checks whether connections can be opened and used. Costs about ten system calls.
    ///
    /// # Errors
    /// [`FileFault`].
    pub fn check(&self) -> Result<(), FileFault> {
        self.0.check(&mut self.known()).map(drop)
    }

    /// Opens a connection by calling `open`, which must have read from the database when it returns. If the
    /// database was replaced as a whole, the connections that were opened before are not current any more.
    ///
    /// # Errors
    /// [`FileFault`], or those of `open`.
    pub(crate) fn open<E: From<FileFault>>(
        &self,
        open: impl FnOnce() -> Result<Connection, E>,
    ) -> Result<FileConnection, E> {
        let mut known = self.known();
        let generation = self.0.check(&mut known)?;
        // The first connection may record where the database is: meanwhile nobody may compare that.
        let first = known.is_unused().then_some(known);
        let connection = open()?;
        let mut known = first.unwrap_or_else(|| self.known());
        if self.0.check(&mut known)? != generation {
            return Err(FileFault::new(self.path(), FaultKind::Replaced).into());
        }
        let database = known.files.id();
        let open = known.open.entry(generation).or_insert(Open {
            database,
            connections: 0,
        });
        open.connections += 1;
        Ok(FileConnection {
            connection,
            file: self.clone(),
            generation,
        })
    }

    /// Returns what reads, writes and polls have found.
    pub(crate) fn condition(&self) -> &Condition {
        &self.0.condition
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing under this lock panics half-way through a change.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Returns whether no connection of this generation is open.
    fn is_unused(&self) -> bool {
        !self.open.contains_key(&self.generation)
    }
}

impl Shared {
    /// Returns the generation of the files that are at the path now.
    fn check(&self, known: &mut Known) -> Result<u64, FileFault> {
        let now = Observation::of(&self.path)?;
        let relation = if known.is_unused() {
            Relation::Other(Vec::new())
        } else {
            now.relation(&known.files)?
        };
        if let Relation::Other(left) = relation {
            self.check_other(known, &now, &left)?;
        }
        if let Some(fault) = &known.truncated {
            return Err(fault.clone());
        }
        // What was set aside is left out by the next look: no connection is open yet.
        known.files = now;
        Ok(known.generation)
    }

    /// Prepares for another database than before, or for the first connection.
    fn check_other(
        &self,
        known: &mut Known,
        now: &Observation,
        left: &[PathBuf],
    ) -> Result<(), FileFault> {
        let is_new = !now.same_database(&known.files);
        let mut earlier = known.open.values();
        // SQLite would combine its old index, which is still open, with a new log.
        if is_new && earlier.any(|open| open.database == now.id()) {
            return Err(FileFault::new(&self.path, FaultKind::Returned));
        }
        if !known.is_unused() {
            mark::check_complete(&self.path)?;
        }
        for side_file in left {
            if self.read_only {
                return Err(FileFault::new(side_file, FaultKind::Foreign));
            }
            observation::set_aside(side_file)?;
        }
        check_log(&self.path)?;
        if is_new {
            known.generation += 1;
            self.condition.replaced();
        }
        known.truncated = None;
        Ok(())
    }
}

/// A connection, and which generation of the file it has open.
#[derive(Debug)]
pub(crate) struct FileConnection {
    connection: Connection,
    file: DatabaseFile,
    generation: u64,
}

impl FileConnection {
    /// Returns whether the connection has the files open that are at the path now.
    ///
    /// # Errors
    /// [`FileFault`]: then no connection can be used or opened.
    pub(crate) fn is_current(&self) -> Result<bool, FileFault> {
        let generation = self.file.0.check(&mut self.file.known())?;
        Ok(generation == self.generation)
    }

    /// As [`FileConnection::is_current`]; checks also that the log contains everything that SQLite has written to
    /// it, up to the end that it had `before`. Returns the end that it has now. Call it outside a transaction.
    ///
    /// # Errors
    /// [`FileFault`]: if the log was truncated, no connection can be used or opened until the database is
    /// replaced.
    pub(crate) fn is_whole(
        &self,
        before: Option<LogEnd>,
    ) -> Result<(bool, Option<LogEnd>), FileFault> {
        let is_current = self.is_current()?;
        if !is_current {
            return Ok((false, None));
        }
        let end = log_end::check_log_end(&self.connection, self.file.path(), before);
        let end = end.inspect_err(|fault| self.file.known().truncated = Some(fault.clone()))?;
        Ok((true, end))
    }
}

impl Drop for FileConnection {
    fn drop(&mut self) {
        let mut known = self.file.known();
        if let Some(open) = known.open.get_mut(&self.generation) {
            open.connections -= 1;
            if open.connections == 0 {
                known.open.remove(&self.generation);
            }
        }
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
