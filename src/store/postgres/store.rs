//! The handle of a database: what readers, writer and watcher share.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_postgres::Client;

use super::{
    connect::{Connector, Session, SessionLimits},
    error::PostgresError,
    migrations, password,
    pool::ReadPool,
    runtime::Runtime,
    tls,
    url::PostgresUrl,
    watch::PostgresWatcher,
    writer::PostgresWriter,
};
use crate::store::{Check, DatabaseSize, NO_ANSWER, PoolUsage, StoreError, polls::Polls};

/// For a migration: no limit but the caller's deadline.
const MIGRATING: SessionLimits = SessionLimits {
    lock: Duration::ZERO,
    statement: Duration::ZERO,
};

/// How a database of PostgreSQL is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it is.
    pub url: PostgresUrl,
    /// Where to listen for notices, if a pooler is between: LISTEN needs a connection that stays.
    pub listen_url: Option<PostgresUrl>,
    /// A file with the password, if the URLs have none.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the certificates that may have issued that of the server; otherwise those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether it is never written to: then a standby will do.
    pub read_only: bool,
    /// How many connections read.
    pub pool_size: u32,
}

/// A database of PostgreSQL. Cloning shares its connections; the last clone ends them, and their thread.
///
/// All methods block until their deadline at most: call them on blocking threads only. On an async thread they panic.
#[derive(Debug, Clone)]
pub struct PostgresStore(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    // The pool goes before the thread that drives its sockets.
    pub(super) pool: ReadPool,
    pub(super) connector: Connector,
    /// For LISTEN.
    pub(super) listener: Connector,
    pub(super) has_listen_url: bool,
    pub(super) read_only: bool,
    /// Whether the schema has been checked or migrated.
    is_prepared: AtomicBool,
    /// Whether tables are created in an empty database.
    may_create: AtomicBool,
    polls: Polls,
    pub(super) sight: Sight,
    pub(super) runtime: Runtime,
}

/// What the last poll saw of the server.
#[derive(Debug, Default)]
pub(super) struct Sight {
    hears: AtomicBool,
    lag_secs: AtomicU64,
    database_bytes: AtomicU64,
}

impl Sight {
    pub(super) fn saw(&self, hears: bool, lag_secs: i64, database_bytes: i64) {
        let unsigned = |number: i64| number.try_into().unwrap_or_default();
        self.hears.store(hears, Ordering::Relaxed);
        self.lag_secs.store(unsigned(lag_secs), Ordering::Relaxed);
        self.database_bytes
            .store(unsigned(database_bytes), Ordering::Relaxed);
    }
}

impl PostgresStore {
    /// Prepares to connect, and connects to nothing yet: the watcher does that, and migrates the database then. Reads
    /// fail until then. Reads the certificates, and checks the file of the password.
    ///
    /// # Errors
    /// [`PostgresError::Certificates`], [`PostgresError::Password`], [`PostgresError::Thread`].
    pub fn new(options: Options) -> Result<Self, StoreError> {
        if let Some(path) = &options.password_file {
            password::read(path).map_err(PostgresError::from)?;
        }
        let runtime = Runtime::start().map_err(PostgresError::from)?;
        let schema = Arc::default();
        let connector = |url: PostgresUrl| {
            let url = if options.read_only {
                url
            } else {
                url.writable()
            };
            let tls = tls::connector(&url, options.ca_file.as_deref())?;
            let password_file = options.password_file.clone();
            let schema = Arc::clone(&schema);
            Ok::<_, PostgresError>(Connector::new(url, tls, password_file, schema))
        };
        let connector_of_url = connector(options.url.clone())?;
        let listener = match options.listen_url.clone() {
            Some(url) => connector(url)?,
            None => connector_of_url.clone(),
        };
        let pool = ReadPool::new(connector_of_url.clone(), &runtime, options.pool_size)?;
        Ok(Self(Arc::new(Inner {
            pool,
            connector: connector_of_url,
            listener,
            has_listen_url: options.listen_url.is_some(),
            read_only: options.read_only,
            is_prepared: AtomicBool::new(false),
            may_create: AtomicBool::new(true),
            polls: Polls::default(),
            sight: Sight::default(),
            runtime,
        })))
    }

