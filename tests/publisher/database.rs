//! The database of a test: an SQLite file in a temporary folder. The tests with PostgreSQL have a module of this name
//! with the same surface.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use cathedral_publisher::{
    config::Kind,
    import_export::import::{Transactions, import},
    store::{
        self, Store,
        import::ImportSession,
        operation::Operation,
        sqlite::{
            SqliteStore,
            file::DatabaseFile,
            import::SqliteImport,
            open::open_writer,
            write::{
                begin_lineage, insert_eval_run, put_challenge, put_merkle_epoch, replace_challenge,
            },
        },
    },
};
use tempfile::TempDir;

/// A new, empty database. Dropping it removes it.
pub struct Database {
    folder: TempDir,
}

/// The lock of the database against other writers, as another process holds it. Freed when dropped.
pub struct WriteLock(rusqlite::Connection);

impl Database {
    pub fn new() -> Self {
        let database = Self {
            folder: TempDir::new().unwrap(),
        };
        database.write(|_| ());
        database
    }

    /// The value of `--database`.
    pub fn location(&self) -> OsString {
        self.path().into()
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("publisher.db")
    }

    /// Runs `work` in one write transaction.
    pub fn write<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        let mut connection = open_writer(&self.path(), Duration::from_secs(20)).unwrap();
        let transaction = connection.transaction().unwrap();
        let result = work(&transaction);
        transaction.commit().unwrap();
        result
    }

    fn connect(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    pub fn open(&self, settings: store::Settings) -> Store {
        let file = DatabaseFile::new(&self.path(), false);
        Store::Sqlite(SqliteStore::new(file, settings, true))
    }

    /// Commits operations as another process does, and leaves no log behind.
    pub fn commit(&self, operations: &[Operation]) {
        self.write(|connection| {
            for operation in operations {
                match operation {
                    Operation::PutChallenges(challenges) => challenges.iter().for_each(|it| {
                        put_challenge(connection, it).unwrap();
                    }),
                    Operation::ReplaceChallenge { old, new } => {
                        replace_challenge(connection, old, new).unwrap();
                    }
                    Operation::InsertEvalRuns(runs) => runs.iter().for_each(|it| {
                        insert_eval_run(connection, it).unwrap();
                    }),
                    Operation::PutMerkleEpoch { epoch, body } => {
                        put_merkle_epoch(connection, *epoch, Some(body)).unwrap();
                    }
                    Operation::Mirror(_) => panic!("only a follower writes {operation:?}"),
                }
            }
        });
    }

    /// Imports a saved answer or NDJSON.
    pub fn import(&self, kind: Kind, source: &[u8]) {
        let session = ImportSession::Sqlite(SqliteImport::new(&self.path()));
        import(session, kind, Transactions::One, None, source, |_| ()).unwrap();
    }

    /// Runs statements that both kinds of databases understand.
    pub fn execute(&self, statements: &str) {
        self.connect().execute_batch(statements).unwrap();
    }

    /// Returns the number that a query finds.
    pub fn number(&self, query: &str) -> i64 {
        self.connect()
            .query_row(query, [], |row| row.get(0))
            .unwrap()
    }

    pub fn lock(&self) -> WriteLock {
        let connection = self.connect();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        WriteLock(connection)
    }

    /// Begins a new lineage, as a restore does.
    pub fn begin_lineage(&self) {
        self.write(|connection| begin_lineage(connection, 0, true).unwrap());
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        let _ = self.0.execute_batch("ROLLBACK");
    }
}
