//! One connection: reading, answering from memory, time limits, the end.

use std::{
    future::{Future, poll_fn},
    io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_rt::net::TcpStream;
use actix_web::ResponseError as _;
use bytes::Bytes;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    sync::futures::Notified,
    task::{unconstrained, yield_now},
    time::{Sleep, sleep_until},
};

use super::{
    Door, Scratch,
    application::AppRequest,
    events::Events,
    exchange::Exchange,
    head::{Head, MAX_FIELDS},
    memory::{Asked, Target},
    sending::{Unsent, reset_when_closed},
    waiting::Wait,
};
use crate::http::{error::ApiError, waiting::Reason};

/// How much is gathered, at most, before it is sent.
const SENT_TOGETHER_BYTES: usize = 16 * 1024;
/// How much of what a client goes on sending is read before its connection is closed, so that it is not
/// reset before the client has read the last answer (RFC 9112 §9.6).
pub(super) const LINGER_BYTES: usize = 64 * 1024;
/// How long it may go on sending.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// A time limit that is noticed so late was missed by the server, because its process was stopped or starved: the
/// client has the time again, and what it sent meanwhile is read.
const STALL: Duration = Duration::from_secs(1);
/// While the server stops: how long a client may accept no byte.
const STOPPING_SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// While the server stops: how long a new connection has for its first request.
const STOPPING_FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// What a connection owns: next to nothing, while its client reads what it is sent.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: IpAddr,
    /// Read, but not yet processed: the beginning of a head, a body, or requests behind an answer that
    /// is not sent yet.
    pub(super) unread: Vec<u8>,
    /// Since when the unread bytes are an incomplete head.
    head_since: Option<Instant>,
    pub(super) unsent: Option<Unsent>,
    /// The request that waits, if one does.
    pub(super) waiting: Option<Box<Wait>>,
    /// When the client last sent something or accepted something.
    pub(super) active_at: Instant,
    has_asked: bool,
    /// The last answer announced that the connection closes.
    pub(super) closes: bool,
}

/// What a connection needs next.
pub(super) enum Need {
    /// The other connections of this worker get their turn.
    Yield,
    /// A request goes to the application.
    Application(Box<AppRequest>),
    /// Events follow, and then the connection closes.
    Events(Box<Events>),
    /// The request that was read is refused, and the connection closes.
    Refuse(ApiError),
    /// The connection ends.
    End,
}

/// What wakes a connection beside its client.
pub(super) struct Wakers<'p, 'd> {
    alarm: Pin<&'p mut Sleep>,
    stopping: Pin<&'p mut Notified<'d>>,
    /// Whether both know this task.
    are_set: bool,
}

impl<'p, 'd> Wakers<'p, 'd> {
    pub(super) fn new(alarm: Pin<&'p mut Sleep>, stopping: Pin<&'p mut Notified<'d>>) -> Self {
        Self {
            alarm,
            stopping,
            are_set: false,
        }
    }
}

