//! The actor-owned cache of the active-challenges snapshot.
//!
//! | file | who |
//! |---|---|
//! | `snapshot` | what is published: the board's bytes, and every answer of current-challenge |
//! | `build` | makes a snapshot from the database, on a blocking thread |
//! | `measured` | counts and times builds |
//! | `state` | decides: the pure single-flight machine |
//! | `actor` | runs: the mailbox, timers, blocking threads, publication |
//! | `handle` | reads, wait-free; asks the actor only where the snapshot cannot answer |

pub mod actor;
pub mod build;
pub mod handle;
pub mod measured;
pub mod snapshot;
pub mod state;
