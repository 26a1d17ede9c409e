//! Brings a backup into a database that may be in use.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};

use super::{
    StoreError,
    file::{
        SIDE_FILES, beside, file_mark, is_same_file, open_immutable, remove_mark, target,
        write_mark,
    },
    mirror::claim::{expect_own, upstream_of},
    open::{OpenError, check_schema, checkpoint, open_any_version, open_writer, wait_for_log},
    page_copy::{
        BUSY_TIMEOUT, Contents, CopyError, Step, check_integrity, copy, copy_while, new_database,
    },
    read,
    scratch::{Scratch, folder_of, move_to},
    write::{begin_history, put_lineages},
};
use crate::{
    domain::lineages::Lineages,
    store::postgres::{PostgresStore, restore::replace_content},
};

/// How often the write-ahead log is tried to be emptied at the end.
const CHECKPOINT_ATTEMPTS: u32 = 20;
/// How long an attempt waits for readers. Writers wait as well.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(50);
/// Between two attempts. SQLite's busy handler tries every 100 ms, so every writer that waits gets a turn.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(200);

/// How often the copy gets another lineage because other processes have begun one in the database meanwhile.
const OVERTAKEN_ATTEMPTS: u32 = 10;

/// A restore that is about to begin.
#[derive(Debug)]
pub struct Restore {
    file: PathBuf,
    database: PathBuf,
    /// If this is not a file.
    server: Option<PostgresStore>,
    scratch: Scratch,
}

/// What a restore has done.
#[derive(Debug)]
pub struct Restored {
    /// What the database contained; `None` if it did not exist or could not be read.
    pub replaced: Option<Contents>,
    /// What it contains now.
    pub contents: Contents,
}

impl Restore {
    /// Makes a private folder beside the database.
    ///
    /// # Errors
    /// [`CopyError::Refused`] if `file` is the database, empty or not a file; [`CopyError::Io`] if it does not
    /// exist, or the database's folder cannot be written.
    pub fn prepare(file: &Path, database: &Path) -> Result<Self, CopyError> {
        if is_same_file(file, database) {
            return Err(CopyError::refused(file, "is the database itself"));
        }
        Self::of(file, target(database), None)
    }

    /// As [`Restore::prepare`], into a server. The private folder is that of temporary files.
    ///
    /// # Errors
    /// Those of [`Restore::prepare`].
    pub fn into_server(file: &Path, store: PostgresStore) -> Result<Self, CopyError> {
        Self::of(file, std::env::temp_dir().join("restore"), Some(store))
    }

    fn of(
        file: &Path,
        database: PathBuf,
        server: Option<PostgresStore>,
    ) -> Result<Self, CopyError> {
        let refused = |reason| Err(CopyError::refused(file, reason));
        let found = fs::metadata(file).map_err(CopyError::io(file))?;
        if !found.is_file() {
            return refused("is not a regular file");
        }
        if found.len() == 0 {
            return refused("is empty");
        }
        let scratch = Scratch::beside(&database).map_err(CopyError::io(&folder_of(&database)))?;
        Ok(Self {
            file: file.to_owned(),
            database,
            server,
            scratch,
        })
    }

    /// Returns the private folder. Removing it before the database is written cancels the restore.
    pub fn scratch(&self) -> &Path {
        self.scratch.folder()
    }

    /// Copies and checks the backup, migrates the copy and gives it a lineage of its own; it goes on to know those of
    /// the database. Then writes the copy into the database in one transaction: other processes see the old or the new
    /// content.
    ///
    /// # Errors
    /// [`CopyError`]; then the database is as it was.
    pub fn run(self, mut progress: impl FnMut(Step)) -> Result<Restored, CopyError> {
        let path = self.scratch.path("restore");
        self.copy_file(&path, &mut progress)?;
        let mut copy = open_writer(&path, BUSY_TIMEOUT)?;
        let exists = fs::metadata(&self.database).is_ok_and(|found| found.len() > 0);
        let upstream = upstream_of(&copy).map_err(CopyError::sqlite(&self.file))?;
        if let Some(upstream) = upstream.filter(|_| exists || self.server.is_some()) {
            let path = self.file;
            return Err(CopyError::OfFollower { path, upstream });
        }
        if let Some(store) = self.server {
            return replace_content(store, &copy);
        }
        let live = exists.then(|| self.lineages()).flatten();
        renew_lineage(&mut copy, live.as_ref()).map_err(|error| self.store_error(error))?;
        if exists {
            return self.replace(copy, live, progress);
        }
        let contents = self.contents(&copy)?;
        self.create(copy, path)?;
        let replaced = None;
        Ok(Restored { replaced, contents })
    }

