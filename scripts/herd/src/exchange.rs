//! One poll: requests until a response, a final failure or the end of the run.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use tokio::time::{Instant, timeout_at};

use crate::{
    answer::{Answer, Failed},
    connections::{Connections, Lost, Place},
    course::Course,
    failures::Reason,
    limits::{Limit, Limits},
    plan::RequestPolicy,
    response::Keep,
    retry::Failure,
    tally::Tally,
    target::{Origin, Outgoing},
    timer::Timer,
};

/// The state with which one client sends its requests.
pub(super) struct Exchange {
    /// Its connections.
    pub connections: Connections,
    /// Counters.
    pub tally: Rc<RefCell<Tally>>,
    /// Timeout and retries.
    pub policy: RequestPolicy,
    /// Limits that all clients share.
    pub limits: Rc<Limits>,
    /// The timer of the shard.
    pub timer: Timer,
    /// Random numbers for waits.
    pub rng: RefCell<Rng>,
}

impl Exchange {
    /// Sends the request until it gets 2xx, or 304 to a conditional one, or until the policy allows no further retry, and
    /// counts all attempts. Returns `None` if the poll failed.
    pub(super) async fn poll(
        &self,
        due: Instant,
        origin: &Arc<Origin>,
        keep: Keep,
        request: impl Fn() -> Outgoing,
    ) -> Option<Answer> {
        let read = |_: &Answer| Ok(());
        let answered = self.poll_and_read(due, origin, keep, request, read).await;
        answered.map(|(answer, ())| answer)
    }

    /// Like [`Self::poll`]; also reads the body, which is kept. A body that `read` rejects, with the reason, is no answer,
    /// and there is no retry.
    pub(super) async fn poll_and_read<T>(
        &self,
        due: Instant,
        origin: &Arc<Origin>,
        keep: Keep,
        request: impl Fn() -> Outgoing,
        mut read: impl FnMut(&Answer) -> Result<T, Failed>,
    ) -> Option<(Answer, T)> {
        self.tally.borrow_mut().started(due, Instant::now());
        let answer = self
            .until_answered(due, origin, keep, &request, &mut read)
            .await;
        let mut tally = self.tally.borrow_mut();
        match &answer {
            Some(_) => tally.answered(due, Instant::now()),
            None => tally.failed(due),
        }
        answer
    }

    async fn until_answered<T>(
        &self,
        due: Instant,
        origin: &Arc<Origin>,
        keep: Keep,
        request: &impl Fn() -> Outgoing,
        read: &mut impl FnMut(&Answer) -> Result<T, Failed>,
    ) -> Option<(Answer, T)> {
        for retries in 0.. {
            let failed = match self.attempt(origin, keep, request, read).await {
                Ok(answer) => return Some(answer),
                Err(failed) if failed.reason == Reason::NotSent => {
                    if retries == 0 {
                        self.tally.borrow_mut().not_sent(due, &failed.detail);
                    }
                    return None;
                }
                Err(failed) => failed,
            };
            let failure = Failure::of(failed.reason, failed.retry_after)?;
            let wait = self
                .policy
                .retry
                .wait(failure, retries, &mut self.rng.borrow_mut())?;
            let at = Instant::now() + wait;
            if at >= self.limits.end {
                return None;
            }
            self.timer.until(at).await;
            self.tally.borrow_mut().requests.retried(failure);
        }
        None
    }

