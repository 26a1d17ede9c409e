//! Whether changes by other processes are noticed.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Check;

/// After this number of failed polls in a row, changes by other processes count as unnoticed.
const FAILED_POLLS: u32 = 3;

/// How many polls of the database have failed since the last one that succeeded.
#[derive(Debug, Default)]
pub(super) struct Polls(AtomicU32);

impl Polls {
    /// Notes whether a poll could read the database.
    pub(super) fn polled(&self, succeeded: bool) {
        if succeeded {
            self.0.store(0, Relaxed);
        } else {
            // Only one task polls.
            self.0
                .store(self.0.load(Relaxed).saturating_add(1), Relaxed);
        }
    }

    /// Returns what is wrong if several polls in a row have failed.
    pub(super) fn check(&self) -> Check {
        if self.0.load(Relaxed) < FAILED_POLLS {
            Ok(())
        } else {
            Err("cannot be polled, see the log".into())
        }
    }
}
