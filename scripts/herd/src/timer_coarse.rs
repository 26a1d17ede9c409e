//! Waits until a time, by tokio's timer: to a millisecond. For systems without timerfd.

use std::io;

use tokio::time::{Instant, sleep_until};

/// The timer of a shard.
#[derive(Debug, Clone)]
pub(super) struct Timer;

impl Timer {
    /// Makes a timer.
    ///
    /// # Errors
    /// Never here.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits until `at`.
    pub(super) async fn until(&self, at: Instant) {
        sleep_until(at).await;
    }

    /// Waits until dropped.
    ///
    /// # Errors
    /// Never here.
    pub(super) async fn run(&self) -> io::Result<()> {
        std::future::pending().await
    }
}
