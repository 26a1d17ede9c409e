//! Removes an unfinished result if a signal ends the process.

use std::{fs, io, path::Path, process, thread, time::Duration};

/// From now on SIGINT, SIGTERM and SIGHUP remove the folder and end the process at once.
///
/// # Errors
/// The signals cannot be waited for.
#[cfg(unix)]
pub(crate) fn remove_on_signal(folder: &Path) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    let folder = folder.to_owned();
    thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
            }
        });
        // The other thread may still be making files in it.
        for _ in 0..10 {
            if fs::remove_dir_all(&folder).is_ok() || !folder.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // What a shell reports of a process that the signal has ended.
        process::exit(128 + number);
    });
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn remove_on_signal(_: &Path) -> io::Result<()> {
    Ok(())
}