    fn contents(&self, copy: &Connection) -> Result<Contents, CopyError> {
        Contents::of(copy).map_err(CopyError::sqlite(&self.file))
    }

    /// Returns the lineages of the database; `None` if they cannot be read, or it was made before clients had cursors
    /// of them.
    fn lineages(&self) -> Option<Lineages> {
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let (live, _) = open_any_version(&self.database, read_only, BUSY_TIMEOUT).ok()?;
        read::lineages(&live).ok()
    }

    fn store_error(&self, error: StoreError) -> CopyError {
        match error {
            StoreError::Sqlite(error) => CopyError::sqlite(&self.file)(error),
            StoreError::Pool(_)
            | StoreError::File(_)
            | StoreError::Open(_)
            | StoreError::Corrupt { .. }
            | StoreError::Postgres(_)
            | StoreError::NotCopied
            | StoreError::NotACopy
            | StoreError::TakenOver
            | StoreError::Lineage(_) => CopyError::refused(&self.file, "has invalid lineages"),
        }
    }

    /// Copies the backup to `path`, and checks it.
    fn copy_file(&self, path: &Path, mut progress: impl FnMut(Step)) -> Result<(), CopyError> {
        let from = open_backup(&self.file)?;
        let mut into = new_database(path)?;
        copy(&from, &mut into, &mut progress).map_err(CopyError::sqlite(&self.file))?;
        progress(Step::Checking);
        check_integrity(&into, &self.file)?;
        remove_mark(&into).map_err(CopyError::sqlite(&self.file))
    }

    /// Gives the copy the name of the database, which does not exist or is empty.
    fn create(&self, copy: Connection, path: PathBuf) -> Result<(), CopyError> {
        for suffix in SIDE_FILES {
            let side = beside(&self.database, suffix);
            if side.exists() {
                return Err(CopyError::refused(
                    &side,
                    "belongs to a database that is gone: move it away",
                ));
            }
        }
        copy.close()
            .map_err(|(_, error)| CopyError::sqlite(&path)(error))?;
        let is_empty = self.database.exists();
        move_to(path, &self.database, is_empty).map_err(CopyError::io(&self.database))
    }

    /// Writes the copy into the database.
    fn replace(
        &self,
        from: Connection,
        live: Option<Lineages>,
        progress: impl FnMut(Step),
    ) -> Result<Restored, CopyError> {
        let failed = CopyError::sqlite(&self.database);
        let mut into = open_destination(&self.database)?;
        // It may be damaged, and then it is unknown.
        if let Err(error @ OpenError::Followed { .. }) = expect_own(&into, &self.database) {
            return Err(error.into());
        }
        let mark = file_mark(&self.database);
        write_mark(&from, mark.as_deref()).map_err(&failed)?;
        let mut from = self.with_page_size_of(&into, from)?;
        let replaced = self.write(&mut from, &mut into, live, progress);
        // Also after a failure: the log may have taken all the space on the disk. An error here does not change the
        // outcome of the restore, which is complete or has failed already.
        let name = self.database.display();
        match empty_log(&into) {
            Ok(true) => {}
            Ok(false) => log::warn!(
                "{name}: another process reads it: its write-ahead log is not emptied yet"
            ),
            Err(error) => log::warn!("{name}: its write-ahead log is not emptied yet: {error}"),
        }
        let replaced = replaced?;
        let contents = self.contents(&from)?;
        Ok(Restored { replaced, contents })
    }

