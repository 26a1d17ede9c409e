//! Whether a log still contains everything that SQLite has written to it.

use std::{io::ErrorKind, path::Path, time::Duration};

use rusqlite::Connection;

use super::{
    FaultKind, FileFault, log_file,
    observation::{beside, bytes_of, target},
};

/// How often a log must be found too short before it counts as truncated.
const LOG_BYTES_CHECKS: u32 = 3;
const LOG_BYTES_INTERVAL: Duration = Duration::from_millis(10);

/// How far the log was written at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnd {
    salts: [u8; 8],
    bytes: u64,
    frame_bytes: u64,
}

/// Checks that the log has as many bytes as SQLite has written to it, and that the end that it had `before` is still in
/// it: who writes to a log that was truncated meanwhile leaves a hole. Returns the end that it has now.
///
/// # Errors
/// [`FaultKind::Truncated`].
pub(super) fn check_log_end(
    connection: &Connection,
    path: &Path,
    before: Option<LogEnd>,
) -> Result<Option<LogEnd>, FileFault> {
    let log = beside(&target(path), "-wal");
    let is_short = || {
        // If SQLite cannot answer, the next statement says why.
        let (written, _) = written_log_bytes(connection).ok()?;
        let found = bytes_of(&log);
        // Another process may have checkpointed and truncated it in between.
        Some(found < written && written_log_bytes(connection).ok()?.0 == written)
    };
    // Several times, since another process may even have written as much again.
    let mut checks = 0;
    while is_short() == Some(true) {
        checks += 1;
        if checks == LOG_BYTES_CHECKS {
            return Err(FileFault::new(&log, FaultKind::Truncated));
        }
        std::thread::sleep(LOG_BYTES_INTERVAL);
    }
    let salts = log_file::salts(&log);
    let has_no_header = matches!(&salts, Err(error) if error.kind() == ErrorKind::InvalidData);
    let lacks_end = |before: LogEnd| {
        log_file::has_frame(&log, before.bytes - before.frame_bytes, before.salts).is_ok_and(|has| !has)
            // The log may have begun anew between the two.
            && log_file::salts(&log).is_ok_and(|salts| salts == before.salts)
    };
    let before =
        before.filter(|before| before.bytes > 0 && salts.as_ref().ok() == Some(&before.salts));
    if has_no_header || before.is_some_and(lacks_end) {
        return Err(FileFault::new(&log, FaultKind::Truncated));
    }
    let Ok((bytes, frame_bytes)) = written_log_bytes(connection) else {
        return Ok(None);
    };
    Ok(salts.ok().map(|salts| LogEnd {
        salts,
        bytes,
        frame_bytes,
    }))
}

/// Returns the bytes that SQLite has written to the log, and those of a frame.
fn written_log_bytes(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let frame = log_file::FRAME_HEADER_BYTES as u64 + page;
    let bytes = match u64::try_from(frames) {
        // Not in WAL mode, or nothing is in the log.
        Err(_) | Ok(0) => 0,
        Ok(frames) => log_file::HEADER_BYTES as u64 + frames * frame,
    };
    Ok((bytes, frame))
}
