//! Which response a request for a representation gets: pure decisions, without I/O and without actix.
//!
//! | file | knows |
//! |---|---|
//! | `representation` | the immutable bytes of a response in each content coding |
//! | `fields` | the header fields of its responses, and their heads |
//! | `edge_cache` | directives for shared caches |
//! | `conditions` | negotiation and preconditions: 200, 304, 406, 412 or 503 |

mod conditions;
mod edge_cache;
mod fields;
mod representation;

pub use conditions::{Chosen, Conditions, Decision, Denied, MissingEncoding, Offer};
pub use edge_cache::{Directives, EdgeCache, InvalidDirectives, NotATargetedField, TargetedField};
pub use fields::{CachePolicy, Media, response_fields};
pub use representation::{Representation, Variant};
