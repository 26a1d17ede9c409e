//! Removes an unfinished result if a signal ends the process.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How often it is tried to remove the folder: another thread may still be making files in it.
const ATTEMPTS: u32 = 100;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(10);

/// From now on SIGINT, SIGTERM and SIGHUP end the process at once. Calls `prepare`, then `run`; meanwhile they also remove
/// the folder that `folder` returns. A signal that comes before that waits.
///
/// # Errors
/// Those of `prepare`, or the signals cannot be waited for.
pub(crate) fn remove_on_signal<T, R>(
    prepare: impl FnOnce() -> anyhow::Result<T>,
    folder: impl FnOnce(&T) -> &Path,
    run: impl FnOnce(T) -> R,
) -> anyhow::Result<R> {
    let removed = Arc::new(Mutex::new(None));
    let mut preparing = lock(&removed);
    await_signals(Arc::clone(&removed))?;
    let prepared = prepare()?;
    *preparing = Some(folder(&prepared).to_owned());
    drop(preparing);
    let done = run(prepared);
    // Where a signal has removed the folder, this waits for the end of the process: `done` is then an error that would
    // hide why it ended.
    drop(lock(&removed));
    Ok(done)
}

fn lock(folder: &Mutex<Option<PathBuf>>) -> MutexGuard<'_, Option<PathBuf>> {
    folder.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn await_signals(removed: Arc<Mutex<Option<PathBuf>>>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
            }
        });
        // Held until the end of the process.
        let folder = lock(&removed);
        if let Some(folder) = &*folder {
            remove(folder);
        }
        // What a shell reports of a process that the signal has ended.
        process::exit(128 + number);
    });
    Ok(())
}

#[cfg(not(unix))]
fn await_signals(_: Arc<Mutex<Option<PathBuf>>>) -> io::Result<()> {
    Ok(())
}

fn remove(folder: &Path) {
    for _ in 0..ATTEMPTS {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        thread::sleep(ATTEMPT_INTERVAL);
    }
}
