//! The pool of sessions that read.

use std::{
    io,
    time::{Duration, Instant},
};

use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use tokio::runtime::Handle;
use tokio_postgres::Client;

use super::{
    connect::{Connector, Session, SessionLimits},
    error::PostgresError,
    runtime::Runtime,
};
use crate::store::{PoolUsage, StoreError};

/// For statements whose client has gone without a word.
const LIMITS: SessionLimits = SessionLimits {
    lock: Duration::from_secs(60),
    statement: Duration::from_secs(60),
};
/// How long opening a session may take. The caller's deadline is mostly earlier.
const OPEN: Duration = Duration::from_secs(30);

/// Sessions that read, opened as they are needed. Cloning shares the pool.
#[derive(Debug, Clone)]
pub(super) struct ReadPool {
    pool: Pool<SessionManager>,
    handle: Handle,
}

impl ReadPool {
    /// A pool of at most `max_size` sessions.
    ///
    /// # Errors
    /// Never in practice: a pool without timeouts of its own needs nothing.
    pub(super) fn new(
        connector: Connector,
        runtime: &Runtime,
        max_size: u32,
    ) -> Result<Self, PostgresError> {
        let size = usize::try_from(max_size).unwrap_or(usize::MAX);
        let pool = Pool::builder(SessionManager { connector }).max_size(size);
        Ok(Self {
            pool: pool.build().map_err(io::Error::other)?,
            handle: runtime.handle().clone(),
        })
    }

    /// Waits for a session, and reads with it. If `read` fails, panics or is dropped, the session is discarded: nobody
    /// else gets one that is in the middle of an answer or of a transaction.
    ///
    /// # Errors
    /// [`PostgresError::Connect`], or that of `read`.
    pub(super) async fn read<T, E: From<StoreError>>(
        &self,
        read: impl AsyncFnOnce(&Client) -> Result<T, E>,
    ) -> Result<T, E> {
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => StoreError::from(error),
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => PostgresError::Timeout.into(),
        })?;
        let lease = Lease::of(object, &self.handle);
        let result = read(lease.client()?).await?;
        lease.put_back();
        Ok(result)
    }

    /// Closes the sessions that are idle: they may be of a server that has gone, or is a primary no more.
    pub(super) fn close_idle(&self) {
        drop(self.pool.retain(|_, _| false));
    }

    /// Returns how many sessions the pool has at most.
    pub(super) fn max_size(&self) -> u32 {
        number(self.pool.status().max_size)
    }

    /// Returns how many sessions are open and idle.
    pub(super) fn usage(&self) -> PoolUsage {
        let status = self.pool.status();
        PoolUsage {
            connections: number(status.size),
            idle: number(status.available),
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A session in use. Dropping it closes the session.
struct Lease<'a> {
    /// `None` only while it is dropped.
    object: Option<Object<SessionManager>>,
    handle: &'a Handle,
}

impl<'a> Lease<'a> {
    fn of(object: Object<SessionManager>, handle: &'a Handle) -> Self {
        let object = Some(object);
        Self { object, handle }
    }

    fn client(&self) -> Result<&Client, StoreError> {
        let object = self.object.as_ref();
        Ok(object.ok_or(PostgresError::Timeout)?.client())
    }

    /// Returns the session to the pool.
    fn put_back(mut self) {
        drop(self.object.take());
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            Object::take(object).discard(self.handle);
        }
    }
}

/// Opens sessions, and drops those that have ended.
#[derive(Debug)]
struct SessionManager {
    connector: Connector,
}

impl managed::Manager for SessionManager {
    type Type = Session;
    type Error = PostgresError;

    async fn create(&self) -> Result<Session, PostgresError> {
        let deadline = Instant::now() + OPEN;
        self.connector.connect(LIMITS, deadline, |_| {}).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<PostgresError> {
        if session.is_closed() {
            return Err(RecycleError::message("the connection has ended"));
        }
        Ok(())
    }
}
