//! The write side: one actor owns the one write connection.
//!
//! | file | knows |
//! |---|---|
//! | `operation` | what a request asks to be written, and how it may end |
//! | `handle` | admission: a permit for the operation and its bytes, or a refusal at once |
//! | `actor` | the queue, and who is answered when |
//! | `commit` | one transaction for all that piled up, a savepoint for each operation |
//! | `wal_size` | keeps the write-ahead log (WAL) bounded |

pub mod actor;
pub mod commit;
pub mod handle;
pub mod operation;
pub mod wal_size;