    /// As [`PostgresStore::new`], and connects: creates or migrates the schema, or checks it if the store is only read.
    /// Warns if acknowledged writes may be lost with the server.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn open(options: Options, deadline: Instant) -> Result<Self, StoreError> {
        let store = Self::new(options)?;
        store.prepare(deadline)?;
        Ok(store)
    }

    /// From now on an empty database is an error: there is a board, so it is not the database that is meant.
    pub fn expect_tables(&self) {
        self.0.may_create.store(false, Ordering::Relaxed);
    }

    /// Connects, and creates, migrates or checks the schema.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn prepare(&self, deadline: Instant) -> Result<(), StoreError> {
        self.0.runtime.block_on(deadline, async {
            let connector = &self.0.connector;
            let mut session = connector.connect(MIGRATING, deadline, |_| {}).await?;
            self.0.prepare_with(&mut session).await?;
            Ok(())
        })
    }

    /// Checks that the database answers a query that needs its content, and that changes are noticed.
    ///
    /// # Errors
    /// What is wrong.
    pub fn probe(&self, deadline: Instant) -> Check {
        if let Err(error) = self.stamp(deadline) {
            log::debug!("health: {error}");
            return Err(NO_ANSWER.into());
        }
        self.0.polls.check()
    }

    /// Returns what notices the changes of others, with a connection of its own. Opens nothing yet.
    pub fn watcher(&self) -> PostgresWatcher {
        PostgresWatcher::new(self.clone())
    }

    /// Returns a writer whose commits take `timeout` at most. Opens nothing yet.
    pub(in crate::store) fn writer(&self, timeout: Duration) -> PostgresWriter {
        PostgresWriter::new(self.clone(), timeout)
    }

    /// Notes whether a poll could read the database.
    pub(in crate::store) fn polled(&self, succeeded: bool) {
        self.0.polls.polled(succeeded);
    }

    /// Returns how many connections read at most.
    pub fn max_readers(&self) -> u32 {
        self.0.pool.max_size()
    }

    /// Returns how many connections that read are open and idle.
    pub fn usage(&self) -> PoolUsage {
        self.0.pool.usage()
    }

    /// Returns whether notices of changes arrive, and how far the server is behind its primary, in seconds.
    pub fn replication(&self) -> (bool, u64) {
        let sight = &self.0.sight;
        (
            sight.hears.load(Ordering::Relaxed) && self.0.polls.check().is_ok(),
            sight.lag_secs.load(Ordering::Relaxed),
        )
    }

    /// Returns the size of the tables and their indexes, as the last poll saw it.
    pub fn size(&self) -> DatabaseSize {
        DatabaseSize {
            database_bytes: self.0.sight.database_bytes.load(Ordering::Relaxed),
            disk: None,
        }
    }

    /// Returns the database, without a password.
    pub fn url(&self) -> &PostgresUrl {
        self.0.connector.url()
    }

    /// Reads with a connection of the pool.
    pub(super) fn read<T, E: From<StoreError>>(
        &self,
        deadline: Instant,
        read: impl AsyncFnOnce(&Client) -> Result<T, E>,
    ) -> Result<T, E> {
        if !self.0.is_prepared() {
            return Err(StoreError::from(PostgresError::NotPrepared).into());
        }
        self.0.runtime.block_on(deadline, self.0.pool.read(read))
    }
}

impl Inner {
    /// Returns whether the schema has been checked or migrated.
    pub(super) fn is_prepared(&self) -> bool {
        self.is_prepared.load(Ordering::Acquire)
    }

    /// Migrates or checks the schema with this session.
    pub(super) async fn prepare_with(&self, session: &mut Session) -> Result<(), PostgresError> {
        if !self.read_only {
            self.connector.tell_durability(session.facts());
        }
        // A database that is empty all of a sudden is not the one that was opened.
        if self.read_only || self.is_prepared() {
            migrations::check(session.client()).await?;
        } else {
            migrations::migrate(session, self.may_create.load(Ordering::Relaxed)).await?;
        }
        self.connector.keep_schema(session.client()).await?;
        self.is_prepared.store(true, Ordering::Release);
        Ok(())
    }
}
