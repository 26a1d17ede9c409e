//! The board, as nearly everybody asks for it, without the framework.
//!
//! A GET of the board that is answered with 200 or 304 is nearly all that this server does, and most of
//! what such a request costs above the system calls is the general case: a map for its header fields,
//! another for those of the answer, a router, boxed futures, two buffers of each connection. So a
//! connection begins here. As long as its requests are *usual* they are read into a buffer of the worker,
//! and answered with a head that was written when the board was published, and with the shared bytes of
//! the body. With the first one that is not, the connection and all that was read of that request go to
//! actix-web, for good: whatever is unusual, broken or in pieces has one implementation.
//!
//! | file | knows |
//! |---|---|
//! | `request` | which requests are usual |
//! | `heads` | the heads of the answers, ready to be sent |
//! | `connection` | reading, answering and sending; when a connection ends or goes to actix-web |
//!
//! Both ways decide by the same [`Conditions`](super::conditional::Conditions), and `fast_path.rs` among
//! the tests holds each answer of one against that of the other.

mod connection;
mod heads;
mod request;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_rt::net::TcpStream;
use tokio::sync::Notify;

use self::{connection::Connection, heads::Heads, request::Usual};
use super::{
    AccessLog, Handles,
    conditional::{Conditions, Decision},
};
use crate::{
    cache::handle::CacheHandle,
    domain::coding::Acceptable,
    metrics::requests::{Route, Tally},
    representation::{Representation, Variant},
};

/// What is read at once, in bytes: a longer head is not usual.
const INPUT_BYTES: usize = 8 * 1024;
/// Shorter bodies are copied behind their heads: that is cheaper than to hand the kernel two pieces.
const COPIED_BYTES: usize = 4 * 1024;

/// How long a connection may be quiet.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before its first request.
    pub head_timeout: Duration,
    /// Between two of them.
    pub keep_alive: Duration,
}

/// Tells the connections of one worker that the server stops. Each has a lock of its own to wait at, so
/// that no request meets one that workers share.
#[derive(Debug, Clone, Default)]
pub struct Stopping(Rc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    begun: Cell<bool>,
    changed: Arc<Notify>,
}

impl Stopping {
    /// The server stops.
    pub fn begin(&self) {
        self.0.begun.set(true);
        self.0.changed.notify_waiters();
    }

    /// Whether the server stops.
    fn has_begun(&self) -> bool {
        self.0.begun.get()
    }

    /// Ends when the server stops; at once, where it does already.
    pub async fn begun(&self) {
        let changed = self.0.changed.notified();
        if !self.has_begun() {
            changed.await;
        }
    }
}

/// The fast path of one worker.
#[derive(Debug)]
pub struct FastPath {
    cache: CacheHandle,
    tally: Arc<Tally>,
    patience: Patience,
    stopping: Stopping,
    /// What was read last; the connections of a worker take turns.
    input: RefCell<Box<[u8]>>,
    scratch: RefCell<Scratch>,
}

/// What answers are made with; the connections of a worker take turns.
#[derive(Debug, Default)]
struct Scratch {
    /// Heads and short bodies, in the order of their requests.
    output: Vec<u8>,
    wishes: LastWishes,
    heads: Heads,
}

impl FastPath {
    /// None, where each request is to be counted, logged or answered in ways that only the general path
    /// knows.
    pub fn new(handles: &Handles, patience: Patience, stopping: Stopping) -> Option<Rc<Self>> {
        let rules = &handles.rules;
        let plain = rules.log == AccessLog::Failures
            && rules.rate_limit.is_none()
            && !rules.server_timing
            && !patience.keep_alive.is_zero()
            && rules.max_header_bytes >= INPUT_BYTES
            && rules.max_target_bytes >= INPUT_BYTES
            && !handles.cors
            && !handles.cache_status;
        plain.then(|| {
            Rc::new(Self {
                cache: handles.board.clone(),
                tally: handles.metrics.requests().worker(),
                patience,
                stopping,
                input: RefCell::new(vec![0; INPUT_BYTES].into()),
                scratch: RefCell::default(),
            })
        })
    }

    /// Serves a connection until it ends, or its next request is not usual: then it comes back, with
    /// what was read of that.
    pub async fn serve(&self, stream: TcpStream) -> Option<(TcpStream, Vec<u8>)> {
        Connection::new(stream).serve(self).await
    }

    /// Answers a request: writes the head, and a short body, to the scratch's output. A longer body is
    /// given to `long`, with all that is to be sent before it; what that yields comes back. None where
    /// the answer is not usual: nothing is written then.
    fn answer<T>(
        &self,
        request: &Usual<'_>,
        scratch: &mut Scratch,
        long: impl FnOnce(&mut Vec<u8>, &Variant) -> T,
    ) -> Option<Option<T>> {
        self.cache.try_read(|snapshot, freshness| {
            let board = snapshot.board();
            let Scratch {
                output,
                wishes,
                heads,
            } = scratch;
            let acceptable = wishes.of(request.accept_encoding);
            let conditions = Conditions::simple(acceptable, request.if_none_match);
            let decision = conditions.decide(board).ok()?;
            heads.write(&decision, freshness.now, output);
            let body = match &decision {
                Decision::Whole(variant) if !request.is_head => Some(*variant),
                Decision::Whole(_) | Decision::NotModified(_) => None,
            };
            self.count(&decision, body, board, self.cache.now() - freshness.now);
            self.tally.on_fast_path();
            self.tally.from_snapshot(freshness.is_stale());
            match body {
                Some(body) if body.body_ref().len() > COPIED_BYTES => {
                    return Some(Some(long(output, body)));
                }
                Some(body) => output.extend_from_slice(body.body_ref()),
                None => {}
            }
            Some(None)
        })?
    }

    fn count(
        &self,
        decision: &Decision<'_>,
        body: Option<&Variant>,
        board: &Representation,
        took: Duration,
    ) {
        decision.count_savings(&self.tally, board);
        let body_bytes = body.map_or(0, |body| body.body_ref().len());
        let status = decision.status().as_u16();
        self.tally
            .answered(Route::Board, status, took, body_bytes as u64);
    }
}

/// What the last client took: most say the same.
#[derive(Debug, Default)]
struct LastWishes {
    field: Vec<u8>,
    acceptable: Acceptable,
}

impl LastWishes {
    fn of(&mut self, field: Option<&[u8]>) -> Acceptable {
        let Some(field) = field else {
            return Acceptable::default();
        };
        if self.field != field {
            self.field = field.to_vec();
            self.acceptable = Acceptable::parse([field]);
        }
        self.acceptable
    }
}
