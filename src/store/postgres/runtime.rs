//! The thread that talks to PostgreSQL. Blocking threads wait for their futures with a deadline; the thread drives the
//! sockets and timers.

use std::{
    fmt,
    future::Future,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    time::timeout_at,
};

use super::error::PostgresError;
use crate::store::StoreError;

/// Threads that resolve names; a resolver that hangs keeps one.
const MAX_RESOLVERS: usize = 4;

/// A thread named `postgres` with a current-thread runtime. Cloning shares it; it ends with the last clone.
#[derive(Clone)]
pub(super) struct Runtime(Arc<Thread>);

struct Thread {
    handle: Handle,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("postgres")
            .max_blocking_threads(MAX_RESOLVERS)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(stopped);
                // A resolver that hangs must not keep the thread.
                runtime.shutdown_background();
            })?;
        Ok(Self(Arc::new(Thread {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })))
    }

    /// Waits for a future until `deadline` at most, then drops it. It runs on the calling thread, which must be a
    /// blocking one: on an async thread this panics.
    ///
    /// # Errors
    /// [`PostgresError::Timeout`], or that of the future.
    pub(super) fn block_on<T, E: From<StoreError>>(
        &self,
        deadline: Instant,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.0.handle.block_on(async {
            match timeout_at(deadline.into(), future).await {
                Ok(result) => result,
                Err(_) => Err(StoreError::from(PostgresError::Timeout).into()),
            }
        })
    }

    /// Returns the handle to start tasks on the thread.
    pub(super) fn handle(&self) -> &Handle {
        &self.0.handle
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A task of the thread may drop the last clone: it cannot wait for itself.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::{future::pending, time::Duration};

    use super::*;

    #[test]
    fn a_call_returns_by_its_deadline() {
        let runtime = Runtime::start().unwrap();
        let begun = Instant::now();
        let result = runtime.block_on(
            begun + Duration::from_millis(50),
            pending::<Result<(), StoreError>>(),
        );
        assert!(matches!(
            result,
            Err(StoreError::Postgres(PostgresError::Timeout))
        ));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(
            runtime
                .block_on(begun, pending::<Result<(), StoreError>>())
                .is_err()
        );
    }

    #[test]
    fn the_thread_ends_with_the_last_clone_also_if_a_task_has_it() {
        let runtime = Runtime::start().unwrap();
        let (dropped, waiting) = std::sync::mpsc::channel::<()>();
        let clone = runtime.clone();
        runtime.handle().spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(clone);
            drop(dropped);
        });
        drop(runtime);
        assert!(waiting.recv_timeout(Duration::from_secs(10)).is_err());
    }
}
