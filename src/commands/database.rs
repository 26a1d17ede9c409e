//! Opens what `--database` names.

use std::{
    fs,
    time::{Duration, Instant},
};

use cathedral_publisher::{
    cache::snapshot_file::SnapshotFile,
    config::{self, Database},
    store::{
        self, Store,
        dump::Dump,
        import::ImportSession,
        location::Location,
        postgres::{
            Options, PostgresStore, import::PostgresImport, prune::PostgresPrune, url::PostgresUrl,
        },
        prune::PruneSession,
        sqlite::{
            SqliteStore,
            import::SqliteImport,
            mirror::claim::{claim, expect_own, release, was_released},
            open::open_reader,
            prune::SqlitePrune,
        },
    },
};

use super::opening::Opening;

/// How long it may take to connect to a server and to create or migrate its schema: an index of millions of rows takes
/// seconds.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for `serve`, if there is a board to serve meanwhile: the schema can be migrated later.
const WITH_A_BOARD: Duration = Duration::from_secs(5);
/// A command beside the server uses one connection at a time.
const POOL_OF_COMMANDS: u32 = 1;

/// The database of `serve`.
pub(crate) enum Opened {
    /// A file.
    File(Opening),
    /// A server.
    Server(PostgresStore),
}

impl Opened {
    /// Opens the database. If that fails and the snapshot file has a board, tries again in the background. Blocks.
    ///
    /// # Errors
    /// If the database cannot be opened and there is no board.
    pub(crate) fn for_serving(
        database: &Database,
        read_only: bool,
        settings: store::Settings,
        snapshot_file: Option<&SnapshotFile>,
    ) -> anyhow::Result<Self> {
        let url = match &database.database {
            Location::Sqlite(path) => {
                let busy_timeout = settings.busy_timeout;
                let opening = Opening::begin(path, read_only, busy_timeout, snapshot_file)?;
                return Ok(Self::File(opening));
            }
            Location::Postgres(url) => url,
        };
        let store = PostgresStore::new(options(database, url, read_only, settings.pool_size))?;
        let has_board = snapshot_file.is_some_and(SnapshotFile::has_board);
        let limit = if has_board {
            store.expect_tables();
            WITH_A_BOARD
        } else {
            OPEN_TIMEOUT
        };
        match store.prepare(Instant::now() + limit) {
            Err(error) if has_board => {
                log::warn!("{error}: starting without it, and trying again");
            }
            prepared => prepared?,
        }
        Ok(Self::Server(store))
    }

    /// Returns the store.
    pub(crate) fn store(&self, settings: store::Settings, read_only: bool) -> Store {
        match self {
            Self::File(opening) => {
                let file = opening.file().clone();
                let store = SqliteStore::new(file, settings, !read_only);
                Store::Sqlite(match opening.claim() {
                    Some(claim) => store.following(claim.token),
                    None => store,
                })
            }
            Self::Server(store) => Store::Postgres(store.clone()),
        }
    }

    /// Checks that the database is not that of a follower, or makes it one of its own.
    ///
    /// # Errors
    /// If it is and stays one.
    pub(crate) fn expect_own(&self, promote: bool, busy_timeout: Duration) -> anyhow::Result<()> {
        let path = match self {
            // If it is opened later, the writer checks it.
            Self::File(opening) if promote || opening.is_open() => opening.file().path(),
            Self::File(_) | Self::Server(_) => return Ok(()),
        };
        if promote {
            let name = path.display();
            match release(path, busy_timeout)? {
                Some(upstream) => log::info!(
                    "{name}: is a database of its own from now on, and was a copy of {upstream}"
                ),
                // A service that is started again with the same options goes on.
                None => anyhow::ensure!(
                    was_released(&open_reader(path, busy_timeout)?)?,
                    "{name}: is no copy of another publisher: there is nothing to promote"
                ),
            }
        }
        Ok(expect_own(&open_reader(path, busy_timeout)?, path)?)
    }

