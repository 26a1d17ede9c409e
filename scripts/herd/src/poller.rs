//! A client that polls one URL.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::Bytes;
use http::{
    Method, StatusCode,
    header::{ACCEPT_ENCODING, HeaderValue, IF_NONE_MATCH},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    answer::Answer, config::Arrival, exchange::Exchange, news::Seen, plan::Pollers, response::Keep,
    target::Outgoing,
};

/// A poller, with the validator of its last response.
pub(super) struct Poller {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The plan of all pollers.
    pub plan: Rc<Pollers>,
    /// Entity-tag of the last response with a body.
    pub etag: RefCell<Option<HeaderValue>>,
    /// Length of that body.
    pub bytes: Cell<u64>,
    /// What it has seen of what was written.
    pub seen: RefCell<Seen>,
}

impl Poller {
    /// Polls at these times.
    pub(super) async fn run(self, due: Vec<Instant>) {
        match self.plan.arrival {
            Arrival::Open => self.run_open(due).await,
            Arrival::Loop => self.run_loop(due).await,
        }
    }

    async fn run_open(self, due: Vec<Instant>) {
        let client = Rc::new(self);
        let mut in_flight = JoinSet::new();
        for due in due {
            client.exchange.timer.until(due).await;
            let client = Rc::clone(&client);
            in_flight.spawn_local(async move {
                client.poll(due).await;
            });
            while in_flight.try_join_next().is_some() {}
        }
        while in_flight.join_next().await.is_some() {}
    }

    async fn run_loop(self, due: Vec<Instant>) {
        let mut last = None;
        for due in due {
            match last {
                Some((free, answered)) if due < free => {
                    let free = Some(free).filter(|_| answered);
                    self.exchange.tally.borrow_mut().missed(due, free);
                }
                Some(_) | None => {
                    self.exchange.timer.until(due).await;
                    let answered = self.poll(due).await;
                    last = Some((Instant::now(), answered));
                }
            }
        }
    }

    /// Polls from `first` on, each time as soon as the response is there (a closed loop).
    pub(super) async fn saturate(self, first: Instant) {
        self.exchange.timer.until(first).await;
        while Instant::now() < self.exchange.limits.end {
            self.poll(Instant::now()).await;
        }
    }

    /// Sends one poll; returns whether it succeeded.
    async fn poll(&self, due: Instant) -> bool {
        let keep = match self.seen.borrow().wanted() {
            true => Keep::Body,
            false => Keep::Nothing,
        };
        let origin = &self.plan.target.origin;
        let answer = self.exchange.poll(due, origin, keep, || self.request());
        let answer = answer.await;
        let answered = answer.is_some();
        if let Some(answer) = answer {
            self.remember(answer);
        }
        answered
    }

    fn request(&self) -> Outgoing {
        let mut request = self.plan.target.request(Method::GET, Bytes::new());
        let fields = request.headers_mut();
        if let Some(codings) = &self.plan.accept_encoding {
            fields.insert(ACCEPT_ENCODING, codings.clone());
        }
        if let Some(etag) = self
            .etag
            .borrow()
            .as_ref()
            .filter(|_| self.plan.conditional)
        {
            fields.insert(IF_NONE_MATCH, etag.clone());
        }
        request
    }

    fn remember(&self, answer: Answer) {
        if answer.status == StatusCode::NOT_MODIFIED {
            self.exchange.tally.borrow_mut().saved(self.bytes.get());
        } else {
            self.bytes.set(answer.bytes);
            let mut seen = self.seen.borrow_mut();
            if seen.wanted() {
                let taken = seen.board(&answer, Instant::now());
                self.exchange.tally.borrow_mut().news(&taken);
            }
            *self.etag.borrow_mut() = answer.etag;
        }
    }
}