impl Connection {
    /// Serves a connection until it ends.
    pub(super) async fn serve(stream: TcpStream, door: &Door) {
        let now = Instant::now();
        let peer = stream.peer_addr();
        let mut connection = Self {
            stream,
            peer: peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| {
                peer.ip().to_canonical()
            }),
            unread: Vec::new(),
            head_since: None,
            unsent: None,
            waiting: None,
            active_at: now,
            has_asked: false,
            closes: false,
        };
        if let Err(error) = connection.run(door).await {
            log::debug!("a connection failed: {error}");
        }
    }

    async fn run(&mut self, door: &Door) -> io::Result<()> {
        let alarm = pin!(sleep_until(self.deadline(door).into()));
        let stopping = pin!(door.stopping.changed.notified());
        let mut wakers = Wakers::new(alarm, stopping);
        loop {
            let next = poll_fn(|cx| self.poll_next(cx, door, &mut wakers)).await?;
            match next {
                Need::Yield => yield_now().await,
                Need::Application(request) => {
                    // Boxed: a connection that memory answers needs no room for this.
                    Box::pin(self.ask_application(door, *request)).await?;
                    yield_now().await;
                }
                Need::Events(events) => Box::pin(self.stream_events(door, events)).await?,
                Need::Refuse(error) => Box::pin(self.refuse(door, &error)).await?,
                Need::End => break,
            }
        }
        if self.closes && self.unsent.is_none() {
            Box::pin(self.linger()).await?;
        }
        Ok(())
    }

    /// Sends, reads and answers from memory until something else is needed.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
        wakers: &mut Wakers<'_, '_>,
    ) -> Poll<io::Result<Need>> {
        while self.poll_unsent(cx)?.is_ready() {
            if self.closes {
                return Poll::Ready(Ok(Need::End));
            }
            match self.poll_waiting(cx, door)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ok(Need::End)),
                Poll::Pending => break,
            }
            if !self.unread.is_empty() && self.head_since.is_none() {
                let unread = mem::take(&mut self.unread);
                if let Some(next) = self.answer(cx, door, &unread)? {
                    return Poll::Ready(Ok(next));
                }
                continue;
            }
            let mut input = door.input.borrow_mut();
            let mut buffer = ReadBuf::new(&mut input);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer)?;
            if read.is_pending() {
                break;
            }
            let read = buffer.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(Need::End));
            }
            let is_full = buffer.remaining() == 0;
            let next = if self.unread.is_empty() {
                self.answer(cx, door, buffer.filled())?
            } else {
                let known_bytes = self.unread.len();
                self.unread.extend_from_slice(buffer.filled());
                if may_end_head(&self.unread, known_bytes) {
                    let unread = mem::take(&mut self.unread);
                    self.answer(cx, door, &unread)?
                } else {
                    let checked = door.limits.check_incomplete(&self.unread);
                    checked.err().map(Need::Refuse)
                }
            };
            match next {
                Some(next) => return Poll::Ready(Ok(next)),
                // There is more where that came from: one connection must not keep its worker.
                None if is_full => {
                    return match self.poll_time_limits(cx, door, wakers) {
                        Poll::Ready(next) => Poll::Ready(Ok(next)),
                        Poll::Pending => Poll::Ready(Ok(Need::Yield)),
                    };
                }
                None => {}
            }
        }
        self.poll_time_limits(cx, door, wakers).map(Ok)
    }

    /// Answers the requests that were read, as far as memory can and the client accepts the answers;
    /// keeps the rest.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
        read: &[u8],
    ) -> io::Result<Option<Need>> {
        let mut begun = Instant::now();
        let scratch = &mut *door.scratch.borrow_mut();
        // A connection that broke may have left something there.
        scratch.output.clear();
        let (mut at, mut next) = (0, None);
        let mut head_since = self.head_since.take();
        while next.is_none() && self.unsent.is_none() && !self.closes {
            // Line ends between requests are ignored (RFC 9112 §2.2).
            at += blank_bytes(&read[at..]);
            if at == read.len() {
                break;
            }
            // Line ends alone do not keep a connection.
            self.active_at = begun;
            let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
            match Head::parse(&read[at..], &mut fields, door.limits) {
                Ok(Some((head, bytes))) => {
                    self.has_asked = true;
                    head_since = None;
                    let mut exchange = Exchange::begin(door, &head, self.peer, begun);
                    exchange.waited = self.waiting.as_deref().map(Wait::lasted);
                    let mut reason = Reason::AtOnce;
                    let answered = match door.target(&head) {
                        None => None,
                        Some(target) => {
                            let is_stream = matches!(target, Target::Events);
                            exchange.persists &= !is_stream || exchange.is_head();
                            let mut asked = Asked {
                                head: &head,
                                head_bytes: bytes,
                                exchange: &exchange,
                                target,
                            };
                            if is_stream {
                                at += bytes;
                                let events = self.begin_events(cx, door, scratch, &asked)?;
                                next = events.map(Need::Events);
                                continue;
                            }
                            let has_waited = self.waiting.is_some();
                            match self.reason_to_answer(cx, door, &asked) {
                                Some(found) => reason = found,
                                None => break,
                            }
                            if reason == Reason::Refused && !has_waited {
                                // Its client pauses: an idle connection would keep others out like a wait.
                                let target = asked.target;
                                exchange.persists = false;
                                asked = Asked {
                                    head: &head,
                                    head_bytes: bytes,
                                    exchange: &exchange,
                                    target,
                                };
                            }
                            let answered =
                                self.answer_from_memory(cx, door, scratch, &asked, reason);
                            self.end_wait();
                            answered
                        }
                    };
                    at += bytes;
                    match answered {
                        Some(sent) => sent?,
                        None => {
                            let client = exchange.client(door, &head, self.peer);
                            let exchange = exchange.into_owned(client);
                            let request = AppRequest::new(&head, exchange, client, reason);
                            next = Some(match request {
                                Ok(request) => Need::Application(Box::new(request)),
                                Err(error) => Need::Refuse(error),
                            });
                        }
                    }
                }
                Ok(None) => {
                    self.head_since = head_since.or(Some(begun));
                    break;
                }
                Err(error) => next = Some(Need::Refuse(error)),
            }
            // Or all answers to a client that asks much and reads nothing would pile up.
            if scratch.output.len() >= SENT_TOGETHER_BYTES {
                self.send(cx, &mut scratch.output, &Bytes::new())?;
            }
            if at < read.len() {
                begun = Instant::now();
            }
        }
        if !scratch.output.is_empty() {
            self.send(cx, &mut scratch.output, &Bytes::new())?;
        }
        if !self.closes {
            self.unread.extend_from_slice(&read[at..]);
        }
        Ok(next)
    }

    /// Writes an error to the output.
    pub(super) fn reject(
        &mut self,
        door: &Door,
        scratch: &mut Scratch,
        exchange: &Exchange<'_>,
        error: &ApiError,
    ) -> io::Result<()> {
        let persists = exchange.persists && door.lets_persist();
        self.closes |= !persists;
        let response = error.error_response();
        door.write_whole(exchange, response, persists, scratch);
        Ok(())
    }

    /// Refuses a request whose head cannot be read, and closes the connection.
    async fn refuse(&mut self, door: &Door, error: &ApiError) -> io::Result<()> {
        self.flush(door).await?;
        let now = Instant::now();
        log::info!("a request could not be read: {error}");
        let exchange = Exchange::unreadable(self.peer, now);
        {
            let scratch = &mut *door.scratch.borrow_mut();
            scratch.output.clear();
            self.reject(door, scratch, &exchange, error)?;
            self.set_unsent(&mut scratch.output, Bytes::new());
        }
        self.unread = Vec::new();
        self.flush(door).await
    }

    /// Reads more behind the unread bytes. Returns how many there were; 0 at the end.
    pub(super) fn poll_read_more(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
    ) -> Poll<io::Result<usize>> {
        let mut input = door.input.borrow_mut();
        let mut buffer = ReadBuf::new(&mut input);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.active_at = Instant::now();
        self.unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Until when the connection may stay as it is.
    pub(super) fn deadline(&self, door: &Door) -> Instant {
        let settings = &door.handles.settings;
        let ending = door.stopping.ending.get();
        if let Some(unsent) = &self.unsent {
            let timeout = match ending {
                Some(_) => settings.send_timeout.min(STOPPING_SEND_TIMEOUT),
                None => settings.send_timeout,
            };
            return (self.active_at + timeout).min(unsent.deadline(settings));
        }
        if let Some(wait) = &self.waiting {
            return wait.until();
        }
        if let Some(since) = self.head_since {
            return since + settings.head_timeout;
        }
        if !self.has_asked {
            let first_head = self.active_at + settings.head_timeout;
            let stopping = ending.map(|ending| ending + STOPPING_FIRST_HEAD_TIMEOUT);
            return stopping.map_or(first_head, |stopping| first_head.min(stopping));
        }
        ending.unwrap_or(self.active_at + settings.keep_alive)
    }

    /// Ready when the connection has stayed as it is for too long.
    pub(super) fn poll_time_limits(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
        wakers: &mut Wakers<'_, '_>,
    ) -> Poll<Need> {
        // Each waker is polled once, to know this task, and then not before it has something to say:
        // most wakes are for a request.
        let is_first = !mem::replace(&mut wakers.are_set, true);
        if is_first {
            let _ = poll_unconstrained(wakers.stopping.as_mut(), cx);
        }
        let mut deadline = self.deadline(door);
        let mut is_due = wakers.alarm.is_elapsed();
        if deadline < wakers.alarm.deadline().into_std() {
            wakers.alarm.as_mut().reset(deadline.into());
            is_due = true;
        }
        while is_first || is_due {
            if poll_unconstrained(wakers.alarm.as_mut(), cx).is_pending() {
                break;
            }
            let now = Instant::now();
            if was_missed_by_server(deadline, now) {
                self.active_at = now;
                self.head_since = self.head_since.map(|_| now);
                deadline = self.deadline(door);
            }
            if now >= deadline {
                return Poll::Ready(self.expire());
            }
            wakers.alarm.as_mut().reset(deadline.into());
            is_due = true;
        }
        Poll::Pending
    }

    fn expire(&mut self) -> Need {
        if self.unsent.is_some() {
            reset_when_closed(&self.stream);
            return Need::End;
        }
        if let Some(wait) = &mut self.waiting {
            wait.expire();
            return Need::Yield;
        }
        if self.head_since.take().is_some() {
            return Need::Refuse(ApiError::HeadTimeout);
        }
        Need::End
    }

    /// Says that nothing more comes, and reads a little of what the client still sends.
    async fn linger(&mut self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
        let drained = async {
            let mut left = LINGER_BYTES;
            let mut input = [0; 1024];
            while left > 0 {
                let mut buffer = ReadBuf::new(&mut input);
                poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).await?;
                if buffer.filled().is_empty() {
                    return Ok(());
                }
                left = left.saturating_sub(buffer.filled().len());
            }
            // Enough was read; the rest of the time is the client's to read the answer.
            std::future::pending().await
        };
        match tokio::time::timeout(LINGER_TIMEOUT, drained).await {
            Ok(ended) => ended,
            Err(_) => Ok(()),
        }
    }
}

/// Polls a future even if this task has used up its turn: it must know the task, or it would never wake it.
fn poll_unconstrained<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    pin!(unconstrained(future)).poll(cx)
}

/// Whether a time limit was noticed so late that the server is to blame.
pub(super) fn was_missed_by_server(deadline: Instant, now: Instant) -> bool {
    now.saturating_duration_since(deadline) >= STALL
}

/// How many bytes at the beginning are line ends.
fn blank_bytes(read: &[u8]) -> usize {
    let is_other = |byte: &u8| *byte != b'\r' && *byte != b'\n';
    read.iter().position(is_other).unwrap_or(read.len())
}

/// Whether an empty line may end behind the first `known_bytes` bytes, which have none.
fn may_end_head(read: &[u8], known_bytes: usize) -> bool {
    let from = known_bytes.saturating_sub(3);
    let mut ends = read[from..].windows(2);
    ends.any(|pair| pair == b"\n\n") || {
        let mut ends = read[from..].windows(3);
        ends.any(|three| three == b"\n\r\n")
    }
}
