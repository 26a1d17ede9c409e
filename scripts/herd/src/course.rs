//! How far a request has come: what a timeout says, and whether anything of the request was written.

use std::{
    cell::Cell,
    convert::Infallible,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde::{Deserialize, Serialize};

use crate::{answer::Failed, failures::Reason};

/// What a request waits for, in the order in which it does.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Room for a connection of HTTP/2 (`--max-connections`).
    Room,
    /// A TCP connection.
    #[default]
    Connection,
    /// The end of the TLS handshake.
    Tls,
    /// A stream: HTTP/2 has as many as the server allows (SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113 §5.1.2).
    Stream,
    /// The first byte of the response; with HTTP/2 its head, as the bytes on the connection may be those of other responses.
    Response,
    /// The rest of the head of the response.
    Head,
    /// The rest of the body.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Room => "no room to connect",
            Self::Connection => "not connected",
            Self::Tls => "no TLS handshake",
            Self::Stream => "no stream",
            Self::Response => "no response",
            Self::Head => "head incomplete",
            Self::Body => "body incomplete",
        })
    }
}

/// How far one request has come. Clones are of the same request.
#[derive(Debug, Clone, Default)]
pub(super) struct Course(Rc<State>);

#[derive(Debug, Default)]
struct State {
    phase: Cell<Phase>,
    held_back: Cell<bool>,
    is_written: Cell<bool>,
    body_bytes: Cell<u64>,
}

impl Course {
    /// Notes what the request waits for from now on.
    pub(super) fn enter(&self, phase: Phase) {
        self.0.phase.set(phase);
        if phase == Phase::Room {
            self.0.held_back.set(true);
        }
    }

    /// Notes that the request, or the first part of it, goes to the connection.
    fn written(&self) {
        self.0.is_written.set(true);
        if self.phase() < Phase::Response {
            self.enter(Phase::Response);
        }
    }

    /// Counts bytes of the body of the response.
    pub(super) fn received(&self, bytes: u64) {
        self.0.body_bytes.set(self.body_bytes() + bytes);
    }

    /// Returns what the request waits for.
    pub(super) fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    /// Returns whether it had to wait for room for a connection.
    pub(super) fn was_held_back(&self) -> bool {
        self.0.held_back.get()
    }

    /// Returns whether anything of the request was written.
    pub(super) fn is_written(&self) -> bool {
        self.0.is_written.get()
    }

    /// Returns the bytes of the body so far.
    pub(super) fn body_bytes(&self) -> u64 {
        self.0.body_bytes.get()
    }

    /// Returns the failure of a request that has come no further in time.
    pub(super) fn timed_out(&self) -> Failed {
        let detail = match self.phase() {
            Phase::Room => "no room for a connection: see --max-connections".to_owned(),
            Phase::Connection => "not connected".to_owned(),
            Phase::Tls => "connected, but no TLS handshake".to_owned(),
            Phase::Stream => "no room for a stream (SETTINGS_MAX_CONCURRENT_STREAMS)".to_owned(),
            Phase::Response => "the response has not begun".to_owned(),
            Phase::Head => "the head of the response is incomplete".to_owned(),
            Phase::Body => {
                let bytes = self.body_bytes();
                format!("the body of the response is incomplete after {bytes} bytes")
            }
        };
        Failed::new(Reason::TimedOut, detail)
    }
}

/// The body of a request. It notes when the connection begins to write the request: HTTP/1.1 when it has taken the head,
/// HTTP/2 when there is a stream.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    bytes: Full<Bytes>,
    course: Option<Course>,
}

impl Payload {
    /// The body of a request that is not yet sent.
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            bytes: Full::new(bytes),
            course: None,
        }
    }

    /// From now on notes what becomes of it.
    pub(super) fn follow(&mut self, course: &Course) {
        self.course = Some(course.clone());
    }

    /// Notes nothing any more: the request has come back.
    pub(super) fn unfollow(&mut self) {
        self.course = None;
    }

    fn written(&self) {
        if let Some(course) = &self.course {
            course.written();
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // An empty body is dropped as soon as its head is there.
        self.written();
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.written();
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}
