//! A client that polls one URL.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use awc::{
    Client, SendClientRequest,
    http::header::{ACCEPT_ENCODING, HeaderValue, IF_NONE_MATCH},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    config::Arrival,
    exchange::{Answer, Exchange},
    plan::Pollers,
};

/// One poller, and what it remembers of the last answer.
pub(super) struct Poller {
    /// What it polls with.
    pub exchange: Exchange,
    /// What it asks for.
    pub plan: Rc<Pollers>,
    /// The entity-tag of the last answer with a body.
    pub etag: RefCell<Option<HeaderValue>>,
    /// The bytes of its body.
    pub bytes: Cell<u64>,
}

impl Poller {
    /// Polls at each of these times.
    pub(super) async fn live(self, due: Vec<Instant>) {
        match self.plan.arrival {
            Arrival::Open => self.live_open(due).await,
            Arrival::Loop => self.live_loop(due).await,
        }
    }

    async fn live_open(self, due: Vec<Instant>) {
        let client = Rc::new(self);
        let mut under_way = JoinSet::new();
        for due in due {
            sleep_until(due).await;
            let client = Rc::clone(&client);
            under_way.spawn_local(async move {
                client.poll(due).await;
            });
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn live_loop(self, due: Vec<Instant>) {
        let mut last = None;
        for due in due {
            match last {
                Some((free, answered)) if due < free => {
                    let free = Some(free).filter(|_| answered);
                    self.exchange.tally.borrow_mut().missed(due, free);
                }
                Some(_) | None => {
                    sleep_until(due).await;
                    let answered = self.poll(due).await;
                    last = Some((Instant::now(), answered));
                }
            }
        }
    }

    /// Polls again as soon as it has its answer, from `first` on: a closed loop.
    pub(super) async fn saturate(self, first: Instant) {
        sleep_until(first).await;
        while Instant::now() < self.exchange.bounds.end {
            self.poll(Instant::now()).await;
        }
    }

    /// Whether it was answered.
    async fn poll(&self, due: Instant) -> bool {
        let answer = self
            .exchange
            .poll(due, false, |client| self.request(client));
        let answer = answer.await;
        let answered = answer.is_some();
        if let Some(answer) = answer {
            self.remember(answer);
        }
        answered
    }

    fn request(&self, client: &Client) -> SendClientRequest {
        let mut request = client.get(self.plan.url.clone());
        if let Some(codings) = &self.plan.accept_encoding {
            request = request.insert_header((ACCEPT_ENCODING, codings.clone()));
        }
        if let Some(etag) = self
            .etag
            .borrow()
            .as_ref()
            .filter(|_| self.plan.conditional)
        {
            request = request.insert_header((IF_NONE_MATCH, etag.clone()));
        }
        request.send()
    }

    fn remember(&self, answer: Answer) {
        if answer.status == 304 {
            self.exchange.tally.borrow_mut().saved(self.bytes.get());
        } else {
            self.bytes.set(answer.bytes);
            *self.etag.borrow_mut() = answer.etag;
        }
    }
}
