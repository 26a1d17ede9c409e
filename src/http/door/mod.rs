//! The front door: owns every connection from its acceptance to its end.
//!
//! It reads one head at a time, bounded in bytes and time, the second one like the first. Requests that
//! memory can answer (the board, current-challenge, cached pages of the feed) are answered at once: a 200
//! with the head that was prepared when its bytes were made, and with these shared bytes; one `recv` and
//! one `send` each. Every other request goes to the actix-web application, one whole request at a time:
//! the door frames, bounds and times its body, and reads the next head only when the answer is sent.
//! Both ways decide by the same [`Conditions`](crate::answer::Conditions).
//!
//! | file | knows |
//! |---|---|
//! | `connection` | reading, time limits, the end of a connection |
//! | `sending` | what the kernel does not take at once, and until when the client must |
//! | `head` | the head of a request: syntax, framing, persistence |
//! | `body` | the body of a request: by length or chunked |
//! | `memory` | which requests memory can answer |
//! | `waiting` | requests that are answered when something changes |
//! | `events` | /v1/events |
//! | `application` | how a request goes through actix-web, and its response to the client |
//! | `exchange` | what every request passes: limits, request ids, counts, the access log |

mod application;
mod body;
mod connection;
mod events;
mod exchange;
mod head;
mod memory;
mod sending;
mod waiting;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use actix_http::Request;
use actix_rt::net::TcpStream;
use actix_service::{
    ServiceFactory as _,
    boxed::{self, RcService},
    map_config,
};
use actix_web::{
    Error,
    body::BoxBody,
    dev::{AppConfig, ServiceResponse},
};
use tokio::sync::Notify;

use self::{connection::Connection, head::HeadLimits, memory::LastAcceptable};
use super::{Handles, RouteSet, date::DateLine, routes, waiting::Waiters};
use crate::metrics::requests::RequestCounters;

pub(super) use self::head::Head;

/// The most that is read at once, in bytes. Shared by the connections of a worker, which take turns.
const INPUT_BYTES: usize = 8 * 1024;

/// The front door of one worker.
pub struct Door {
    handles: Handles,
    counters: Arc<RequestCounters>,
    application: RcService<Request, ServiceResponse<BoxBody>, Error>,
    limits: HeadLimits,
    stopping: Stopping,
    waiters: Rc<Waiters>,
    input: RefCell<Box<[u8]>>,
    scratch: RefCell<Scratch>,
}

/// What answers are made with; the connections of a worker take turns.
#[derive(Debug, Default)]
struct Scratch {
    /// Heads and short bodies, in the order of their requests.
    output: Vec<u8>,
    acceptable: LastAcceptable,
    date: DateLine,
}

/// How far a worker is in stopping.
#[derive(Debug, Default)]
struct Stopping {
    /// Answers announce that the connection closes.
    closing: Cell<bool>,
    /// Since when idle connections are closed.
    ending: Cell<Option<Instant>>,
    changed: Notify,
}

impl Door {
    /// Makes the door of one worker, with the routes of one address.
    ///
    /// # Errors
    /// If the application cannot be made.
    pub async fn new(mut handles: Handles, routes: RouteSet) -> Result<Rc<Self>, ()> {
        if routes == RouteSet::Admin {
            // Operators and their monitoring are not the public.
            handles.rate_limit = None;
        }
        let counters = handles.metrics.requests().worker();
        let app = actix_web::App::new()
            .configure(|config| routes::configure(config, &handles, &counters, routes));
        let application = map_config(app, |()| AppConfig::default());
        let application = boxed::rc_service(application.new_service(()).await?);
        let waiters = Waiters::new(handles.metrics.clone());
        let changes = handles.board.changes();
        actix_rt::spawn(Waiters::follow_board(Rc::downgrade(&waiters), changes));
        let feed = handles.feed.clone();
        actix_rt::spawn(Waiters::follow_feed(Rc::downgrade(&waiters), feed));
        let settings = &handles.settings;
        Ok(Rc::new(Self {
            limits: HeadLimits {
                target_bytes: settings.max_target_bytes,
                header_bytes: settings.max_header_bytes,
            },
            handles,
            counters,
            application,
            stopping: Stopping::default(),
            waiters,
            input: RefCell::new(vec![0; INPUT_BYTES].into()),
            scratch: RefCell::default(),
        }))
    }

    /// Serves a connection until it ends.
    pub async fn serve(self: Rc<Self>, stream: TcpStream) {
        Connection::serve(stream, &self).await;
    }

    /// From now on every answer announces that its connection closes, and no request waits.
    pub fn close_after_answers(&self) {
        self.stopping.closing.set(true);
        actix_rt::spawn(Rc::clone(&self.waiters).wake_all());
    }

    /// From now on idle connections are closed, and those that do not accept what is sent to them.
    pub fn end_idle(&self) {
        self.stopping.closing.set(true);
        self.stopping.ending.set(Some(Instant::now()));
        self.stopping.changed.notify_waiters();
    }

    fn is_closing(&self) -> bool {
        self.stopping.closing.get()
    }

    /// Whether a connection may persist after an answer to a client that wants it.
    fn lets_persist(&self) -> bool {
        !self.is_closing() && !self.handles.settings.keep_alive.is_zero()
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}
