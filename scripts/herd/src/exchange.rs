//! One poll: requests until a response, a final failure or the end of the run.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use fastrand::Rng;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use tokio::time::{Instant, timeout_at};

use crate::{
    answer::{Answer, Failed},
    connections::Connections,
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
            self.tally.borrow_mut().retried(failure);
        }
        None
    }

    /// Sends one request, unless the limits leave it no turn before the end of the run.
    async fn attempt<T>(
        &self,
        origin: &Arc<Origin>,
        keep: Keep,
        request: &impl Fn() -> Outgoing,
        read: &mut impl FnMut(&Answer) -> Result<T, Failed>,
    ) -> Result<(Answer, T), Failed> {
        let limit = Cell::new(Limit::Connections);
        let held_back = |by| {
            limit.set(by);
            self.tally.borrow_mut().held_back(by);
        };
        let admitted = async {
            let for_connection = || held_back(Limit::Connections);
            let place = self.connections.place(origin, for_connection).await;
            let permit = self.limits.admit(&self.timer, held_back).await?;
            Some((place, permit))
        };
        let admitted = timeout_at(self.limits.end, admitted).await;
        let Ok(Some((place, _permit))) = admitted else {
            let detail = format!("{} left no turn before the end of the run", limit.get());
            return Err(Failed::new(Reason::NotSent, detail));
        };
        let sent = Instant::now();
        self.tally.borrow_mut().sent(sent);
        let conditional = Cell::new(false);
        let request = || {
            let request = request();
            let fields = request.headers();
            let conditions = [IF_NONE_MATCH, IF_MODIFIED_SINCE];
            conditional.set(conditions.iter().any(|name| fields.contains_key(name)));
            request
        };
        let answer = self.connections.send(place, keep, request);
        let answer = match timeout_at(sent + self.policy.timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out()),
        };
        let now = Instant::now();
        // A busy thread may check the timer only after a late response has arrived: that is a timeout too.
        let answer = match answer {
            Ok(_) if now - sent > self.policy.timeout => Err(timed_out()),
            answer => answer,
        };
        self.tally
            .borrow_mut()
            .ended(sent, now, answer.as_ref().ok());
        let answered = answer.and_then(|answer| match answer.failure(conditional.get()) {
            Some(failed) => Err(failed),
            None => read(&answer).map(|value| (answer, value)),
        });
        let mut tally = self.tally.borrow_mut();
        tally.reopened(self.connections.take_reopened());
        if let Err(failed) = &answered {
            tally.unanswered(now, failed);
        }
        drop(tally);
        answered
    }
}

fn timed_out() -> Failed {
    Failed::new(Reason::TimedOut, "no complete response in time")
}