    /// Sends one request, and sends it again while the server says not to have processed it, unless the limits leave it no
    /// turn before the end of the run.
    async fn attempt<T>(
        &self,
        origin: &Arc<Origin>,
        keep: Keep,
        request: &impl Fn() -> Outgoing,
        read: &mut impl FnMut(&Answer) -> Result<T, Failed>,
    ) -> Result<(Answer, T), Failed> {
        let mut place = self.turn(origin).await?;
        let conditional = Cell::new(false);
        let request = || {
            let request = request();
            let fields = request.headers();
            let conditions = [IF_NONE_MATCH, IF_MODIFIED_SINCE];
            conditional.set(conditions.iter().any(|name| fields.contains_key(name)));
            request
        };
        // For all of them together, as the client knows of one request only.
        let mut left = self.policy.timeout;
        loop {
            let course = Course::default();
            let sent = Instant::now();
            let answer = self.send(place, keep, &request, left, &course).await;
            let now = Instant::now();
            left = left.saturating_sub(now - sent);
            let lost = match answer {
                Ok(answer) => {
                    let answered = match answer.failure(conditional.get()) {
                        Some(failed) => Err(failed),
                        None => read(&answer).map(|value| (answer, value)),
                    };
                    return answered.inspect_err(|failed| self.unanswered(now, failed, &course));
                }
                Err(lost) => lost,
            };
            let Lost { mut failed, again } = lost;
            let again = again.filter(|_| !left.is_zero());
            if let Some(again) = again {
                if self.may_repeat(sent, &course).await {
                    place = again;
                    continue;
                }
                failed.detail += "; --max-rate left no turn to send it again";
            }
            if failed.reason == Reason::OutOfResources && !course.is_written() {
                self.tally.borrow_mut().taken_back(sent);
            }
            self.unanswered(now, &failed, &course);
            return Err(failed);
        }
    }

    /// Waits until the limits allow another request.
    ///
    /// # Errors
    /// [`Reason::NotSent`] if that is not before the end of the run.
    async fn turn(&self, origin: &Arc<Origin>) -> Result<Place, Failed> {
        let limit = Cell::new(Limit::Connections);
        let held_back = |by| {
            limit.set(by);
            self.tally.borrow_mut().requests.held_back(by);
        };
        let turn = async {
            let for_connection = || held_back(Limit::Connections);
            let place = self.connections.place(origin, for_connection).await;
            let at = self.limits.reserve(Instant::now());
            if at > Instant::now() {
                held_back(Limit::Rate);
                self.timer.until(at).await;
            }
            place
        };
        let turn = timeout_at(self.limits.end, turn).await;
        turn.map_err(|_| {
            let detail = format!("{} left no turn before the end of the run", limit.get());
            Failed::new(Reason::NotSent, detail)
        })
    }

    /// Sends a request once, and counts it.
    async fn send(
        &self,
        place: Place,
        keep: Keep,
        request: &impl Fn() -> Outgoing,
        timeout: Duration,
        course: &Course,
    ) -> Result<Answer, Lost> {
        let sent = Instant::now();
        self.tally.borrow_mut().begun(sent);
        let answer = self.connections.send(place, keep, request, course);
        let answer = timeout_at(sent + timeout, answer).await;
        let now = Instant::now();
        let answer = match answer {
            // A busy thread may check the timer only after a late response has arrived: that is a timeout too.
            Ok(Ok(_)) if now - sent > timeout => {
                Err(Failed::new(Reason::TimedOut, "the response was complete too late").into())
            }
            Ok(answer) => answer,
            Err(_) => Err(course.timed_out().into()),
        };
        let mut tally = self.tally.borrow_mut();
        if course.was_held_back() {
            tally.requests.held_back(Limit::Connections);
        }
        tally.ended(sent, now, answer.as_ref().ok(), course);
        answer
    }

    /// Counts a request, sent at `sent`, that can be sent again, and waits for its turn. Returns whether that is before the
    /// end of the run. One that was not written yet has had its turn.
    async fn may_repeat(&self, sent: Instant, course: &Course) -> bool {
        if !course.is_written() {
            self.tally.borrow_mut().taken_back(sent);
            self.tally.borrow_mut().requests.reopened();
            return true;
        }
        let at = self.limits.reserve(Instant::now());
        if at >= self.limits.end {
            return false;
        }
        self.tally.borrow_mut().requests.sent_again();
        self.tally.borrow_mut().requests.reopened();
        if at > Instant::now() {
            self.tally.borrow_mut().requests.held_back(Limit::Rate);
            self.timer.until(at).await;
        }
        true
    }

    fn unanswered(&self, now: Instant, failed: &Failed, course: &Course) {
        let mut tally = self.tally.borrow_mut();
        tally.unanswered(now, failed, course.phase());
    }
}
