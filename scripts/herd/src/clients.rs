//! The clients of a shard, one task each.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use http::header::HeaderValue;
use tokio::{task::JoinSet, time::Instant};
use url::Url;

use crate::{
    HerdError,
    connections::Connections,
    exchange::Exchange,
    follower::{Follower, Kind},
    limits::{Limits, Part},
    news::{News, Seen},
    operator::Changer,
    plan::{Plan, share},
    poller::{Known, Poller},
    schedule::{Pace, Times, rng},
    tally::Tally,
    target::{Origin, source},
    timer::Timer,
    validator::Validator,
    writer::Writer,
};

/// The clients of a shard that is being set up. Every shard counts all clients of the run, and draws their random
/// numbers, so that a client polls at the same times whatever the number of shards; it starts its own.
pub(super) struct Herd {
    /// What the run does.
    pub plan: Arc<Plan>,
    /// Limits of all clients of this shard together.
    pub limits: Rc<Limits>,
    /// Which clients are of this shard.
    pub part: Part,
    /// The timer of this shard.
    pub timer: Timer,
    /// When the run begins.
    pub began: Instant,
    /// One task per client.
    pub clients: JoinSet<()>,
    /// The pollers, with their connections.
    pub pollers: Vec<Rc<Poller>>,
    /// Clients of all shards so far.
    pub made: u32,
    /// What was written when.
    pub news: Rc<RefCell<News>>,
}

/// Where a client that waits begins.
struct Start {
    url: Rc<Url>,
    origin: Arc<Origin>,
}

/// Counters of all clients of one kind.
pub(super) type Shared = Rc<RefCell<Tally>>;

/// A client of this shard.
struct Own {
    /// Its number among all clients of the run.
    number: u32,
    /// Its random numbers.
    rng: Rng,
}

impl Herd {
    /// Starts the pollers.
    pub(super) fn pollers(&mut self) -> Result<Shared, HerdError> {
        let plan = Rc::new(self.plan.pollers.clone());
        let schedule = &plan.schedule;
        let tally = self.tally()?;
        let targets = plan.polls.mix.targets();
        tally.borrow_mut().split(targets.len())?;
        if self.plan.wait {
            let kind = Kind::Board {
                conditional: plan.polls.conditional,
            };
            let start = Start {
                url: Rc::new(Url::parse(&plan.polls.first.url.to_string())?),
                origin: Arc::clone(&plan.polls.first.origin),
            };
            for number in 0..schedule.clients {
                let first = schedule.first(number);
                self.follower(&tally, &start, kind, plan.accept_encoding.as_ref(), first);
            }
            return Ok(tally);
        }
        for number in 0..schedule.clients {
            let Some(mut own) = self.client() else {
                continue;
            };
            let poller = Rc::new(Poller {
                exchange: self.exchange(&tally, &mut own),
                plan: Rc::clone(&plan),
                known: RefCell::new(vec![Known::default(); targets.len()]),
                polls: Cell::default(),
                phase: own.rng.f64(),
                seen: RefCell::new(Seen::new(&self.news)),
            });
            self.pollers.push(Rc::clone(&poller));
            if schedule.is_closed() {
                let first = self.began + schedule.first(number);
                let polls = schedule.polls_of(number);
                self.clients.spawn_local(poller.saturate(first, polls));
            } else {
                let due = self.due(schedule.times(number), &mut own);
                self.clients.spawn_local(poller.run(due));
            }
        }
        Ok(tally)
    }

    /// Starts the validators, if there are any.
    pub(super) fn validators(&mut self) -> Result<Option<Shared>, HerdError> {
        let Some(plan) = self.plan.validators.clone().map(Rc::new) else {
            return Ok(None);
        };
        let tally = self.tally()?;
        if self.plan.wait {
            let (url, since, limit) = (&plan.target.url, &plan.since, plan.limit);
            let start = Url::parse(&format!("{url}?since_seq={since}&limit={limit}"))?;
            let start = Start {
                url: Rc::new(start),
                origin: Arc::clone(&plan.target.origin),
            };
            for number in 0..plan.clients {
                let first = share(self.plan.pollers.schedule.ramp, number, plan.clients);
                let codings = plan.accept_encoding.as_ref();
                self.follower(&tally, &start, Kind::Feed, codings, first);
            }
            return Ok(Some(tally));
        }
        for number in 0..plan.clients {
            let Some(mut own) = self.client() else {
                continue;
            };
            let validator = Validator {
                exchange: self.exchange(&tally, &mut own),
                plan: Rc::clone(&plan),
                seen: Seen::new(&self.news),
            };
            let due = self.steady(number, plan.clients, plan.interval, &mut own);
            self.clients.spawn_local(validator.run(due));
        }
        Ok(Some(tally))
    }

