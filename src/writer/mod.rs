//! The write side: one actor owns the one write connection.
//!
//! | file | knows |
//! |---|---|
//! | `outcome` | the outcomes of writes |
//! | `admission` | a permit for an operation and its bytes, or an error at once; slow uploads give way |
//! | `handle` | the way into the queue, and a bound for every wait |
//! | `actor` | the queue, and when callers are answered |
//! | `commit` | one transaction for all that is queued, and what the feed is told of it |
//! | `settings` | the options of this room |

pub(crate) mod actor;
mod admission;
mod commit;
pub mod handle;
pub mod outcome;
mod settings;

pub use settings::Settings;
