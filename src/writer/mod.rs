//! The write side: one actor owns the one write connection.
//!
//! | file | knows |
//! |---|---|
//! | `operation` | the operations and their outcomes |
//! | `admission` | a permit for an operation and its bytes, or an error at once; slow uploads give way |
//! | `handle` | the way into the queue, and a bound for every wait |
//! | `actor` | the queue, and when callers are answered |
//! | `commit` | one transaction for all that is queued, a savepoint for each operation |
//! | `settings` | the options of this room |
//! | `wal_size` | keeps the write-ahead log (WAL) bounded |

pub(crate) mod actor;
mod admission;
mod commit;
pub mod handle;
pub mod operation;
mod settings;
mod wal_size;

pub use settings::Settings;
