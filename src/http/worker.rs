//! What each worker has for itself, so that nothing on the way of a read is written by two.

use std::sync::Arc;

use super::own_bodies::OwnBodies;
use crate::metrics::requests::Tally;

/// The state of one worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its counts of bodies.
    pub(super) bodies: OwnBodies,
    /// Its counts of requests.
    pub(super) tally: Arc<Tally>,
}
