//! Sending: what the kernel does not take at once, until when the client must take it, and giving way to others.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    net::IpAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_rt::net::TcpStream;
use bytes::Bytes;
use socket2::SockRef;
use tokio::{io::AsyncWrite as _, time::sleep_until};

use super::{
    Door,
    connection::{Connection, Wakers},
};
use crate::{
    http::{Settings, rate_limit::site_of},
    metrics::requests::Route,
    outgoing::Sending,
};

/// What the kernel did not take at once.
#[derive(Debug)]
pub(super) struct Unsent {
    head: Vec<u8>,
    body: Bytes,
    sent_bytes: usize,
    since: Instant,
    /// If the body was read for this answer: it stays in memory only as long as nobody needs it more. Below the body,
    /// which is dropped first.
    sending: Option<Sending>,
}

impl Unsent {
    /// Until when all of it must have been sent.
    pub(super) fn deadline(&self, settings: &Settings) -> Instant {
        let bytes = (self.head.len() + self.body.len()) as u64;
        let millis = bytes.saturating_mul(1000) / settings.min_send_bytes_per_sec;
        self.since + settings.send_timeout + Duration::from_millis(millis)
    }
}

impl Connection {
    /// Sends the output, which is empty then, and the body behind it; keeps what the kernel does not take.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Vec<u8>,
        body: &Bytes,
    ) -> io::Result<()> {
        let sent_bytes = match poll_pieces(&mut self.stream, cx, output, body) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        if sent_bytes < output.len() + body.len() {
            self.unsent = Some(Unsent {
                head: output.clone(),
                body: body.clone(),
                sent_bytes,
                since: Instant::now(),
                sending: None,
            });
        }
        output.clear();
        Ok(())
    }

    /// Leaves the output, which is empty then, and the body behind it to [`Connection::flush`].
    pub(super) fn set_unsent(&mut self, output: &mut Vec<u8>, body: Bytes) {
        self.unsent = Some(Unsent {
            head: mem::take(output),
            body,
            sent_bytes: 0,
            since: Instant::now(),
            sending: None,
        });
        self.active_at = Instant::now();
    }

    /// Lets the body that is unsent give way to others that need its memory, if it was read for this answer: one of the
    /// feed or a part of a formula.
    pub(super) fn share_memory(&mut self, door: &Door, route: Route, client: IpAddr) {
        if let Some(unsent) = self.unsent.as_mut().filter(|it| !it.body.is_empty()) {
            let (handles, client, body) = (&door.handles, site_of(client), &unsent.body);
            let sending = match (route, &handles.cnf) {
                (Route::Feed, _) => handles.feed.begin_sending(client, body),
                (Route::Formula, Some(cnf)) => cnf.begin_sending(client, body),
                _ => return,
            };
            sending.sent(unsent.sent_bytes);
            unsent.sending = Some(sending);
        }
    }

    /// Counts a client that is behind with what was sent before as if the unsent bytes had been sent so much earlier.
    pub(super) fn send_earlier_by(&mut self, behind: Duration) {
        if let Some(unsent) = &mut self.unsent {
            unsent.since = unsent.since.checked_sub(behind).unwrap_or(unsent.since);
        }
    }

    /// Sends what is unsent, as far as the client accepts it.
    ///
    /// # Errors
    /// If the connection breaks, or others need the memory of the body.
    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(unsent) = &mut self.unsent {
            let head = &unsent.head[unsent.sent_bytes.min(unsent.head.len())..];
            let sent_of_body = unsent.sent_bytes.saturating_sub(unsent.head.len());
            let body = &unsent.body[sent_of_body..];
            if head.is_empty() && body.is_empty() {
                self.unsent = None;
            } else {
                if let Some(sending) = &unsent.sending
                    && sending.poll_cut_off(cx).is_ready()
                {
                    reset_when_closed(&self.stream);
                    return Poll::Ready(Err(io::Error::other(
                        "others need the memory of its body",
                    )));
                }
                unsent.sent_bytes += ready!(poll_pieces(&mut self.stream, cx, head, body))?;
                self.active_at = Instant::now();
                if let Some(sending) = &unsent.sending {
                    sending.sent(unsent.sent_bytes);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is unsent.
    ///
    /// # Errors
    /// If the connection breaks, or the client accepts nothing for too long, or too little.
    pub(super) async fn flush(&mut self, door: &Door) -> io::Result<()> {
        let alarm = pin!(sleep_until(self.deadline(door).into()));
        let stopping = pin!(door.stopping.changed.notified());
        let mut wakers = Wakers::new(alarm, stopping);
        poll_fn(|cx| {
            if self.poll_unsent(cx)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.poll_time_limits(cx, door, &mut wakers)
                .map(|_| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }
}

/// Has the connection reset when it closes, or the kernel would keep what it has to send for a client that does not
/// take it.
pub(super) fn reset_when_closed(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        log::debug!("SO_LINGER cannot be set: {error}");
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
