//! The open connections of a shard: at most so many, idle ones included.
//!
//! While there is room, a client opens as many as it has requests in flight. Without room, a client that has its share
//! waits for one of its own, and a client that has less gets the place of an idle one, of whatever client. If every client
//! got it, a busy run would close a connection for each request and open another one, and a load generator that was late
//! once would stay late.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{http1::Http1, target::Origin};

/// Connections of which some may be idle.
pub(super) trait Idle {
    /// Closes an idle connection; returns whether there was one.
    fn close_idle(&self) -> bool;
}

/// All connections of a shard.
pub(super) struct Sockets {
    /// Room for so many more.
    free: Cell<usize>,
    /// As many as each client may have in any case.
    share: usize,
    pools: RefCell<Vec<Weak<dyn Idle>>>,
    /// Where the search for an idle connection begins.
    next: Cell<usize>,
    /// Clients with less than their share, in the order in which they have begun to wait.
    waiting: RefCell<VecDeque<Weak<Client>>>,
}

/// The client whose connections they are.
pub(super) struct Client {
    sockets: Rc<Sockets>,
    open: Cell<usize>,
    /// Its requests without a connection.
    waiting: RefCell<VecDeque<Wait>>,
}

/// A request that waits for a connection.
struct Wait {
    origin: Arc<Origin>,
    turn: oneshot::Sender<Turn>,
}

/// What a request over HTTP/1.1 is sent with.
pub(super) enum Turn {
    /// A connection to its server.
    Idle(Box<Http1>),
    /// Room for a new one.
    Room(Room),
}

/// The place of an open connection, which is free again when this is dropped.
pub(super) struct Room(Rc<Client>);

impl Sockets {
    /// Room for `most` connections of `clients` clients, of which each needs one.
    pub(super) fn new(most: usize, clients: usize) -> Self {
        Self {
            free: Cell::new(most),
            share: (most / clients.max(1)).max(1),
            pools: RefCell::default(),
            next: Cell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Adds connections of which idle ones may be closed.
    pub(super) fn add(&self, pool: Weak<dyn Idle>) {
        self.pools.borrow_mut().push(pool);
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

    fn queue(&self, client: &Rc<Client>) {
        if client.has_less() && client.is_waiting() {
            self.waiting.borrow_mut().push_back(Rc::downgrade(client));
        }
    }

    /// Gives the place that `client` has had to a client that waits.
    fn pass_on(&self, client: &Rc<Client>) {
        self.queue(client);
        loop {
            let Some(first) = self.waiting.borrow_mut().pop_front() else {
                break;
            };
            let first = first.upgrade().filter(|first| first.has_less());
            if first.is_some_and(|first| first.begin_turn()) {
                return;
            }
        }
        if !client.begin_turn() {
            self.free.set(self.free.get() + 1);
        }
    }
}

impl Client {
    /// A client without connections.
    pub(super) fn new(sockets: Rc<Sockets>) -> Rc<Self> {
        Rc::new(Self {
            sockets,
            open: Cell::default(),
            waiting: RefCell::default(),
        })
    }

    /// Returns room for a new connection, if there is some, or if an idle one can be closed: `own` closes one of this client.
    pub(super) fn room(self: &Rc<Self>, own: impl FnOnce() -> bool) -> Option<Room> {
        if self.sockets.free.get() == 0 && !own() && self.has_less() {
            self.sockets.close_idle();
        }
        let left = self.sockets.free.get().checked_sub(1)?;
        self.sockets.free.set(left);
        Some(self.new_room())
    }

    /// Waits for a connection to this server, or for room, behind the other requests of this client.
    pub(super) async fn turn(self: &Rc<Self>, origin: &Arc<Origin>) -> Option<Turn> {
        let (turn, mine) = oneshot::channel();
        let origin = Arc::clone(origin);
        self.waiting.borrow_mut().push_back(Wait { origin, turn });
        self.sockets.queue(self);
        mine.await.ok()
    }

    /// Returns whether a request waits.
    pub(super) fn is_waiting(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(|wait| wait.turn.is_closed()) {
            waiting.pop_front();
        }
        !waiting.is_empty()
    }

    /// Takes a connection whose response was read. Returns it if it is to be kept.
    pub(super) fn take_back(
        &self,
        origin: &Arc<Origin>,
        connection: Box<Http1>,
    ) -> Option<Box<Http1>> {
        let is_waiting = self.is_waiting();
        let others_wait = !self.sockets.waiting.borrow().is_empty();
        if others_wait && (!is_waiting || self.open.get() > self.sockets.share) {
            // Its place is passed on.
            return None;
        }
        if !is_waiting {
            return Some(connection);
        }
        let is_next = |wait: &mut Wait| Arc::ptr_eq(&wait.origin, origin);
        let next = self.waiting.borrow_mut().pop_front_if(is_next)?;
        match next.turn.send(Turn::Idle(connection)) {
            Ok(()) | Err(Turn::Room(_)) => None,
            Err(Turn::Idle(connection)) => Some(connection),
        }
    }

    /// Returns whether a request waits for the place of a connection, of whatever client.
    pub(super) fn is_place_wanted(&self) -> bool {
        self.is_waiting() || !self.sockets.waiting.borrow().is_empty()
    }

    /// Returns whether a connection that requests share takes the place that others wait for: it would be idle never if
    /// further requests were sent on it.
    pub(super) fn must_give_up(&self) -> bool {
        let has_more = self.open.get() > self.sockets.share;
        self.is_waiting() || has_more && self.is_place_wanted()
    }

    /// Returns whether it has less than its share.
    fn has_less(&self) -> bool {
        self.open.get() < self.sockets.share
    }

    /// Gives room to the request that has waited longest; returns whether there is one.
    fn begin_turn(self: &Rc<Self>) -> bool {
        if !self.is_waiting() {
            return false;
        }
        let Some(first) = self.waiting.borrow_mut().pop_front() else {
            return false;
        };
        let sent = first.turn.send(Turn::Room(self.new_room())).is_ok();
        self.sockets.queue(self);
        sent
    }

    fn new_room(self: &Rc<Self>) -> Room {
        self.open.set(self.open.get() + 1);
        Room(Rc::clone(self))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Self(client) = self;
        client.open.set(client.open.get() - 1);
        client.sockets.pass_on(client);
    }
}
