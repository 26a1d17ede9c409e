//! A client that polls.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use http::{
    StatusCode,
    header::{HeaderValue, IF_NONE_MATCH},
};
use tokio::{
    task::{JoinSet, consume_budget, yield_now},
    time::Instant,
};

use crate::{
    answer::Answer,
    by_target,
    config::Arrival,
    exchange::Exchange,
    news::Seen,
    plan::Pollers,
    response::Keep,
    target::{Outgoing, Target},
};

/// A poller, with the validator of its last response.
pub(super) struct Poller {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The plan of all pollers.
    pub plan: Rc<Pollers>,
    /// What it knows of each target.
    pub known: RefCell<Vec<Known>>,
    /// Number of polls so far.
    pub polls: Cell<u64>,
    /// Where in the mix of targets it begins, from 0 to 1.
    pub phase: f64,
    /// What it has seen of what was written.
    pub seen: RefCell<Seen>,
}

/// The last response with a body of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    etag: Option<HeaderValue>,
    bytes: u64,
}

impl Poller {
    /// Polls at these times.
    pub(super) async fn run(self: Rc<Self>, due: impl Iterator<Item = Instant>) {
        match self.plan.arrival {
            Arrival::Open => self.run_open(due).await,
            Arrival::Loop => self.run_loop(due).await,
        }
    }

    async fn run_open(self: Rc<Self>, due: impl Iterator<Item = Instant>) {
        let client = self;
        let mut in_flight = JoinSet::new();
        for due in due {
            client.exchange.timer.until(due).await;
            let Some(room) = client.exchange.limits.room() else {
                by_target::count(client.index(client.polls.get()), || {
                    client.exchange.tally.borrow_mut().turned_away(due);
                });
                // The others come first, however many polls are due.
                yield_now().await;
                continue;
            };
            let client = Rc::clone(&client);
            in_flight.spawn_local(async move {
                client.poll(due).await;
                drop(room);
            });
            consume_budget().await;
            while in_flight.try_join_next().is_some() {}
        }
        while in_flight.join_next().await.is_some() {}
    }

    async fn run_loop(&self, due: impl Iterator<Item = Instant>) {
        let mut last = None;
        for due in due {
            match last {
                Some((free, answered)) if due < free => {
                    let free = Some(free).filter(|_| answered);
                    let last = self.polls.get().saturating_sub(1);
                    by_target::count(self.index(last), || {
                        self.exchange.tally.borrow_mut().missed(due, free);
                    });
                }
                Some(_) | None => {
                    self.exchange.timer.until(due).await;
                    let answered = self.poll(due).await;
                    last = Some((Instant::now(), answered));
                }
            }
        }
    }

    /// Polls from `first` on, each time as soon as the response is there (a closed loop), at most `polls` times.
    pub(super) async fn saturate(self: Rc<Self>, first: Instant, polls: Option<u64>) {
        self.exchange.timer.until(first).await;
        let is_next = || polls.is_none_or(|most| self.polls.get() < most);
        while is_next() && Instant::now() < self.exchange.limits.end {
            self.poll(Instant::now()).await;
        }
    }

    /// Sends one poll; returns whether it succeeded.
    async fn poll(&self, due: Instant) -> bool {
        let keep = match self.seen.borrow().wanted() {
            true => Keep::Body,
            false => Keep::Nothing,
        };
        let polls = &self.plan.polls;
        let number = self.polls.replace(self.polls.get() + 1);
        let index = self.index(number);
        let target = polls.target(index);
        let answer = self
            .exchange
            .poll(due, &target.origin, keep, || self.request(index, target));
        let answer = by_target::poll(index, answer).await;
        let answered = answer.is_some();
        if let Some(answer) = answer {
            self.remember(index, answer);
        }
        answered
    }

    /// Returns the index of the target of poll `number` of this client.
    fn index(&self, number: u64) -> usize {
        self.plan.polls.mix.index(self.phase, number)
    }

    fn request(&self, index: usize, target: &Target) -> Outgoing {
        let mut request = self.plan.polls.request(target);
        if self.plan.polls.conditional {
            let known = self.known.borrow();
            let etag = known.get(index).and_then(|known| known.etag.clone());
            if let Some(etag) = etag {
                request.headers_mut().insert(IF_NONE_MATCH, etag);
            }
        }
        request
    }

    fn remember(&self, index: usize, answer: Answer) {
        let mut known = self.known.borrow_mut();
        let Some(known) = known.get_mut(index) else {
            return;
        };
        if answer.status == StatusCode::NOT_MODIFIED {
            self.exchange.tally.borrow_mut().requests.saved(known.bytes);
        } else {
            known.bytes = answer.bytes;
            let mut seen = self.seen.borrow_mut();
            if seen.wanted() {
                let taken = seen.board(&answer, Instant::now());
                self.exchange.tally.borrow_mut().news(&taken);
            }
            known.etag = answer.etag;
        }
    }
}
