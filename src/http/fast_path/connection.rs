//! A connection on the fast path: reading, answering, sending; when it ends, and when it is for actix-web.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use actix_rt::net::TcpStream;
use actix_web::web::Bytes;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{FastPath, request::Usual};
use crate::representation::Variant;

/// In how many steps the time of a quiet connection passes: it ends after its time, and at most one step.
const STEPS: u32 = 8;

/// How much is gathered, at the most, before it is sent.
const SENT_TOGETHER_BYTES: usize = 16 * 1024;

/// What a connection has for itself: next to nothing, while its client reads what it is sent.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Read, but not yet answered: there is something while a client that asks several things at once
    /// does not read, and when the next request is not usual.
    unread: Vec<u8>,
    unsent: Option<Unsent>,
    /// For how many steps of its time it has been quiet. Counted, so that a request reads no clock for it.
    quiet_steps: u32,
    has_asked: bool,
}

/// What the kernel would not take at once.
#[derive(Debug)]
struct Unsent {
    head: Vec<u8>,
    body: Bytes,
    sent_bytes: usize,
}

/// How a connection leaves the fast path.
enum Leaves {
    /// It has ended, or is to.
    Ended,
    /// For actix-web.
    Unusual,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            unsent: None,
            quiet_steps: 0,
            has_asked: false,
        }
    }

    /// See [`FastPath::serve`].
    pub(super) async fn serve(mut self, path: &FastPath) -> Option<(TcpStream, Vec<u8>)> {
        let leaves = {
            let mut stopping = pin!(path.stopping.begun());
            let mut alarm = pin!(sleep(path.patience.head_timeout));
            let mut is_waited_for = false;
            poll_fn(|cx| {
                if let Poll::Ready(leaves) = self.poll(cx, path) {
                    return Poll::Ready(leaves);
                }
                // Each is asked once, to wake this task, and then not before it has come: most wakes
                // are for a request.
                let is_first = !mem::replace(&mut is_waited_for, true);
                if is_first || path.stopping.has_begun() {
                    let stops = stopping.as_mut().poll(cx).is_ready();
                    if stops && self.unsent.is_none() {
                        return Poll::Ready(Ok(Leaves::Unusual));
                    }
                }
                if is_first || alarm.is_elapsed() {
                    return self.poll_alarm(cx, path, alarm.as_mut());
                }
                Poll::Pending
            })
            .await
        };
        match leaves {
            Ok(Leaves::Unusual) => Some((self.stream, self.unread)),
            Ok(Leaves::Ended) => {
                let _ = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
                None
            }
            Err(error) => {
                log::debug!("a connection broke: {error}");
                None
            }
        }
    }

    /// Ready when the connection leaves; pending while it waits for its client.
    fn poll(&mut self, cx: &mut Context<'_>, path: &FastPath) -> Poll<io::Result<Leaves>> {
        loop {
            ready!(self.poll_unsent(cx))?;
            let is_usual = if self.unread.is_empty() {
                let mut input = path.input.borrow_mut();
                let mut buffer = ReadBuf::new(&mut input);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Ok(Leaves::Ended));
                }
                self.has_asked = true;
                self.answer(cx, path, buffer.filled())?
            } else {
                let unread = mem::take(&mut self.unread);
                self.answer(cx, path, &unread)?
            };
            // What was asked before it is sent first.
            if !is_usual && self.unsent.is_none() {
                return Poll::Ready(Ok(Leaves::Unusual));
            }
        }
    }

    /// Answers the requests that were read, as far as they are usual and the client takes the answers;
    /// keeps the others. Whether the next one may be usual.
    fn answer(&mut self, cx: &mut Context<'_>, path: &FastPath, read: &[u8]) -> io::Result<bool> {
        self.quiet_steps = 0;
        let scratch = &mut *path.scratch.borrow_mut();
        // A connection that broke may have left something there.
        scratch.output.clear();
        let (mut at, mut is_usual) = (0, true);
        while is_usual && at < read.len() && self.unsent.is_none() {
            let usual = Usual::parse(&read[at..]);
            let answered = usual.and_then(|(request, bytes)| {
                let long =
                    |output: &mut Vec<u8>, body: &Variant| self.send(cx, output, body.body_ref());
                let sent = path.answer(&request, scratch, long)?;
                Some((sent, bytes))
            });
            match answered {
                Some((sent, bytes)) => {
                    sent.transpose()?;
                    at += bytes;
                }
                None => is_usual = false,
            }
            // Or a client that asks much and reads nothing would have all of it kept.
            if scratch.output.len() >= SENT_TOGETHER_BYTES {
                self.send(cx, &mut scratch.output, &Bytes::new())?;
            }
        }
        if !scratch.output.is_empty() {
            self.send(cx, &mut scratch.output, &Bytes::new())?;
        }
        self.unread.extend_from_slice(&read[at..]);
        Ok(is_usual)
    }

    /// Sends the output, which is empty then, and the body behind it; keeps what the kernel does not take.
    fn send(&mut self, cx: &mut Context<'_>, output: &mut Vec<u8>, body: &Bytes) -> io::Result<()> {
        let sent_bytes = match poll_pieces(&mut self.stream, cx, output, body) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        if sent_bytes < output.len() + body.len() {
            self.unsent = Some(Unsent {
                head: output.clone(),
                body: body.clone(),
                sent_bytes,
            });
        }
        output.clear();
        Ok(())
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(unsent) = &mut self.unsent {
            let head = &unsent.head[unsent.sent_bytes.min(unsent.head.len())..];
            let sent_of_body = unsent.sent_bytes.saturating_sub(unsent.head.len());
            let body = &unsent.body[sent_of_body..];
            if head.is_empty() && body.is_empty() {
                self.unsent = None;
            } else {
                unsent.sent_bytes += ready!(poll_pieces(&mut self.stream, cx, head, body))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client was quiet for too long. While it has something to read the kernel's time
    /// limit counts (`--send-timeout-secs`).
    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        path: &FastPath,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<io::Result<Leaves>> {
        loop {
            ready!(alarm.as_mut().poll(cx));
            if self.unsent.is_some() {
                self.quiet_steps = 0;
            } else if !self.has_asked || self.quiet_steps == STEPS {
                return Poll::Ready(Ok(Leaves::Ended));
            }
            self.quiet_steps += 1;
            let step = path.patience.keep_alive / STEPS;
            alarm.as_mut().reset(Instant::now() + step);
        }
    }
}

/// Sends as much of both as the kernel takes, in one call.
fn poll_pieces(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    head: &[u8],
    body: &[u8],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    let sent = if body.is_empty() {
        ready!(stream.poll_write(cx, head))
    } else {
        ready!(stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]))
    };
    Poll::Ready(match sent {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        sent => sent,
    })
}
