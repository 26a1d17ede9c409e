//! `Date` (RFC 9110 §6.6.1): one source for all answers of the process.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use crate::domain::clock::Clock;

/// The last second that the field can express: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;
/// A wall clock that was set back by less is not worth a line in the log.
const NOTABLE_SECS: u64 = 5;

/// The date of answers. It never runs back, since a cache may compare the dates of two answers: if the wall
/// clock is set back, the date stays until the clock has caught up or the process is restarted.
#[derive(Debug)]
pub struct DateSource {
    clock: Arc<dyn Clock>,
    /// The greatest date that was taken, in seconds since 1970.
    greatest: AtomicU64,
    /// Whether the log says that the wall clock is behind.
    is_behind: AtomicBool,
}

impl DateSource {
    /// A source that follows the clock's wall time.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            greatest: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
        }
    }

    /// Returns the date in seconds since 1970: at least that of every call before.
    fn seconds(&self) -> u64 {
        let since = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.unwrap_or_default().as_secs().min(LAST_SECOND);
        let greatest = self.greatest.load(Relaxed);
        if now > greatest {
            self.is_behind.store(false, Relaxed);
            return self.greatest.fetch_max(now, Relaxed).max(now);
        }
        let behind = greatest - now;
        if behind >= NOTABLE_SECS && !self.is_behind.swap(true, Relaxed) {
            log::warn!(
                "the wall clock was set back by {behind} s: the Date of answers stays until it has caught up"
            );
        }
        greatest
    }
}

/// The `date` field of one worker, formatted once a second.
#[derive(Debug, Default)]
pub(super) struct DateLine {
    line: Vec<u8>,
    seconds: u64,
}

impl DateLine {
    /// Returns the field and the empty line that ends the head.
    pub(super) fn ending(&mut self, source: &DateSource) -> &[u8] {
        let seconds = source.seconds();
        if self.line.is_empty() || self.seconds != seconds {
            self.seconds = seconds;
            self.line.clear();
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            // Writing to memory does not fail.
            let _ = write!(
                self.line,
                "date: {}\r\n\r\n",
                httpdate::HttpDate::from(date)
            );
        }
        &self.line
    }
}
