//! The write side: one actor owns the one write connection.
//!
//! | file | knows |
//! |---|---|
//! | `operation` | the operations and their outcomes |
//! | `handle` | admission: a permit for the operation and its bytes, or an error at once |
//! | `actor` | the queue, and when callers are answered |
//! | `commit` | one transaction for all that is queued, a savepoint for each operation |
//! | `wal_size` | keeps the write-ahead log (WAL) bounded |

pub(crate) mod actor;
pub(crate) mod commit;
pub mod handle;
pub mod operation;
pub(crate) mod wal_size;
