//! Bodies in memory that are read for one answer: how many bytes they may have, and which slow clients give way.
//!
//! | file | knows |
//! |---|---|
//! | `budget` | how many bytes of bodies exist, cached or still being sent |
//! | `senders` | which clients are being sent a body, and which are cut off if others need its bytes |

mod budget;
mod senders;

pub(crate) use budget::ByteBudget;
pub(crate) use senders::Senders;
pub use senders::Sending;
