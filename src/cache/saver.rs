//! Writes each new board to the snapshot file: one write at a time, on a blocking thread, the latest board wins.

use std::{io, mem, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    handle::{BoardNews, CacheHandle, Published},
    snapshot_file::SnapshotFile,
};

/// The time between two writes: a board that changes all the time must not keep the disk busy.
const PAUSE: Duration = Duration::from_secs(1);
/// How long until a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The task that writes the snapshot file.
#[derive(Debug)]
pub(crate) struct Saver {
    finish: oneshot::Sender<oneshot::Sender<()>>,
}

impl Saver {
    /// Starts the task, which writes the board that is published now and every one that is published later. Ends with
    /// the cache.
    pub(crate) fn launch(cache: CacheHandle, file: SnapshotFile) -> Self {
        let (finish, finished) = oneshot::channel();
        actix_rt::spawn(run(cache, file, finished));
        Self { finish }
    }

    /// Writes the board of now unless it is written, and ends the task.
    pub(crate) async fn finish(self) {
        let (done, ended) = oneshot::channel();
        // On an error the task has ended: nothing is left to write.
        if self.finish.send(done).is_ok() {
            let _ = ended.await;
        }
    }
}

async fn run(
    cache: CacheHandle,
    file: SnapshotFile,
    mut finish: oneshot::Receiver<oneshot::Sender<()>>,
) {
    let mut changes = cache.changes();
    let mut saving = Saving {
        cache,
        file: Arc::new(file),
        saved: None,
        is_failing: false,
    };
    let file = Arc::clone(&saving.file);
    let _ = actix_rt::task::spawn_blocking(move || file.remove_leftovers()).await;
    let done = loop {
        if let Some(board) = saving.unsaved() {
            let pause = if saving.save(board).await {
                PAUSE
            } else {
                RETRY
            };
            tokio::select! {
                () = saving.cache.sleep(pause) => {}
                done = &mut finish => break done,
            }
        } else {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    // The cache has ended.
                    return;
                },
                done = &mut finish => break done,
            }
        }
    };
    if let Some(board) = saving.unsaved() {
        saving.save(board).await;
    }
    if let Ok(done) = done {
        // Nobody may wait.
        let _ = done.send(());
    }
}

/// What was saved, and whether the last write failed.
struct Saving {
    cache: CacheHandle,
    file: Arc<SnapshotFile>,
    saved: Option<BoardNews>,
    is_failing: bool,
}

impl Saving {
    /// Returns the published board if it was built by this process and is not saved yet.
    fn unsaved(&self) -> Option<Arc<Published>> {
        let published = self.cache.published()?;
        let is_unsaved = published.stamp.is_some() && self.saved != Some(published.news);
        is_unsaved.then_some(published)
    }

    /// Writes the file. Logs the first failure and the first success after it. Returns whether it is written.
    async fn save(&mut self, board: Arc<Published>) -> bool {
        let (file, news, at) = (Arc::clone(&self.file), board.news, self.cache.wall());
        let writing = move || file.write(&board.snapshot, news.position, at);
        let written = actix_rt::task::spawn_blocking(writing).await;
        let written = written.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        let path = self.file.path().display();
        let was_failing = mem::replace(&mut self.is_failing, written.is_err());
        match written {
            Ok(()) => {
                self.saved = Some(news);
                if was_failing {
                    log::info!("{path}: the board is saved again");
                }
                true
            }
            Err(error) => {
                if !was_failing {
                    log::warn!("{path}: the board is not saved: {error}");
                }
                false
            }
        }
    }
}
