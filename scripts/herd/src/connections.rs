//! The connections of one client: each client has its own, as real clients do.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use tokio::sync::Mutex;

use crate::{
    answer::{Answer, Failed},
    course::{Course, Phase},
    failures::Reason,
    http1::{Http1, Unanswered},
    http2::Http2,
    response::Keep,
    sockets::{Client, Idle, Room, Sockets, Turn},
    target::{Origin, Outgoing, Version},
    transport::Stream,
};

/// A request that a server has not processed is sent again at most so often.
const MOST_REPEATS: u32 = 8;

/// The connections of one client.
pub(super) struct Connections {
    /// The number of the client, by which clients are spread over the addresses of a server.
    number: u32,
    /// The address that they come from.
    from: Option<IpAddr>,
    /// The connections of all clients.
    sockets: Rc<Sockets>,
    client: Rc<Client>,
    pools: RefCell<Vec<Rc<Pool>>>,
}

/// The connections to one server.
struct Pool {
    origin: Arc<Origin>,
    /// Idle connections of HTTP/1.1.
    #[expect(clippy::vec_box, reason = "each request takes one out, which is large")]
    idle: RefCell<Vec<Box<Http1>>>,
    /// The connection of HTTP/2.
    shared: RefCell<Option<Http2>>,
    /// Held while a connection is opened that may become the shared one.
    opening: Mutex<()>,
    /// Whether the server has chosen HTTP/1.1.
    speaks_http1: Cell<bool>,
}

enum Connection {
    Http1(Box<Http1>),
    Http2(Http2),
}

/// What one request is sent with.
pub(super) struct Place {
    pool: Rc<Pool>,
    /// `None` if a connection may be shared with other requests, or if a new one is needed.
    turn: Option<Turn>,
    /// How often the request was sent before, because the server has not processed it. Such a one gets a new connection.
    repeats: u32,
}

/// A request without a response.
pub(super) struct Lost {
    /// Why.
    pub failed: Failed,
    /// What it can be sent with again: a server has closed an idle connection (RFC 9112 §9.3.1), or a connection of HTTP/2,
    /// without having processed it (RFC 9113 §6.8).
    pub again: Option<Place>,
}

impl From<Failed> for Lost {
    fn from(failed: Failed) -> Self {
        let again = None;
        Self { failed, again }
    }
}

impl Connections {
    /// No connections yet, of client `number`; they will come from the address `from`, and be some of `sockets`.
    pub(super) fn new(number: u32, from: Option<IpAddr>, sockets: Rc<Sockets>) -> Self {
        Self {
            number,
            from,
            client: Client::new(Rc::clone(&sockets)),
            sockets,
            pools: RefCell::default(),
        }
    }

    /// Waits for a connection to this server, or for room for a new one. `held_back` is called before it waits for others
    /// to end.
    pub(super) async fn place(&self, origin: &Arc<Origin>, held_back: impl FnOnce()) -> Place {
        let pool = self.pool(origin);
        let turn = match pool.may_share() {
            true => None,
            false => match self.turn_now(&pool) {
                Some(turn) => Some(turn),
                None => {
                    held_back();
                    self.client.turn(origin).await
                }
            },
        };
        Place {
            pool,
            turn,
            repeats: 0,
        }
    }

    /// Sends a request, once, and reads the response. The caller bounds the time.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) async fn send(
        &self,
        place: Place,
        keep: Keep,
        request: impl Fn() -> Outgoing,
        course: &Course,
    ) -> Result<Answer, Lost> {
        let Place {
            pool,
            turn,
            repeats,
        } = place;
        let (known, room) = match turn {
            Some(Turn::Idle(connection)) => (Some(Connection::Http1(connection)), None),
            Some(Turn::Room(room)) => (None, Some(room)),
            None if repeats > 0 => (None, None),
            None => {
                if self.client.must_give_up() {
                    pool.shared.take();
                }
                (pool.take(), None)
            }
        };
        let was_known = known.is_some();
        let connection = match known {
            Some(connection) => connection,
            None => pool.open(self, room, course).await?,
        };
        course.enter(Phase::Stream);
        let mut request = request();
        request.body_mut().follow(course);
        // Others may have been carried out (RFC 9110 §9.2.2).
        let is_idempotent = request.method().is_idempotent();
        let sending = pool.send(&self.client, connection, keep, request, course);
        let unanswered = match sending.await {
            Ok(answer) => return Ok(answer),
            Err(unanswered) => unanswered,
        };
        let may_repeat = match unanswered.unprocessed {
            true => repeats < MOST_REPEATS,
            false => was_known && unanswered.silent && is_idempotent,
        };
        Err(Lost {
            failed: unanswered.failed,
            again: may_repeat.then(|| Place {
                pool,
                turn: None,
                repeats: repeats + 1,
            }),
        })
    }

    /// Returns what a request over HTTP/1.1 can be sent with now, unless others wait for it already.
    fn turn_now(&self, pool: &Pool) -> Option<Turn> {
        if self.client.is_waiting() {
            return None;
        }
        let idle = pool.idle.borrow_mut().pop().map(Turn::Idle);
        idle.or_else(|| self.client.room(|| self.close_idle()).map(Turn::Room))
    }

    /// Closes an idle connection, to whatever server; returns whether there was one.
    fn close_idle(&self) -> bool {
        self.pools.borrow().iter().any(|pool| pool.close_idle())
    }

    fn pool(&self, origin: &Arc<Origin>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        let known = pools.iter().find(|pool| Arc::ptr_eq(&pool.origin, origin));
        if let Some(pool) = known {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool {
            origin: Arc::clone(origin),
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: Mutex::default(),
            speaks_http1: Cell::default(),
        });
        pools.push(Rc::clone(&pool));
        let idle = Rc::downgrade(&pool);
        self.sockets.add(idle);
        pool
    }
}

