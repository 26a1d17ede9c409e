//! Requests that are answered when something changes: how a connection waits with one (WIRE.md, "Waiting").
//!
//! The head of such a request stays unread until it is due; then it is read and answered like any other. So a wait
//! costs its head's bytes and an entry among the worker's waiters, and an answer after a wait is no other code.

use std::{
    io, mem,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::{
    Door, INPUT_BYTES,
    connection::Connection,
    memory::{Asked, Target},
};
use crate::{
    domain::position::Position,
    http::{
        query::Changes,
        waiting::{Reason, Registered, Slots, Topic, WaitPermit},
    },
    metrics::{Metrics, WaitOutcome},
};

/// A longer head does not wait: this is what one waiting request may take.
const MAX_HEAD_BYTES: usize = 2048;

/// A request that waits; its head is at the beginning of the unread bytes.
#[derive(Debug)]
pub(super) struct Wait {
    after: Position,
    /// When it is answered even without news.
    until: Instant,
    /// When what it waits for changed. It is still spread over `wait_jitter` then.
    changed_at: Option<Instant>,
    /// Present once it is over.
    outcome: Option<WaitOutcome>,
    metrics: Metrics,
    _registered: Registered,
    _permit: WaitPermit,
}

impl Wait {
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Ends it because its time is over.
    pub(super) fn expire(&mut self) {
        self.outcome = Some(match self.changed_at {
            Some(_) => WaitOutcome::Changed,
            None => WaitOutcome::Unchanged,
        });
    }

    /// Returns whether it is over: there is news, or the server stops.
    fn is_over(&mut self, door: &Door) -> bool {
        if self.outcome.is_none() {
            if door.is_closing() {
                self.expire();
            } else if self.changed_at.is_none()
                && let Some(changed_at) = door.changed_since(self.after)
            {
                self.changed_at = Some(changed_at);
                let jitter = door.handles.settings.waiting.wait_jitter;
                if jitter.is_zero() {
                    self.expire();
                } else {
                    let answered_at = Instant::now() + part_of(jitter);
                    self.until = self.until.min(answered_at);
                }
            }
        }
        self.outcome.is_some()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(WaitOutcome::Gone);
        self.metrics.wait_ended(outcome);
        if outcome == WaitOutcome::Changed
            && let Some(changed_at) = self.changed_at
        {
            self.metrics.woken_after(changed_at.elapsed());
        }
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
        if self.waiting.is_some() {
            // It has waited already.
            return Some(Reason::Due);
        }
        let (after, left) = match door.wants_to_wait(&asked.target) {
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
            after,
            until: Instant::now() + left + part_of(spread),
            changed_at: None,
            outcome: None,
            metrics: door.handles.metrics.clone(),
            _registered: door.waiters.register(Topic::Board, cx.waker().clone()),
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
        // Further requests are left to the kernel when there are many: their client is there.
        while self.unread.len() <= MAX_HEAD_BYTES + INPUT_BYTES {
            if ready!(self.poll_read_more(cx, door))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Pending
    }

    /// Ends the wait of the request that was just answered.
    pub(super) fn end_wait(&mut self) {
        drop(mem::take(&mut self.waiting));
    }
}

impl Door {
    /// Returns what a request waits for, and for how long.
    ///
    /// # Errors
    /// Why it is answered now.
    fn wants_to_wait(&self, target: &Target<'_>) -> Result<(Position, Duration), Reason> {
        let Target::Changes(Changes {
            after: Some(after),
            slot: Some(slot),
        }) = target
        else {
            return Err(Reason::AtOnce);
        };
        let slots = Slots::new(self.handles.settings.waiting.wait_slot);
        let left = slots.left(*slot, self.handles.board.wall());
        let left = left.filter(|_| !self.is_closing()).ok_or(Reason::AtOnce)?;
        match self.changed_since(*after) {
            Some(_) => Err(Reason::Due),
            None => Ok((*after, left)),
        }
    }

    /// Returns when the board changed that a client has at this position, if it did. A board of another lineage has
    /// changed. An older one, as of a server that is behind, has not.
    fn changed_since(&self, after: Position) -> Option<Instant> {
        let news = self.handles.board.news()?;
        let is_newer =
            news.position.lineage != after.lineage || news.position.number > after.number;
        is_newer.then_some(news.changed_at)
    }
}

/// Returns a random part of a time.
pub(super) fn part_of(time: Duration) -> Duration {
    time.mul_f64(fastrand::f64())
}
