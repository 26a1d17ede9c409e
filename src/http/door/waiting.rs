//! Requests that are answered when something changes: how a connection waits with one (WIRE.md, "Waiting").
//!
//! The head of such a request stays unread until it is due; then it is read and answered like any other. So a wait
//! costs its head's bytes and an entry among the worker's waiters, and an answer after a wait is no other code.

use std::{
    cmp::Ordering,
    io, mem,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::{
    Door,
    connection::Connection,
    memory::{Asked, Target},
};
use crate::{
    domain::position::Position,
    feed::SeqPage,
    http::{
        query::{Changes, FeedQuery},
        waiting::{Reason, Registered, Slots, Topic, WaitPermit},
    },
    metrics::WaitOutcome,
};

/// A longer head does not wait, nor one with more than as much behind it: what waits must be kept.
const MAX_HEAD_BYTES: usize = 1280;

/// How long a request waits for a page that has changed, before it asks for it by itself.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
enum Awaited {
    /// A board that is newer.
    Board(Position),
    /// Eval runs after the end of the feed.
    Page(SeqPage),
}

/// A request that waits; its head is at the beginning of the unread bytes.
#[derive(Debug)]
pub(super) struct Wait {
    awaited: Awaited,
    since: Instant,
    /// When it is answered even without news.
    until: Instant,
    /// When what it waits for changed. It is still spread over `wait_jitter` then.
    changed_at: Option<Instant>,
    /// Present once it is over.
    outcome: Option<WaitOutcome>,
    registered: Registered,
    _permit: WaitPermit,
}

impl Wait {
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Returns how long it has lasted.
    pub(super) fn lasted(&self) -> Duration {
        self.since.elapsed()
    }

    /// Ends it because its time is over.
    pub(super) fn expire(&mut self) {
        self.outcome = Some(match self.changed_at {
            Some(_) => WaitOutcome::Changed,
            None => WaitOutcome::Unchanged,
        });
    }

    /// Returns why its request is answered, once it is over.
    fn reason(&self) -> Reason {
        match self.outcome {
            Some(WaitOutcome::Changed) => Reason::Newer,
            Some(WaitOutcome::Refused) => Reason::Refused,
            Some(_) | None if Instant::now() < self.until => Reason::Stopping,
            Some(_) | None => Reason::Due,
        }
    }

    /// Returns whether it is over: there is news, or the server stops.
    fn is_over(&mut self, door: &Door) -> bool {
        if self.outcome.is_none() && (door.is_closing() || self.has_news(door)) {
            self.expire();
        }
        self.outcome.is_some()
    }

    /// Returns whether there is news, to be told now.
    fn has_news(&mut self, door: &Door) -> bool {
        let jitter = door.handles.settings.waiting.wait_jitter;
        if self.changed_at.is_none() {
            self.changed_at = door.changed_since(self.awaited);
            if self.changed_at.is_none() {
                return false;
            }
            let answered_at = match self.awaited {
                Awaited::Page(_) if jitter.is_zero() => Instant::now() + PAGE_TIMEOUT,
                Awaited::Page(_) | Awaited::Board(_) => Instant::now() + part_of(jitter),
            };
            self.until = self.until.min(answered_at);
        }
        jitter.is_zero() && door.is_in_memory(self.awaited)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(WaitOutcome::Gone);
        self.registered.count(outcome, self.changed_at);
    }
}

impl Connection {
    /// Decides whether a request for news is answered now, and why. Returns `None` if it waits from now on.
    pub(super) fn reason_to_answer(
        &mut self,
        cx: &Context<'_>,
        door: &Door,
        asked: &Asked<'_, '_, '_>,
    ) -> Option<Reason> {
        if let Some(wait) = &self.waiting {
            // A cache must not give clients an older board than they have.
            let is_behind = door.is_behind(wait.awaited);
            let reason = if is_behind {
                Reason::AtOnce
            } else {
                wait.reason()
            };
            return Some(reason);
        }
        let (awaited, left) = match door.wants_to_wait(&asked.target) {
            Ok(wanted) => wanted,
            Err(reason) => return Some(reason),
        };
        let waits = &door.handles.waits;
        let permit = || waits.admit(asked.exchange.client(door, asked.head, self.peer));
        let Some(permit) = (asked.head_bytes <= MAX_HEAD_BYTES).then(permit).flatten() else {
            door.handles.metrics.wait_ended(WaitOutcome::Refused);
            return Some(Reason::Refused);
        };
        let spread = Slots::new(door.handles.settings.waiting.wait_slot).margin();
        self.waiting = Some(Box::new(Wait {
            awaited,
            since: Instant::now(),
            until: Instant::now() + left + part_of(spread),
            changed_at: None,
            outcome: None,
            registered: door.waiters.register(awaited.topic(), cx.waker().clone()),
            _permit: permit,
        }));
        None
    }

    /// Ready when the request that waits is due, or, with false, when the client has gone.
    pub(super) fn poll_waiting(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
    ) -> Poll<io::Result<bool>> {
        let Some(wait) = &mut self.waiting else {
            return Poll::Ready(Ok(true));
        };
        if wait.is_over(door) {
            return Poll::Ready(Ok(true));
        }
        while self.unread.len() <= 2 * MAX_HEAD_BYTES {
            if ready!(self.poll_read_more(cx, door))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        // Whether a client that sends so much has gone could only be seen behind it.
        if let Some(wait) = &mut self.waiting {
            wait.outcome = Some(WaitOutcome::Refused);
        }
        Poll::Ready(Ok(true))
    }

    /// Ends the wait of the request that was just answered.
    pub(super) fn end_wait(&mut self) {
        drop(mem::take(&mut self.waiting));
    }
}

impl Awaited {
    fn topic(self) -> Topic {
        match self {
            Self::Board(_) => Topic::Board,
            Self::Page(page) => Topic::Feed(page),
        }
    }
}

impl Door {
    /// Returns what a request waits for, and for how long.
    ///
    /// # Errors
    /// Why it is answered now.
    fn wants_to_wait(&self, target: &Target<'_>) -> Result<(Awaited, Duration), Reason> {
        let (awaited, slot) = match target {
            Target::Changes(Changes {
                after: Some(after),
                slot: Some(slot),
            }) => (Awaited::Board(*after), *slot),
            Target::Page(FeedQuery {
                key,
                slot: Some(slot),
            }) => match key.seq_page() {
                Some(page) => (Awaited::Page(page), *slot),
                None => return Err(Reason::AtOnce),
            },
            Target::Board
            | Target::Changes(_)
            | Target::Current(_)
            | Target::Page(_)
            | Target::Events
            | Target::Formula(_)
            | Target::JwkSet => return Err(Reason::AtOnce),
        };
        if self.is_closing() {
            return Err(Reason::Stopping);
        }
        if self.changed_since(awaited).is_some() {
            return Err(Reason::Newer);
        }
        let slots = Slots::new(self.handles.settings.waiting.wait_slot);
        let left = slots.left(slot, self.handles.board.wall());
        // A client that goes from server to server must not be sent back to what it had before.
        let left = left.or_else(|| self.is_behind(awaited).then(|| slots.margin()));
        Ok((awaited, left.ok_or(Reason::AtOnce)?))
    }

    /// Returns how this server's board stands to one that a client has; `None` if they cannot be compared.
    fn compare(&self, after: Position) -> Option<Ordering> {
        self.handles.board.news()?.position.order(after)
    }

    /// Returns whether the client has a newer board than this server, which has not noticed the last change yet.
    fn is_behind(&self, awaited: Awaited) -> bool {
        match awaited {
            Awaited::Board(after) => self.compare(after) == Some(Ordering::Less),
            Awaited::Page(_) => false,
        }
    }

    /// Returns when that changed, if it did.
    fn changed_since(&self, awaited: Awaited) -> Option<Instant> {
        match awaited {
            // A board that cannot be compared counts as changed.
            Awaited::Board(after) => {
                let is_newer = self.compare(after).is_none_or(Ordering::is_gt);
                let news = self.handles.board.news()?;
                is_newer.then_some(news.changed_at)
            }
            // While the end of the feed is not known, nothing is known to have changed.
            Awaited::Page(page) => {
                let news = self.handles.feed.news();
                let is_newer = page.cursor.may_precede(news.end?);
                is_newer.then_some(news.changed_at)
            }
        }
    }

    /// Returns whether what has changed can be answered from memory.
    fn is_in_memory(&self, awaited: Awaited) -> bool {
        match awaited {
            Awaited::Board(_) => true,
            Awaited::Page(page) => self.handles.feed.cached(&page.key()).is_some(),
        }
    }
}

/// Returns a random part of a time.
pub(super) fn part_of(time: Duration) -> Duration {
    time.mul_f64(fastrand::f64())
}