    /// Marks the database as that of a follower, and keeps other followers away until it is closed.
    ///
    /// # Errors
    /// If it has other data, another process follows with it, or it is not a file.
    pub(crate) fn claim(&mut self, upstream: &str, busy_timeout: Duration) -> anyhow::Result<()> {
        match self {
            Self::File(opening) => {
                let path = opening.file().path();
                // It may not be mounted: see `Opening::begin`.
                anyhow::ensure!(path.exists(), "{}: cannot be opened", path.display());
                let claim = claim(path, upstream, busy_timeout)?;
                opening.keep(claim);
                Ok(())
            }
            // Refused before it was opened.
            Self::Server(_) => Ok(()),
        }
    }

    /// Closes the database.
    pub(crate) fn close(self) {
        match self {
            Self::File(opening) => opening.close(),
            Self::Server(_) => {}
        }
    }
}

/// Checks that there is a file that may be a copy.
///
/// # Errors
/// If it does not exist or is empty, or the database is not a file.
pub(crate) fn expect_file(location: &Location) -> anyhow::Result<()> {
    let path = location.path();
    let exists = path.is_some_and(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0));
    let reason = if path.is_some() {
        "there is no database"
    } else {
        "it is not a file of SQLite"
    };
    anyhow::ensure!(exists, "{location}: {reason}: there is nothing to promote");
    Ok(())
}

/// Prepares an import.
///
/// # Errors
/// If a server cannot be reached.
pub(crate) fn import_session(database: &Database) -> anyhow::Result<ImportSession> {
    Ok(match &database.database {
        Location::Sqlite(path) => ImportSession::Sqlite(SqliteImport::new(path)),
        Location::Postgres(url) => {
            let store = server(database, url, false)?;
            ImportSession::Postgres(PostgresImport::new(store))
        }
    })
}

/// Opens a database to remove old rows from it. Creates nothing.
///
/// # Errors
/// If it or its tables are missing, or it cannot be opened.
pub(crate) fn prune_session(database: &Database) -> anyhow::Result<PruneSession> {
    Ok(match &database.database {
        Location::Sqlite(path) => PruneSession::Sqlite(Box::new(SqlitePrune::open(path)?)),
        Location::Postgres(url) => {
            let store = PostgresStore::new(options(database, url, false, POOL_OF_COMMANDS))?;
            store.expect_tables();
            store.prepare(Instant::now() + OPEN_TIMEOUT)?;
            PruneSession::Postgres(Box::new(PostgresPrune::open(store)?))
        }
    })
}

/// Opens a database to read everything.
///
/// # Errors
/// If it cannot be opened.
pub(crate) fn dump(database: &Database) -> anyhow::Result<Dump> {
    Ok(match &database.database {
        Location::Sqlite(path) => Dump::of_file(path)?,
        Location::Postgres(url) => Dump::of_server(server(database, url, true)?)?,
    })
}

/// Connects to a server for a command.
///
/// # Errors
/// If that fails.
pub(crate) fn server(
    database: &Database,
    url: &PostgresUrl,
    read_only: bool,
) -> anyhow::Result<PostgresStore> {
    let options = options(database, url, read_only, POOL_OF_COMMANDS);
    Ok(PostgresStore::open(options, Instant::now() + OPEN_TIMEOUT)?)
}

fn options(database: &Database, url: &PostgresUrl, read_only: bool, pool_size: u32) -> Options {
    // A URL that has a password, and the file, come first.
    let password = config::variable("PGPASSWORD");
    let with_password = |url: &PostgresUrl| match &password {
        Some(password) if !url.has_password() => url.clone().with_password(password),
        Some(_) | None => url.clone(),
    };
    Options {
        url: with_password(url),
        listen_url: database.database_listen_url.as_ref().map(with_password),
        password_file: database.database_password_file.clone(),
        ca_file: database.database_ca_file.clone(),
        read_only,
        pool_size,
    }
}
