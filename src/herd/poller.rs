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

use super::{
    exchange::{Answer, Exchange},
    plan::Pollers,
};
use crate::config::Arrival;

/// One poller, and what it remembers of the last answer.
#[derive(Debug)]
pub struct Poller {
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
    pub async fn live(self, due: Vec<Instant>) {
        let client = Rc::new(self);
        let mut under_way = JoinSet::new();
        for due in due {
            match client.plan.arrival {
                Arrival::Open => {
                    sleep_until(due).await;
                    let client = Rc::clone(&client);
                    under_way.spawn_local(async move { client.poll(due).await });
                    while under_way.try_join_next().is_some() {}
                }
                Arrival::Loop if client.is_late(due) => {
                    client.exchange.tally.borrow_mut().missed(due);
                }
                Arrival::Loop => {
                    sleep_until(due).await;
                    client.poll(due).await;
                }
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Polls again as soon as it has its answer, from `first` on: a closed loop.
    pub async fn saturate(self, first: Instant) {
        sleep_until(first).await;
        while Instant::now() < self.exchange.bounds.end {
            self.poll(Instant::now()).await;
        }
    }

    /// Whether the answer to an earlier poll came after `due`. What the timer's own lateness, a
    /// millisecond or so, explains is not held against anybody.
    fn is_late(&self, due: Instant) -> bool {
        due + self.exchange.manners.timeout / 100 < Instant::now()
    }

    async fn poll(&self, due: Instant) {
        let answer = self.exchange.poll(due, false, |client| self.request(client));
        if let Some(answer) = answer.await {
            self.remember(answer);
        }
    }

    fn request(&self, client: &Client) -> SendClientRequest {
        let mut request = client.get(self.plan.url.clone());
        if let Some(codings) = &self.plan.accept_encoding {
            request = request.insert_header((ACCEPT_ENCODING, codings.clone()));
        }
        if let Some(etag) = self.etag.borrow().as_ref().filter(|_| self.plan.conditional) {
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
