//! The actor-owned cache of the active-challenges snapshot.
//!
//! | file | role |
//! |---|---|
//! | `snapshot` | what is published: the board's bytes, and every answer of current-challenge |
//! | `build` | makes a snapshot from the database, on a blocking thread |
//! | `measured` | counts and times builds |
//! | `state` | decides: the pure single-flight machine |
//! | `actor` | runs: the mailbox, timers, blocking threads, publication |
//! | `refresh_flag` | which reader of a stale snapshot asks for a rebuild |
//! | `handle` | reads, wait-free; asks the actor only if the snapshot cannot answer |
//! | `snapshot_file` | the last board on disk: its format, and how it is read and replaced |
//! | `saver` | writes each new board to that file |
//! | `settings` | the options of this room |

pub(crate) mod actor;
pub mod build;
pub mod handle;
pub mod measured;
mod refresh_flag;
pub(crate) mod saver;
mod settings;
pub mod snapshot;
pub mod snapshot_file;
pub(crate) mod state;

pub use settings::Settings;

/// The atomics of `refresh_flag`, which a test replaces by loom's.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
}
