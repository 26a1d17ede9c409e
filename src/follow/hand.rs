//! A thread that asks and waits: requests to the upstream block for up to a minute. The end of the process does not wait
//! for it.

use std::{
    io,
    panic::{self, AssertUnwindSafe},
    sync::mpsc,
    thread,
};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Runs one job at a time.
#[derive(Debug)]
pub(super) struct Hand {
    jobs: mpsc::Sender<Job>,
}

/// The job panicked.
#[derive(Debug, thiserror::Error)]
#[error("a request to the upstream panicked")]
pub(super) struct Panicked;

impl Hand {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || {
            for job in queue {
                // The panic hook has logged it, and who waits for the job learns of it.
                let _ = panic::catch_unwind(AssertUnwindSafe(job));
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { jobs })
    }

    /// Runs the job on the thread.
    ///
    /// # Errors
    /// [`Panicked`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (result, done) = oneshot::channel();
        let job = move || {
            // Who asked may have gone.
            let _ = result.send(job());
        };
        let sent = self.jobs.send(Box::new(job));
        sent.map_err(|_| Panicked)?;
        done.await.map_err(|_| Panicked)
    }
}
