//! The open connections of a shard: at most so many, idle ones included. If a new one has no room, an idle one is closed,
//! of whatever client.

use std::{
    cell::{Cell, RefCell},
    rc::Weak,
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of which some may be idle.
pub(super) trait Idle {
    /// Closes an idle connection; returns whether there was one.
    fn close_idle(&self) -> bool;
}

/// The room of one connection, which is free again when this is dropped.
pub(super) type Room = OwnedSemaphorePermit;

/// All connections of a shard.
pub(super) struct Sockets {
    free: Arc<Semaphore>,
    pools: RefCell<Vec<Weak<dyn Idle>>>,
    /// Where the search for an idle connection begins.
    next: Cell<usize>,
}

impl Sockets {
    /// Room for `most` connections.
    pub(super) fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            pools: RefCell::default(),
            next: Cell::default(),
        }
    }

    /// Adds connections of which idle ones may be closed.
    pub(super) fn add(&self, pool: Weak<dyn Idle>) {
        self.pools.borrow_mut().push(pool);
    }

    /// Returns room for a connection, of a request that is one of at most as many as there is room for. So if there is no
    /// room, a connection is idle or about to be closed, and the wait is short.
    pub(super) async fn room(&self) -> Option<Room> {
        if let Ok(room) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(room);
        }
        self.close_idle();
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    fn close_idle(&self) {
        let pools = self.pools.borrow();
        for step in 0..pools.len() {
            let at = (self.next.get() + step) % pools.len();
            let pool = pools.get(at).and_then(Weak::upgrade);
            if pool.is_some_and(|pool| pool.close_idle()) {
                self.next.set(at + 1);
                return;
            }
        }
    }
}
