//! Writes a copy of a database that may be in use: one file, of one moment.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, params};

use super::{
    file::{SIDE_FILES, beside, is_same_file, target},
    open::{open_any_version, open_writer},
    page_copy::{BUSY_TIMEOUT, Contents, CopyError, Step, check_integrity, copy, new_database},
    scratch::{Scratch, folder_of, move_to},
    write,
};
use crate::store::{
    StoreError,
    postgres::{PostgresStore, dump::PostgresDump},
};

/// A backup that is about to be written.
#[derive(Debug)]
pub struct Backup {
    database: Source,
    file: PathBuf,
    replace: bool,
    scratch: Scratch,
}

/// What is copied.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    Server(PostgresStore),
}

impl Backup {
    /// Checks that `file` may be written, and makes a private folder beside it.
    ///
    /// # Errors
    /// [`CopyError::Refused`] if `file` is the database or one of its side files, or another database that is in
    /// use, or exists and is not to be replaced; [`CopyError::Io`] if its folder cannot be written.
    pub fn prepare(database: &Path, file: &Path, replace: bool) -> Result<Self, CopyError> {
        let file = target(file);
        check_name(&file, replace, Some(database))?;
        Self::of(Source::File(database.to_owned()), file, replace)
    }

    /// As [`Backup::prepare`], of a server: the backup is a file of SQLite with the same content.
    ///
    /// # Errors
    /// Those of [`Backup::prepare`].
    pub fn of_server(store: PostgresStore, file: &Path, replace: bool) -> Result<Self, CopyError> {
        let file = target(file);
        check_name(&file, replace, None)?;
        Self::of(Source::Server(store), file, replace)
    }

    fn of(database: Source, file: PathBuf, replace: bool) -> Result<Self, CopyError> {
        let scratch = Scratch::beside(&file).map_err(CopyError::io(&folder_of(&file)))?;
        Ok(Self {
            database,
            file,
            replace,
            scratch,
        })
    }

    /// Returns the private folder. Removing it at any moment cancels the backup.
    pub fn scratch(&self) -> &Path {
        self.scratch.folder()
    }

    /// Copies the database and checks the copy. Only then the copy gets its name.
    ///
    /// Pages are copied by SQLite's backup API within one read transaction. Beside 64 clients that wrote, a database of
    /// 1 GB took 4 s and 1.4 s of processor time. `VACUUM INTO` took 22 s and 8.5 s; the log grew past its hard limit
    /// meanwhile, and writers waited for up to 11 s. The backup API without the transaction begins again after each
    /// commit of another process, and did not end while clients wrote.
    ///
    /// # Errors
    /// [`CopyError`]; then there is no new file.
    pub fn run(self, mut progress: impl FnMut(Step)) -> Result<Contents, CopyError> {
        let path = self.scratch.path("backup");
        let failed = CopyError::sqlite(&self.file);
        let into = match &self.database {
            Source::File(database) => copy_of_file(database, &path, &self.file, &mut progress)?,
            Source::Server(store) => copy_of_server(store, &path, &self.file)?,
        };
        progress(Step::Checking);
        check_integrity(&into, &self.file)?;
        // Without the mark of a write-ahead log, it can be read where nothing can be written.
        into.pragma_update(None, "journal_mode", "DELETE")
            .map_err(&failed)?;
        let contents = Contents::of(&into).map_err(&failed)?;
        into.close().map_err(|(_, error)| failed(error))?;
        move_to(path, &self.file, self.replace).map_err(|error| {
            if error.kind() == ErrorKind::AlreadyExists {
                exists(&self.file)
            } else {
                CopyError::io(&self.file)(error)
            }
        })?;
        Ok(contents)
    }
}

fn exists(file: &Path) -> CopyError {
    CopyError::refused(file, "exists already: --overwrite replaces it")
}

/// Copies the pages of a file.
fn copy_of_file(
    database: &Path,
    path: &Path,
    file: &Path,
    progress: impl FnMut(Step),
) -> Result<Connection, CopyError> {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let (from, version) = open_any_version(database, access, BUSY_TIMEOUT)?;
    if version == 0 {
        return Err(CopyError::refused(database, "has no tables"));
    }
    let mut into = new_database(path)?;
    copy(&from, &mut into, progress).map_err(CopyError::sqlite(file))?;
    Ok(into)
}

/// Copies the rows of a server, with their numbers, the lineages and the versions.
fn copy_of_server(
    store: &PostgresStore,
    path: &Path,
    file: &Path,
) -> Result<Connection, CopyError> {
    let dump = PostgresDump::open(store.clone())?;
    let connection = open_writer(path, BUSY_TIMEOUT)?;
    // It is thrown away unless it is completed.
    connection
        .execute_batch("PRAGMA synchronous = OFF; BEGIN IMMEDIATE")
        .map_err(CopyError::sqlite(file))?;
    put_all(&dump, &connection)?;
    connection
        .execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
        .map_err(CopyError::sqlite(file))?;
    Ok(connection)
}

fn put_all(dump: &PostgresDump, into: &Connection) -> Result<(), StoreError> {
    dump.every_challenge::<StoreError>(|challenge| Ok(write::insert_challenge(into, &challenge)?))?;
    let mut insert = into.prepare(
        "INSERT INTO eval_runs (seq, id, ran_at, schema_version, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    dump.every_eval_run_in_order::<StoreError>(|run| {
        let values = params![run.seq, run.id, run.ran_at, run.schema_version, run.body];
        insert.execute(values)?;
        Ok(())
    })?;
    let mut insert = into.prepare("INSERT INTO merkle_epochs (epoch, body) VALUES (?1, ?2)")?;
    dump.every_merkle_epoch::<StoreError>(|epoch| {
        insert.execute(params![epoch.epoch, epoch.body])?;
        Ok(())
    })?;
    write::put_lineages(into, &dump.lineages()?)?;
    if let Some(pruned) = dump.pruned()? {
        write::note_pruned(into, &pruned)?;
    }
    write::raise_last_seq(into, dump.last_seq()?)?;
    for (table, version) in dump.versions()? {
        into.execute(
            &format!("UPDATE {table} SET version = ?1, change_id = ?2"),
            [version.count, version.change_id],
        )?;
    }
    Ok(())
}

/// Checks that the backup can have this name. `database` is the file that is copied, if it is one.
fn check_name(file: &Path, replace: bool, database: Option<&Path>) -> Result<(), CopyError> {
    let refused = |reason| Err(CopyError::refused(file, reason));
    if let Some(database) = database {
        if is_same_file(file, database) {
            return refused("is the database itself");
        }
        let is_side = |suffix: &&str| is_same_file(file, &beside(&target(database), suffix));
        if SIDE_FILES.iter().any(is_side) {
            return refused("is the name of a side file of the database");
        }
    }
    if file == Path::new("-") {
        return refused("a backup cannot be written to standard output");
    }
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(CopyError::io(file)(error)),
        Ok(found) if found.is_symlink() => {
            return refused("is a symbolic link to a file that does not exist");
        }
        Ok(found) if found.is_dir() => return refused("is a folder"),
        Ok(found) if !found.is_file() => return refused("is not a regular file"),
        Ok(_) if !replace => return Err(exists(file)),
        Ok(_) => {}
    }
    for suffix in SIDE_FILES {
        let side = beside(file, suffix);
        if side.exists() {
            return Err(CopyError::refused(
                &side,
                "belongs to another database, and would be applied to the backup",
            ));
        }
    }
    Ok(())
}