    fn follower(
        &mut self,
        tally: &Shared,
        start: &Start,
        kind: Kind,
        accept_encoding: Option<&HeaderValue>,
        first: Duration,
    ) {
        let Some(mut own) = self.client() else {
            return;
        };
        let exchange = self.exchange(tally, &mut own);
        let follower = Follower {
            exchange: Exchange {
                policy: exchange.policy.waiting(),
                ..exchange
            },
            origin: Arc::clone(&start.origin),
            start: Rc::clone(&start.url),
            kind,
            accept_encoding: accept_encoding.cloned(),
            seen: Seen::new(&self.news),
        };
        let first = self.began + first;
        self.clients.spawn_local(follower.run(first));
    }

    /// Starts the clients that write, if the plan has any.
    pub(super) fn writers(&mut self) -> Result<Option<Shared>, HerdError> {
        let writers = self.plan.writers.clone().map(Rc::new);
        let operator = self.plan.operator.clone().map(Rc::new);
        let clients = writers.as_ref().map_or(0, |plan| plan.clients);
        if writers.is_none() && operator.is_none() {
            return Ok(None);
        }
        let tally = self.tally()?;
        for number in 0..clients {
            let (Some(plan), Some(mut own)) = (writers.clone(), self.client()) else {
                continue;
            };
            let due = self.steady(number, plan.clients, plan.interval, &mut own);
            let writer = Writer {
                exchange: self.exchange(&tally, &mut own),
                plan,
                news: Rc::clone(&self.news),
            };
            self.clients.spawn_local(writer.run(due));
        }
        if let Some(plan) = operator
            && let Some(mut own) = self.client()
        {
            let due: Vec<_> = plan.at.iter().map(|at| self.began + *at).collect();
            let operator = Changer {
                exchange: self.exchange(&tally, &mut own),
                plan,
                news: Rc::clone(&self.news),
            };
            self.clients.spawn_local(operator.run(due.into_iter()));
        }
        Ok(Some(tally))
    }

    fn tally(&self) -> Result<Shared, HerdError> {
        let tally = Tally::new(self.began, self.plan.duration)?;
        Ok(Rc::new(RefCell::new(tally)))
    }

    /// Counts a client; returns it if it is of this shard.
    fn client(&mut self) -> Option<Own> {
        let number = self.made;
        self.made += 1;
        self.part.has(number).then(|| Own {
            number,
            rng: rng(self.plan.seed, number),
        })
    }

    fn exchange(&self, tally: &Shared, own: &mut Own) -> Exchange {
        let from = self.plan.from_addresses;
        tally.borrow_mut().client();
        Exchange {
            connections: Connections::new(
                own.number,
                from.map(|count| source(own.number, count)),
                Rc::clone(&self.limits.sockets),
            ),
            tally: Rc::clone(tally),
            policy: self.plan.policy,
            limits: Rc::clone(&self.limits),
            timer: self.timer.clone(),
            rng: RefCell::new(own.rng.fork()),
        }
    }

    /// Returns the times of a client that starts within the first interval and then keeps to it.
    fn steady(
        &self,
        number: u32,
        clients: u32,
        interval: Duration,
        own: &mut Own,
    ) -> impl Iterator<Item = Instant> + use<> {
        let times = Times {
            pace: Pace::Every {
                first: share(interval, number, clients),
                interval,
            },
            jitter: 0.1,
            bursts: Vec::new(),
            polls: None,
            end: self.plan.duration,
        };
        self.due(times, own)
    }

    fn due(&self, times: Times, own: &mut Own) -> impl Iterator<Item = Instant> + use<> {
        let began = self.began;
        times.due(own.rng.fork()).map(move |at| began + at)
    }
}