    /// Writes the copy into the database in one transaction, and returns what the database contained. If another restore or
    /// the first write of a process has begun a lineage that is not `live`, the copy learns it first.
    fn write(
        &self,
        from: &mut Connection,
        into: &mut Connection,
        mut live: Option<Lineages>,
        mut progress: impl FnMut(Step),
    ) -> Result<Option<Contents>, CopyError> {
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
        for _ in 0..OVERTAKEN_ATTEMPTS {
            let mut reader = open_any_version(&self.database, read_only, BUSY_TIMEOUT).ok();
            let (mut replaced, mut overtaken) = (None, None);
            let copied = copy_while(from, into, |step| {
                // From now on nobody else writes.
                if let Some((reader, _)) = reader.take() {
                    replaced = Contents::of(&reader).ok();
                    let found = read::lineages(&reader).ok();
                    overtaken = found.filter(|found| Some(found) != live.as_ref());
                }
                if overtaken.is_none() {
                    progress(step);
                }
                overtaken.is_none()
            });
            copied.map_err(CopyError::sqlite(&self.database))?;
            if overtaken.is_none() {
                return Ok(replaced);
            }
            renew_lineage(from, overtaken.as_ref()).map_err(|error| self.store_error(error))?;
            live = overtaken;
        }
        let reason = "other processes begin lineages in it again and again";
        Err(CopyError::refused(&self.database, reason))
    }

    /// Returns the copy in pages of the size that the database has: SQLite can change them only in a new file.
    fn with_page_size_of(
        &self,
        database: &Connection,
        copy: Connection,
    ) -> Result<Connection, CopyError> {
        let failed = CopyError::sqlite(&self.file);
        let page_size = |connection: &Connection| {
            connection.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))
        };
        let wanted = page_size(database).map_err(CopyError::sqlite(&self.database))?;
        if page_size(&copy).map_err(&failed)? == wanted {
            return Ok(copy);
        }
        let path = self.scratch.path("page-size");
        copy.pragma_update(None, "page_size", wanted)
            .and_then(|()| copy.execute("VACUUM INTO ?1", [path.to_string_lossy()]))
            .map_err(&failed)?;
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(&failed)
    }
}

/// Opens a backup for reading. Leaves no side file beside it.
fn open_backup(file: &Path) -> Result<Connection, CopyError> {
    let mut header = [0; 20];
    // A shorter file is not a database; SQLite says so.
    let _ = File::open(file).and_then(|mut file| file.read_exact(&mut header));
    let has_log = beside(&target(file), "-wal").exists();
    // Reading a database in WAL mode makes side files, which may be impossible where a backup is kept. If it has
    // none, no process writes to it.
    let failed = CopyError::sqlite(file);
    let (connection, version) = if header[18] == 2 && !has_log {
        let connection = open_immutable(file).map_err(&failed)?;
        let version = check_schema(&connection, file)?;
        (connection, version)
    } else {
        open_any_version(file, OpenFlags::SQLITE_OPEN_READ_ONLY, BUSY_TIMEOUT)?
    };
    if version == 0 {
        return Err(CopyError::refused(file, "is a database without tables"));
    }
    let encoding: String = connection
        .query_row("PRAGMA encoding", [], |row| row.get(0))
        .map_err(&failed)?;
    if encoding != "UTF-8" {
        return Err(CopyError::refused(file, "is a database in UTF-16"));
    }
    Ok(connection)
}

/// The content is of another history from now on, even if it was in the same database before. It knows the lineages of
/// the database that it replaces, so that their cursors go on from where both have the same eval runs.
fn renew_lineage(connection: &mut Connection, live: Option<&Lineages>) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(live) = live {
        let own = read::lineages(&transaction)?;
        let last_seq = read::last_seq(&transaction)?;
        put_lineages(&transaction, &own.taking_place_of(live, last_seq))?;
    }
    begin_history(&transaction, live.map_or(0, ordinal_after))?;
    Ok(transaction.commit()?)
}

