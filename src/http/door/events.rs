//! /v1/events: server-sent events (HTML Standard, §9.2) that say that something changed (WIRE.md).
//!
//! They name what changed and do not carry it: the board and the feed come cached and encoded from their own URLs. So a
//! client that reads slowly misses nothing but a notice that a later one replaces, and a stream needs no queue.

use std::{
    fmt::Write as _,
    future::poll_fn,
    io,
    pin::pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::sleep_until;

use super::{
    Door, Scratch,
    connection::Connection,
    exchange::{Exchange, Outcome, write_pieces},
    memory::Asked,
    waiting::part_of,
};
use crate::{
    domain::{position::Position, seq_cursor::SeqCursor},
    http::{
        error::ApiError,
        waiting::{Registered, Topic, WaitPermit},
    },
};

/// How long a stream lasts, give or take a tenth: then the client connects anew, perhaps to another server.
const LASTS: Duration = Duration::from_secs(600);
/// A comment is sent so many times in five slots, so that proxies, which must allow a slot, see that the stream lives.
const COMMENTS_IN_FIVE_SLOTS: u32 = 8;
/// How long a client should pause before it connects anew.
const RETRY: Duration = Duration::from_millis(3000);
/// How long a client should pause if too many wait.
const REFUSED_FOR: Duration = Duration::from_secs(5);

const HEAD: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "content-type: text/event-stream\r\n",
    "x-content-type-options: nosniff\r\n",
    "cache-control: no-store\r\n",
    // nginx would keep notices until its buffer is full.
    "x-accel-buffering: no\r\n",
];

/// A stream of events.
#[derive(Debug)]
pub(super) struct Events {
    told: Told,
    ends_at: Instant,
    comment_at: Instant,
    /// Until when a change is not told yet: `wait_jitter`.
    quiet_until: Option<Instant>,
    _registered: Registered,
    _permit: WaitPermit,
}

/// What the client knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    board: Option<Position>,
    feed: Option<SeqCursor>,
}

impl Told {
    /// Parses the id of an event. An invalid one is that of a client which knows nothing.
    fn parse(id: &[u8]) -> Self {
        let id = std::str::from_utf8(id).unwrap_or_default().trim();
        let (board, feed) = id.split_once('/').unwrap_or_default();
        Self {
            board: board.parse().ok(),
            feed: SeqCursor::parse(feed).ok(),
        }
    }

    /// Writes the id of an event after which a client knows this, and the event's name and data. Writing to a string
    /// does not fail.
    fn write_event(self, name: &str, data: &serde_json::Value, text: &mut String) {
        let board = self.board.map(|board| board.to_string());
        let feed = self.feed.map(|feed| feed.to_string());
        let [board, feed] = [board, feed].map(|known| known.unwrap_or_else(|| "-".to_owned()));
        let _ = write!(text, "id: {board}/{feed}\nevent: {name}\ndata: {data}\n\n");
    }
}

