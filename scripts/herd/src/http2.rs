//! A connection that speaks HTTP/2 (RFC 9113): all requests of a client share it, each as a stream. A task of its own
//! drives it.
//!
//! Interim responses (1xx) are read until the request times out: hyper tells of them only with HTTP/1.1, and drops them here.

use std::rc::Rc;

use http::{Uri, header::HOST, uri::Authority};
use hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use crate::{
    answer::{Answer, Failed},
    course::{Course, Payload},
    failures::Reason,
    http1::{Unanswered, has_come_back},
    response::{Keep, failure, is_refused_here, is_unprocessed, read},
    target::Outgoing,
    transport::{Received, Stream},
};

/// A connection.
#[derive(Clone)]
pub(super) struct Http2 {
    sender: SendRequest<Payload>,
    /// How much it has received.
    pub received: Received,
    /// One for the pool, and one for each request.
    users: Rc<()>,
}

/// Runs the tasks of a connection on this thread.
#[derive(Debug, Clone, Copy)]
struct ThisThread;

impl<F: Future<Output: 'static> + 'static> Executor<F> for ThisThread {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

impl Http2 {
    /// Speaks HTTP/2 on this stream, with prior knowledge or after ALPN.
    ///
    /// # Errors
    /// If the connection fails at once.
    pub(super) async fn new(stream: Stream) -> Result<Self, Failed> {
        let received = stream.received();
        let connection = Builder::new(ThisThread)
            // Until the server has said how many streams it allows: it may refuse the others.
            .initial_max_send_streams(1)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = connection.map_err(|error| failure(&error, Reason::Closed))?;
        // Its error is also that of each request.
        spawn_local(async { drop(connection.await) });
        Ok(Self {
            sender,
            received,
            users: Rc::default(),
        })
    }

    /// Sends a request with an absolute URL and reads the response.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn send(
        &self,
        request: Outgoing,
        keep: Keep,
        course: &Course,
    ) -> Result<Answer, Unanswered> {
        let sending = self
            .sender
            .clone()
            .try_send_request(with_authority(request));
        let response = sending.await.map_err(|mut error| {
            let unsent = has_come_back(error.take_message()) && self.received.bytes() > 0;
            let unprocessed = unsent || is_unprocessed(error.error());
            let mut failed = failure(error.error(), Reason::Closed);
            if is_refused_here(error.error()) {
                // The error does not say which.
                failed.detail += ": an invalid head, or a Content-Length without a body";
            }
            Unanswered {
                silent: failed.reason == Reason::Closed,
                failed,
                unprocessed,
            }
        })?;
        let answer = read(response, keep, course).await;
        answer.map_err(|failed| Unanswered {
            failed,
            unprocessed: false,
            silent: false,
        })
    }

    /// Returns whether both are the same connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.received.is_same(&other.received)
    }

    /// Returns how many there are for this connection: one of the pool, unless it has given it up, and one for each request.
    pub(super) fn users(&self) -> usize {
        Rc::strong_count(&self.users)
    }

    /// Returns whether no request is being sent. Asked of the one of the pool.
    pub(super) fn is_idle(&self) -> bool {
        self.users() == 1
    }

    /// Returns whether another request can be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Moves the field Host into the URL, for the pseudo-header `:authority` (RFC 9113 §8.3.1).
fn with_authority(mut request: Outgoing) -> Outgoing {
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if authority.is_some() && authority.as_ref() != request.uri().authority() {
        let mut parts = request.uri().clone().into_parts();
        parts.authority = authority;
        // An absolute URL with another authority is still one.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    request
}
