//! One expiry, one message: which of all readers that find a snapshot stale asks for a rebuild.
//!
//! `tests/publisher/refresh_flag.rs` compiles this file with loom's atomics and tries all interleavings.

use super::sync::{AtomicBool, Ordering::Relaxed};

/// Set by the first reader that finds its snapshot stale. Each publication comes with a new flag.
#[derive(Debug)]
pub(super) struct RefreshFlag(AtomicBool);

impl RefreshFlag {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Returns true to exactly one caller. Looks before it writes: a stale snapshot must not make its
    /// readers contend.
    pub(super) fn claim(&self) -> bool {
        !self.0.load(Relaxed) && !self.0.swap(true, Relaxed)
    }
}