impl Connection {
    /// Answers a request for events: writes the head, and returns the stream that follows.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(super) fn begin_events(
        &mut self,
        cx: &Context<'_>,
        door: &Door,
        scratch: &mut Scratch,
        asked: &Asked<'_, '_, '_>,
    ) -> io::Result<Option<Box<Events>>> {
        let Asked { head, exchange, .. } = asked;
        if let Err(refused) = exchange.admit(door) {
            self.reject(door, scratch, exchange, &refused)?;
            return Ok(None);
        }
        if exchange.is_head() {
            let persists = exchange.persists && door.lets_persist();
            self.closes |= !persists;
            door.write_events_head(exchange, persists, scratch);
            return Ok(None);
        }
        let client = exchange.client(door, head, self.peer);
        let Some(permit) = door.handles.waits.admit(client) else {
            let retry_after = REFUSED_FOR;
            self.reject(
                door,
                scratch,
                exchange,
                &ApiError::Unavailable { retry_after },
            )?;
            return Ok(None);
        };
        door.write_events_head(exchange, false, scratch);
        let retry = (RETRY + part_of(RETRY)).as_millis().to_string();
        write_pieces(&mut scratch.output, &["retry: ", &retry, "\n\n"]);
        let now = Instant::now();
        let last = head.lines("last-event-id").next_back();
        Ok(Some(Box::new(Events {
            told: last.map(Told::parse).unwrap_or_default(),
            ends_at: now + LASTS + part_of(LASTS / 10),
            comment_at: now + door.comment_every(),
            quiet_until: None,
            _registered: door.waiters.register(Topic::All, cx.waker().clone()),
            _permit: permit,
        })))
    }

    /// Sends events until the stream ends.
    ///
    /// # Errors
    /// If the connection breaks, or the client accepts nothing for too long.
    pub(super) async fn stream_events(
        &mut self,
        door: &Door,
        mut events: Box<Events>,
    ) -> io::Result<()> {
        let mut alarm = pin!(sleep_until(events.next_at().into()));
        loop {
            self.flush(door).await?;
            let now = Instant::now();
            if door.is_closing() || now >= events.ends_at {
                break;
            }
            let mut text = events.notices(door, now).into_bytes();
            if !text.is_empty() {
                self.set_unsent(&mut text, Bytes::new());
                continue;
            }
            alarm.as_mut().reset(events.next_at().into());
            let is_gone = poll_fn(|cx| {
                if let Poll::Ready(read) = self.poll_read_more(cx, door)? {
                    // What a client still sends is nothing that this connection could answer.
                    self.unread.clear();
                    return Poll::Ready(io::Result::Ok(read == 0));
                }
                let is_due = door.is_closing() || events.has_news(door);
                if is_due || alarm.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(false));
                }
                Poll::Pending
            });
            if is_gone.await? {
                break;
            }
        }
        self.closes = true;
        Ok(())
    }
}

impl Events {
    /// When the stream must be looked at, even if nothing changes.
    fn next_at(&self) -> Instant {
        let at = self.ends_at.min(self.comment_at);
        self.quiet_until
            .map_or(at, |quiet_until| at.min(quiet_until))
    }

    /// Whether there is a change that is neither told nor about to be.
    fn has_news(&self, door: &Door) -> bool {
        self.quiet_until.is_none() && self.told != door.present(self.told)
    }

    /// Returns the events that are due: notices of changes, or a comment.
    fn notices(&mut self, door: &Door, now: Instant) -> String {
        let mut text = String::new();
        if self.told != door.present(self.told) {
            let jitter = door.handles.settings.waiting.wait_jitter;
            let quiet_until = *self
                .quiet_until
                .get_or_insert_with(|| now + part_of(jitter));
            if now >= quiet_until {
                self.quiet_until = None;
                self.tell(door, &mut text);
            }
        }
        if now >= self.comment_at {
            text.push_str(":\n\n");
        }
        if !text.is_empty() {
            self.comment_at = now + door.comment_every();
        }
        text
    }

    fn tell(&mut self, door: &Door, text: &mut String) {
        let board = door.handles.board.try_read(|published, _| {
            let tag = published.board().etag().to_string();
            (published.news.position, tag)
        });
        if let Some((position, tag)) = board
            && self.told.board.replace(position) != Some(position)
        {
            let data = serde_json::json!({ "etag": tag });
            self.told.write_event("board", &data, text);
        }
        if let Some(end) = door.handles.feed.news().end
            && self.told.feed.replace(end) != Some(end)
        {
            let data = serde_json::json!({ "next_since_seq": end.to_string() });
            self.told.write_event("feed", &data, text);
        }
    }
}

impl Door {
    /// What a client knows that has been told everything. What is unknown now, as the feed while the database cannot be
    /// read, is taken to be as the client knows it.
    fn present(&self, told: Told) -> Told {
        Told {
            board: self
                .handles
                .board
                .news()
                .map(|news| news.position)
                .or(told.board),
            feed: self.handles.feed.news().end.or(told.feed),
        }
    }

    fn comment_every(&self) -> Duration {
        5 * self.handles.settings.waiting.wait_slot / COMMENTS_IN_FIVE_SLOTS
    }

    fn write_events_head(&self, exchange: &Exchange<'_>, persists: bool, scratch: &mut Scratch) {
        let Scratch { output, date, .. } = scratch;
        write_pieces(output, HEAD);
        let outcome = Outcome {
            status: 200,
            body_bytes: 0,
            persists,
        };
        self.end_head(exchange, outcome, date, output);
    }
}
