//! A connection that speaks HTTP/1.1. The task that sends a request drives the connection meanwhile: no other task
//! has to be woken for a response.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use http::Uri;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use crate::{
    answer::{Answer, Failed},
    course::{Course, Payload, Phase},
    failures::Reason,
    response::{Keep, failure, read},
    target::Outgoing,
    transport::{Received, Stream},
};

/// Bytes before the end of the head of a response: hyper bounds one head to 400 kB, and interim responses (RFC 9110 §15.2)
/// may come before it.
const MOST_BEFORE_BODY: u64 = 512 * 1024;

/// A connection, idle unless a request is being sent.
pub(super) struct Http1 {
    sender: SendRequest<Payload>,
    driver: Driver,
    received: Received,
}

/// A request without a response.
pub(super) struct Unanswered {
    /// Why.
    pub failed: Failed,
    /// Whether the server has not processed the request, on a connection on which it has sent something before.
    pub unprocessed: bool,
    /// Whether the connection has ended before the first byte of the response.
    pub silent: bool,
}

/// What makes a connection work while it is polled.
///
/// `None` when the connection has ended: dropping it fails a request that it has not taken.
struct Driver(Option<Connection<TokioIo<Stream>, Payload>>);

impl Http1 {
    /// Speaks HTTP/1.1 on this stream.
    ///
    /// # Errors
    /// Not in practice: nothing is sent yet.
    pub(super) async fn new(stream: Stream) -> Result<Self, Failed> {
        let received = stream.received();
        let connection = Builder::new()
            // RFC 9112 §5.2: a client accepts obsolete line folding.
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = connection.map_err(|error| failure(&error, Reason::Closed))?;
        Ok(Self {
            sender,
            driver: Driver(Some(connection)),
            received,
        })
    }

    /// Sends a request with an absolute URL and reads the response.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn send(
        &mut self,
        request: Outgoing,
        keep: Keep,
        course: &Course,
    ) -> Result<Answer, Unanswered> {
        let before = self.received.bytes();
        let received = || self.received.bytes() - before;
        let mut sending = pin!(self.sender.try_send_request(in_origin_form(request)));
        let head = poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(head) => Poll::Ready(Ok(head)),
            Poll::Pending if received() > MOST_BEFORE_BODY => Poll::Ready(Err(endless())),
            Poll::Pending => {
                if received() > 0 {
                    course.enter(Phase::Head);
                }
                Poll::Pending
            }
        });
        let answer = async {
            let head = head.await.map_err(|failed| (failed, false))?;
            let response = head.map_err(|mut error| {
                let unsent = has_come_back(error.take_message());
                (failure(error.error(), Reason::Closed), unsent)
            })?;
            let answer = read(response, keep, course).await;
            answer.map_err(|failed| (failed, false))
        };
        let answer = self.driver.run(answer).await;
        answer.map_err(|(failed, unsent)| Unanswered {
            unprocessed: unsent && before > 0,
            silent: self.received.bytes() == before
                && matches!(failed.reason, Reason::Closed | Reason::Reset),
            failed,
        })
    }

    /// Returns whether another request can be sent: the last response was read, and neither side has closed the
    /// connection.
    pub(super) async fn is_idle(&mut self) -> bool {
        if !self.sender.is_ready() {
            // The connection may still have to notice that the response is complete.
            self.driver.run(async {}).await;
        }
        self.driver.0.is_some() && self.sender.is_ready()
    }
}

impl Driver {
    /// Waits for `wanted`, which the connection makes ready; polls the connection at least once.
    async fn run<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        poll_fn(|cx| {
            let connection = self.0.as_mut();
            // Its error is also that of `wanted`.
            if connection.is_some_and(|connection| Pin::new(connection).poll(cx).is_ready()) {
                self.0 = None;
            }
            wanted.as_mut().poll(cx)
        })
        .await
    }
}

/// Returns whether the connection gives a request back, which it has not written.
pub(super) fn has_come_back(request: Option<Outgoing>) -> bool {
    let Some(mut request) = request else {
        return false;
    };
    request.body_mut().unfollow();
    true
}

fn endless() -> Failed {
    let detail = format!("more than {MOST_BEFORE_BODY} bytes of interim responses (1xx)");
    Failed::new(Reason::Malformed, detail)
}

/// Replaces the absolute URL by its path and query (RFC 9112 §3.2.1).
fn in_origin_form(mut request: Outgoing) -> Outgoing {
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    request
}
