//! The only connection to the database, and the queue in front of it.
//!
//! One thread owns the connection and does one thing after the other, in the order of arrival. The queue has no
//! bound: that is what collapses. A request whose client has timed out stays in it, and costs as much as any other.

use std::{
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
    time::{Duration, Instant},
};

use actix_web::error::ErrorInternalServerError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::{Fallible, Result, answer};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle: everything is sent to the thread that owns the connection.
pub struct Database(Sender<Job>);

impl Database {
    /// Opens an existing file in rollback-journal mode, where a commit is on disk before it returns.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "journal_mode", "DELETE")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let (queue, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || jobs.into_iter().for_each(|job| job(&mut connection)));
        Ok(Self(queue))
    }

    /// Does `work` when everything that came before is done. With a deadline, work that waited longer is
    /// dropped: 503.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Option<Duration>,
        work: impl FnOnce(&mut Connection) -> Fallible<T> + Send + 'static,
    ) -> Result<T> {
        let came = Instant::now();
        let (sender, done) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            let in_time = deadline.is_none_or(|deadline| came.elapsed() < deadline);
            // The handler may be gone, with its connection.
            let _ = sender.send(in_time.then(|| work(connection)));
        };
        self.0
            .send(Box::new(job))
            .map_err(ErrorInternalServerError)?;
        let done = done.await.map_err(ErrorInternalServerError)?;
        done.ok_or_else(answer::busy)?
            .map_err(ErrorInternalServerError)
    }
}
