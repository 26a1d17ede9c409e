//! `Date` (RFC 9110 §6.6.1): one source for all answers of the process.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::domain::clock::{Clock, ForwardWall};

/// The last second that the field can express: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// The date of answers. It never runs back, since a cache may compare the dates of two answers.
#[derive(Debug)]
pub struct DateSource(ForwardWall);

impl DateSource {
    /// A source that follows the clock's wall time.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(ForwardWall::new(clock, "the Date of answers stays"))
    }

    /// Returns the date in seconds since 1970: at least that of every call before.
    fn seconds(&self) -> u64 {
        (self.0.millis() / 1000).min(LAST_SECOND)
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
