//! The database of a test: one of the PostgreSQL server that all tests share. Where PostgreSQL is not installed it is
//! SQLite, and SKIPPED is printed.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use cathedral_publisher::{
    config::Kind,
    import_export::import::{Transactions, import},
    store::{
        self, Store, WriterSettings,
        import::ImportSession,
        location::Location,
        operation::Operation,
        postgres::{Options, PostgresStore, import::PostgresImport},
    },
};

use crate::{
    cluster::{self, ROLE, shared},
    sqlite,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A new, empty database. Dropping it removes it.
pub enum Database {
    Postgres(cluster::Database),
    Sqlite(sqlite::Database),
}

/// The lock of the database against other writers, as another process holds it. Freed when dropped.
pub enum WriteLock {
    Postgres(Child),
    Sqlite(#[allow(dead_code, reason = "freed when dropped")] sqlite::WriteLock),
}

impl Database {
    pub fn new() -> Self {
        match shared() {
            Some(cluster) => Self::Postgres(cluster.database()),
            None => Self::Sqlite(sqlite::Database::new()),
        }
    }

    /// The value of `--database`.
    pub fn location(&self) -> OsString {
        match self {
            Self::Postgres(database) => database.url().into(),
            Self::Sqlite(database) => database.location(),
        }
    }

    pub fn open(&self, settings: store::Settings) -> Store {
        match self {
            Self::Postgres(_) => Store::Postgres(self.connect(settings.pool_size)),
            Self::Sqlite(database) => database.open(settings),
        }
    }

    /// Connects on a thread of its own: async threads must not wait.
    fn connect(&self, pool_size: u32) -> PostgresStore {
        let Ok(Location::Postgres(url)) = Location::parse(&self.location()) else {
            panic!("no URL");
        };
        let options = Options {
            url,
            listen_url: None,
            ca_file: None,
            password_file: None,
            read_only: false,
            pool_size,
        };
        blocking(|| PostgresStore::open(options, Instant::now() + LIMIT).unwrap())
    }

    /// Commits operations as another process does.
    pub fn commit(&self, operations: &[Operation]) {
        if let Self::Sqlite(database) = self {
            return database.commit(operations);
        }
        let store = Store::Postgres(self.connect(1));
        let mut writer = store.writer(WriterSettings {
            busy_timeout: LIMIT,
            wal_soft_bytes: 0,
            wal_hard_bytes: 0,
            long_wait: LIMIT,
        });
        let committed = blocking(move || writer.commit(operations).unwrap());
        assert!(committed.results.iter().all(Result::is_ok), "{committed:?}");
    }

    /// Imports a saved answer or NDJSON.
    pub fn import(&self, kind: Kind, source: &[u8]) {
        if let Self::Sqlite(database) = self {
            return database.import(kind, source);
        }
        let session = ImportSession::Postgres(PostgresImport::new(self.connect(1)));
        blocking(|| import(session, kind, Transactions::One, None, source, |_| ()).unwrap());
    }

    /// Runs statements that both kinds of databases understand.
    pub fn execute(&self, statements: &str) {
        match self {
            Self::Postgres(database) => drop(database.sql(statements)),
            Self::Sqlite(database) => database.execute(statements),
        }
    }

    /// Returns the number that a query finds.
    pub fn number(&self, query: &str) -> i64 {
        match self {
            Self::Postgres(database) => database.sql(query).parse().unwrap(),
            Self::Sqlite(database) => database.number(query),
        }
    }

    pub fn lock(&self) -> WriteLock {
        match self {
            Self::Postgres(database) => WriteLock::Postgres(lock(database)),
            Self::Sqlite(database) => WriteLock::Sqlite(database.lock()),
        }
    }

    /// Begins a new lineage, as a restore does.
    pub fn begin_lineage(&self) {
        match self {
            Self::Postgres(database) => drop(database.sql(
                "UPDATE lineages SET mark = 'that of another database'; SELECT publisher_lineage()",
            )),
            Self::Sqlite(database) => database.begin_lineage(),
        }
    }
}

/// Runs work that waits for the database on a thread of its own.
fn blocking<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Starts psql, which takes the lock and then waits.
fn lock(database: &cluster::Database) -> Child {
    let mut psql = database.cluster.program("psql");
    psql.args(["-XAtq", "-U", ROLE, "-d", &database.name, "-h"])
        .arg(database.cluster.socket_folder())
        .args(["-p", &database.cluster.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut psql = psql.spawn().unwrap();
    let input = psql.stdin.as_mut().unwrap();
    input
        .write_all(b"BEGIN; SELECT publisher_lineage();\n\\echo locked\n")
        .unwrap();
    let mut lines = BufReader::new(psql.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "locked"));
    psql
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        if let Self::Postgres(psql) = self {
            // The end of the input ends the session, and so the transaction.
            drop(psql.stdin.take());
            let _ = psql.wait();
        }
    }
}