impl Pool {
    /// Returns a connection that is already there.
    fn take(&self) -> Option<Connection> {
        let idle = self.idle.borrow_mut().pop();
        let shared = || self.shared.borrow().clone().map(Connection::Http2);
        idle.map(Connection::Http1).or_else(shared)
    }

    async fn send(
        &self,
        client: &Rc<Client>,
        connection: Connection,
        keep: Keep,
        request: Outgoing,
        course: &Course,
    ) -> Result<Answer, Unanswered> {
        match connection {
            Connection::Http1(mut connection) => {
                let answer = connection.send(request, keep, course).await?;
                if connection.is_idle().await
                    && let Some(kept) = client.take_back(&self.origin, connection)
                {
                    self.idle.borrow_mut().push(kept);
                }
                Ok(answer)
            }
            Connection::Http2(connection) => {
                let mut request_sent = Sent {
                    pool: self,
                    client,
                    before: connection.received.bytes(),
                    connection,
                    is_over: false,
                    is_gone: false,
                };
                let sending = request_sent.connection.send(request, keep, course);
                let answer = sending.await;
                request_sent.is_over = true;
                // The connection itself may notice it only later.
                let closed = |lost: &Unanswered| lost.failed.reason == Reason::Closed;
                request_sent.is_gone = answer.as_ref().err().is_some_and(closed);
                answer
            }
        }
    }

    /// Returns whether several requests may share a connection.
    fn may_share(&self) -> bool {
        match self.origin.version {
            Version::Http1 => false,
            Version::Http2 => true,
            Version::Any => self.origin.tls.is_some() && !self.speaks_http1.get(),
        }
    }

    /// Opens a connection, with this room or some that it waits for. Requests that wait for the shared one get it when it is
    /// there.
    async fn open(
        &self,
        client: &Connections,
        room: Option<Room>,
        course: &Course,
    ) -> Result<Connection, Failed> {
        let _opening = match self.may_share() {
            true => Some(self.opening.lock().await),
            false => None,
        };
        let shared = self.shared.borrow().clone();
        if let Some(shared) = shared.filter(Http2::is_open) {
            return Ok(Connection::Http2(shared));
        }
        let room = match room.or_else(|| client.client.room(|| client.close_idle())) {
            Some(room) => room,
            None => {
                course.enter(Phase::Room);
                match client.client.turn(&self.origin).await {
                    Some(Turn::Room(room)) => room,
                    Some(Turn::Idle(connection)) => return Ok(Connection::Http1(connection)),
                    None => return Err(Failed::new(Reason::NotSent, "no room for a connection")),
                }
            }
        };
        let stream = Stream::connect(&self.origin, client.number, client.from, room, course);
        let stream = stream.await?;
        if self.is_http2(&stream)? {
            let connection = Http2::new(stream).await?;
            self.shared.replace(Some(connection.clone()));
            return Ok(Connection::Http2(connection));
        }
        self.speaks_http1.set(true);
        Ok(Connection::Http1(Box::new(Http1::new(stream).await?)))
    }

    fn is_http2(&self, stream: &Stream) -> Result<bool, Failed> {
        match (self.origin.version, stream.has_chosen_http2()) {
            (Version::Http1, _) => Ok(false),
            (Version::Http2, Some(false)) => {
                let detail = "the server does not offer HTTP/2 (ALPN)";
                Err(Failed::new(Reason::Tls, detail))
            }
            (Version::Http2, Some(true) | None) => Ok(true),
            (Version::Any, chosen) => Ok(chosen == Some(true)),
        }
    }
}

impl Idle for Pool {
    fn close_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            // The one that has been idle longest.
            drop(idle.remove(0));
            return true;
        }
        let mut shared = self.shared.borrow_mut();
        shared.take_if(|shared| shared.is_idle()).is_some()
    }
}

/// A request on a shared connection, which is given up with it if the server has closed it, or if nothing was received
/// meanwhile: a server that is gone without a trace would otherwise keep the connection for ever.
struct Sent<'a> {
    pool: &'a Pool,
    client: &'a Client,
    connection: Http2,
    before: u64,
    is_over: bool,
    is_gone: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let is_dead = !self.is_over && self.connection.received.bytes() == self.before;
        let is_last = self.connection.users() == 2;
        let is_wanted = is_last && self.client.is_place_wanted();
        if is_dead || self.is_gone || is_wanted || !self.connection.is_open() {
            let mut shared = self.pool.shared.borrow_mut();
            // Another request may have replaced it.
            shared.take_if(|shared| shared.is_same(&self.connection));
        }
    }
}