/// Returns an ordinal that is greater than all of these.
fn ordinal_after(lineages: &Lineages) -> u32 {
    let current = lineages.current();
    current.map_or(0, |current| current.ordinal.saturating_add(1))
}

/// Opens the database that is to be replaced. It may be damaged.
fn open_destination(path: &Path) -> Result<Connection, CopyError> {
    let failed = CopyError::sqlite(path);
    wait_for_log(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
    match check_schema(&connection, path) {
        Err(OpenError::Lacking { .. }) => {}
        Err(OpenError::Sqlite { source, .. }) if is_damage(&source) => {}
        checked => drop(checked?),
    }
    if connection.is_readonly(MAIN_DB).map_err(&failed)? {
        let path = path.to_owned();
        return Err(OpenError::NotWritable { path }.into());
    }
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        match connection.pragma_update(None, pragma, value) {
            Err(error) if is_damage(&error) => {}
            set => set.map_err(&failed)?,
        }
    }
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// Copies the log into the database and truncates it. Writers wait only for the attempts of the second part. Returns
/// false if readers used it all the time: another process may have a transaction open that does not end.
fn empty_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(CHECKPOINT_WAIT)?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    for _ in 0..CHECKPOINT_ATTEMPTS {
        if checkpoint(connection)? {
            return Ok(true);
        }
        thread::sleep(CHECKPOINT_PAUSE);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use tempfile::TempDir;

    use super::*;

    /// A database, a restore into it, and the copy that is about to be written.
    fn begun(folder: &TempDir) -> (PathBuf, Restore, Connection) {
        let (database, file) = (folder.path().join("live.db"), folder.path().join("backup"));
        for path in [&database, &file] {
            renew_lineage(&mut open_writer(path, BUSY_TIMEOUT).unwrap(), None).unwrap();
        }
        let restore = Restore::prepare(&file, &database).unwrap();
        let path = restore.scratch.path("restore");
        restore.copy_file(&path, |_| {}).unwrap();
        let copy = open_writer(&path, BUSY_TIMEOUT).unwrap();
        (database, restore, copy)
    }

    fn lineages(database: &Path) -> Lineages {
        let (connection, _) =
            open_any_version(database, OpenFlags::SQLITE_OPEN_READ_ONLY, BUSY_TIMEOUT).unwrap();
        read::lineages(&connection).unwrap()
    }

    #[test]
    fn a_lineage_that_began_meanwhile_is_older_than_that_of_the_restored_content() {
        let folder = TempDir::new().unwrap();
        let (database, restore, mut copy) = begun(&folder);
        let stale = lineages(&database);
        renew_lineage(&mut copy, Some(&stale)).unwrap();
        for _ in 0..5 {
            let mut other = open_writer(&database, BUSY_TIMEOUT).unwrap();
            renew_lineage(&mut other, Some(&lineages(&database))).unwrap();
        }
        let overtaken = lineages(&database).current().unwrap().ordinal;
        let restored = restore.replace(copy, Some(stale), |_| {}).unwrap();
        let current = lineages(&database).current().unwrap();
        assert!(current.ordinal > overtaken, "{current:?} {overtaken}");
        assert_eq!(restored.contents.lineage, Some(current.id_text()));
    }

    #[test]
    fn a_restore_that_cannot_learn_such_a_lineage_leaves_the_database_as_it_was() {
        let folder = TempDir::new().unwrap();
        let (database, restore, copy) = begun(&folder);
        let fails = "CREATE TRIGGER fails BEFORE INSERT ON lineages BEGIN SELECT RAISE(ABORT, 'a fault'); END";
        copy.execute_batch(fails).unwrap();
        let before = lineages(&database);
        let mut steps = 0;
        let failed = restore.replace(copy, None, |_| steps += 1).unwrap_err();
        assert!(failed.to_string().ends_with("a fault"), "{failed}");
        assert_eq!((lineages(&database), steps), (before, 0));
    }
}
