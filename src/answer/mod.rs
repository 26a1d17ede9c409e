//! Which response a request for a representation gets: pure decisions, without I/O and without actix.
//!
//! | file | knows |
//! |---|---|
//! | `representation` | the immutable bytes of a response in each content coding |
//! | `fields` | the header fields of its responses, and the heads prepared from them |
//! | `conditions` | negotiation and preconditions: 200, 304, 406 or 412 |

mod conditions;
mod fields;
mod representation;

pub use conditions::{Conditions, Decision, Denied};
pub use fields::Heads;
pub use representation::{Representation, Variant};
