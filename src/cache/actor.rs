//! The cache actor: a thin shell around the machine in `state`.
//!
//! Its mailbox serialises requests for a rebuild; the machine hands out one token at a time; the build
//! runs on a blocking thread, where a panic counts as a failed build instead of killing the actor.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    Settings,
    build::{BuildError, BuildSnapshot, Built},
    handle::{BoardNews, CacheHandle, Cell, Published},
    refresh_flag::RefreshFlag,
    snapshot::Snapshot,
    snapshot_file::SavedBoard,
    state::{Answer, BuildToken, HealthChange, SingleFlight, Step},
};
use crate::{
    domain::{clock::Clock, position::Position},
    liveness::LivenessGuard,
    metrics::BuildOutcome,
    store::BoardStamp,
};

/// A board that changes again within this time is not precompressed.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A reader found the snapshot stale.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Refresh;

/// A reader found no snapshot, and waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AwaitSnapshot {
    pub(super) waiter: Waiter,
    pub(super) permit: OwnedSemaphorePermit,
}

/// The database has changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Invalidate {
    pub(super) waiter: Option<Waiter>,
}

/// The database answers again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Retry;

/// The board is so now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Show {
    pub(super) stamp: BoardStamp,
    /// Whether no other state will do, not even a later one: the lineages of a follower come from its upstream, and do
    /// not say which of two states is the later one.
    pub(super) is_exact: bool,
    pub(super) waiter: Option<Waiter>,
}

/// The first build has failed, and there is a board of an earlier process.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ServeSaved {
    pub(super) saved: SavedBoard,
    pub(super) done: oneshot::Sender<()>,
}

/// A build has ended, in time or not.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct BuildFinished {
    token: BuildToken,
    result: Result<Built, BuildError>,
}

type Waiter = oneshot::Sender<Answer>;
/// A waiter. A reader's permit is kept until the reader is answered.
type Waiting = (Waiter, Option<OwnedSemaphorePermit>);

/// Owns the snapshot and the right to rebuild it.
#[derive(Debug)]
pub(crate) struct CacheActor {
    machine: SingleFlight<Waiting>,
    /// States of the board that the build in flight may show.
    wanted: Vec<Show>,
    cell: Arc<Cell>,
    news: watch::Sender<Option<BoardNews>>,
    builder: Arc<dyn BuildSnapshot>,
    clock: Arc<dyn Clock>,
    alarm: Option<(Instant, SpawnHandle)>,
    last_error: String,
    precompression: Option<SpawnHandle>,
    _liveness: LivenessGuard,
}

impl CacheActor {
    /// Starts the actor on the current arbiter, with nothing published.
    pub(crate) fn launch(
        settings: Settings,
        builder: Arc<dyn BuildSnapshot>,
        clock: Arc<dyn Clock>,
        liveness: LivenessGuard,
    ) -> CacheHandle {
        let cell = Arc::new(Cell::empty());
        let (news, changes) = watch::channel(None);
        let address = Self {
            machine: SingleFlight::new(settings, fastrand::Rng::new()),
            wanted: Vec::new(),
            cell: Arc::clone(&cell),
            news,
            builder,
            clock: Arc::clone(&clock),
            alarm: None,
            last_error: String::new(),
            precompression: None,
            _liveness: liveness,
        }
        .start();
        CacheHandle {
            cell,
            news: changes,
            clock,
            refresh: address.clone().recipient(),
            await_snapshot: address.clone().recipient(),
            invalidate: address.clone().recipient(),
            retry: address.clone().recipient(),
            show: address.clone().recipient(),
            serve_saved: address.recipient(),
            waiting: Arc::new(Semaphore::new(settings.max_waiting)),
            max_waiting: settings.max_waiting,
            follows: false,
        }
    }

    /// Carries out a step of the machine. `built` is the snapshot to publish.
    fn perform(&mut self, step: Step<Waiting>, built: Option<Built>, context: &mut Context<Self>) {
        if let (Some(fresh_until), Some(built)) = (step.publish, built) {
            self.publish(built, fresh_until, context);
        }
        for ((waiter, _permit), answer) in step.answers {
            // A waiter may have gone.
            let _ = waiter.send(answer);
        }
        match step.change {
            Some(HealthChange::Failing) => {
                let serving = match self.cell.load().is_some() {
                    true => "serving the last one",
                    false => "there is none to serve yet",
                };
                log::warn!(
                    "cannot build the board ({}): {serving}, retrying with back-off",
                    mem::take(&mut self.last_error)
                );
            }
            Some(HealthChange::Recovered { failures }) => {
                log::info!("rebuilt the board after {failures} failures");
            }
            None => {}
        }
        if let Some(token) = step.start {
            self.start_build(token, context);
        }
        self.set_alarm(context);
    }

    fn publish(&mut self, built: Built, fresh_until: Instant, context: &mut Context<Self>) {
        // The same bytes keep their allocation and their position: only the freshness is renewed.
        let current = self.cell.load_full();
        let same = current.filter(|current| *current.snapshot == built.snapshot);
        // The position goes back only if the database is the copy of another one now: its lineages are older.
        let keeps = |same: &&Arc<Published>| same.news.position.lineage <= built.stamp.lineage;
        let kept = same.as_ref().filter(keeps);
        let (snapshot, news) = match kept {
            Some(same) => (Arc::clone(&same.snapshot), same.news),
            None => {
                let snapshot = Arc::new(built.snapshot);
                self.precompress_when_settled(Arc::clone(&snapshot), context);
                let position = Position {
                    lineage: built.stamp.lineage,
                    number: built.stamp.version.count,
                };
                let changed_at = Instant::now();
                (
                    snapshot,
                    BoardNews {
                        position,
                        changed_at,
                    },
                )
            }
        };
        self.cell.store(Some(Arc::new(Published {
            snapshot,
            news,
            stamp: Some(built.stamp),
            confirmed_at: self.clock.now(),
            fresh_until,
            refresh: RefreshFlag::new(),
        })));
        if kept.is_none() {
            self.news.send_replace(Some(news));
        }
    }

    /// Precompresses the snapshot after a while, unless another snapshot follows before that.
    fn precompress_when_settled(&mut self, snapshot: Arc<Snapshot>, context: &mut Context<Self>) {
        if let Some(earlier) = self.precompression.take() {
            context.cancel_future(earlier);
        }
        let settled = self.clock.sleep_until(self.clock.now() + SETTLED_AFTER);
        let precompression = settled.into_actor(self).map(|(), actor: &mut Self, _| {
            actor.precompression = None;
            // Nobody waits for it.
            drop(actix_rt::task::spawn_blocking(move || {
                snapshot.precompress()
            }));
        });
        self.precompression = Some(context.spawn(precompression));
    }

    fn start_build(&self, token: BuildToken, context: &Context<Self>) {
        let builder = Arc::clone(&self.builder);
        // The builder measures by the system's clock, whatever clock the machine runs on.
        let allowed = token.deadline().saturating_duration_since(self.clock.now());
        let pending = PendingBuild {
            actor: context.address(),
            token: Some(token),
        };
        drop(actix_rt::task::spawn_blocking(move || {
            let built = builder.build(Instant::now() + allowed);
            if let Ok(built) = &built {
                built.snapshot.encode_fast();
            }
            pending.finish(built);
        }));
    }

    fn invalidate(&mut self, waiter: Option<Waiter>, context: &mut Context<Self>) {
        let waiting = waiter.map(|waiter| (waiter, None));
        let step = self.machine.invalidate(self.clock.now(), waiting);
        self.perform(step, None, context);
    }

    /// Answers if the published snapshot shows what is wanted. Otherwise the build in flight may show it, or another one
    /// must.
    fn show(&mut self, wanted: Show, context: &mut Context<Self>) {
        let published = self.cell.load().as_ref().and_then(|it| it.stamp);
        if published.is_some_and(|published| wanted.is_shown_by(&published)) {
            wanted.answer();
        } else if self.machine.is_building() {
            self.wanted.push(wanted);
        } else {
            self.invalidate(wanted.waiter, context);
        }
    }

    /// Looks again after a build has ended, or has taken too long.
    fn show_wanted(&mut self, context: &mut Context<Self>) {
        for wanted in mem::take(&mut self.wanted) {
            self.show(wanted, context);
        }
    }

    fn set_alarm(&mut self, context: &mut Context<Self>) {
        let wake_at = self.machine.wake_at();
        if self.alarm.map(|(at, _)| at) == wake_at {
            return;
        }
        if let Some((_, old)) = self.alarm.take() {
            context.cancel_future(old);
        }
        if let Some(at) = wake_at {
            let alarm = self.clock.sleep_until(at).into_actor(self).map(
                |(), actor: &mut Self, context: &mut Context<Self>| {
                    actor.alarm = None;
                    actor.last_error = "it runs past its timeout".to_owned();
                    let step = actor.machine.woken(actor.clock.now());
                    actor.perform(step, None, context);
                    actor.show_wanted(context);
                },
            );
            self.alarm = Some((at, context.spawn(alarm)));
        }
    }
}

/// The obligation to report the end of a build. If it is dropped, as by a panic, the build has failed.
struct PendingBuild {
    actor: Addr<CacheActor>,
    /// Present until the end is reported.
    token: Option<BuildToken>,
}

impl PendingBuild {
    fn finish(mut self, result: Result<Built, BuildError>) {
        self.report(result);
    }

    fn report(&mut self, result: Result<Built, BuildError>) {
        if let Some(token) = self.token.take() {
            self.actor.do_send(BuildFinished { token, result });
        }
    }
}

impl Drop for PendingBuild {
    fn drop(&mut self) {
        self.report(Err(BuildError::Panicked));
    }
}

impl Actor for CacheActor {
    type Context = Context<Self>;
}

impl Handler<Refresh> for CacheActor {
    type Result = ();

    fn handle(&mut self, _: Refresh, context: &mut Context<Self>) {
        let step = self.machine.refresh(self.clock.now());
        self.perform(step, None, context);
    }
}

impl Handler<AwaitSnapshot> for CacheActor {
    type Result = ();

    fn handle(&mut self, message: AwaitSnapshot, context: &mut Context<Self>) {
        let waiting = (message.waiter, Some(message.permit));
        let step = self.machine.wait(self.clock.now(), waiting);
        self.perform(step, None, context);
    }
}

impl Handler<Invalidate> for CacheActor {
    type Result = ();

    fn handle(&mut self, message: Invalidate, context: &mut Context<Self>) {
        self.invalidate(message.waiter, context);
    }
}

impl Handler<Retry> for CacheActor {
    type Result = ();

    fn handle(&mut self, _: Retry, context: &mut Context<Self>) {
        let step = self.machine.retry(self.clock.now());
        self.perform(step, None, context);
    }
}

impl Handler<Show> for CacheActor {
    type Result = ();

    fn handle(&mut self, message: Show, context: &mut Context<Self>) {
        self.show(message, context);
    }
}

impl Show {
    fn is_shown_by(&self, published: &BoardStamp) -> bool {
        if self.is_exact {
            *published == self.stamp
        } else {
            published.shows(&self.stamp)
        }
    }

    fn answer(self) {
        if let Some(waiter) = self.waiter {
            // A waiter may have gone.
            let _ = waiter.send(Answer::Published);
        }
    }
}

impl Handler<ServeSaved> for CacheActor {
    type Result = ();

    fn handle(&mut self, message: ServeSaved, context: &mut Context<Self>) {
        // A build may have succeeded meanwhile.
        if self.cell.load().is_none() {
            let SavedBoard {
                snapshot,
                position,
                published_at,
            } = message.saved;
            let snapshot = Arc::new(snapshot);
            self.precompress_when_settled(Arc::clone(&snapshot), context);
            let age = self.clock.wall().duration_since(published_at);
            let now = self.clock.now();
            let confirmed_at = now.checked_sub(age.unwrap_or_default()).unwrap_or(now);
            let news = BoardNews {
                position,
                changed_at: Instant::now(),
            };
            self.cell.store(Some(Arc::new(Published {
                snapshot,
                news,
                stamp: None,
                confirmed_at,
                fresh_until: confirmed_at,
                refresh: RefreshFlag::new(),
            })));
            self.news.send_replace(Some(news));
        }
        // The server may be stopping.
        let _ = message.done.send(());
    }
}

impl Handler<BuildFinished> for CacheActor {
    type Result = ();

    fn handle(&mut self, message: BuildFinished, context: &mut Context<Self>) {
        let (outcome, built) = match message.result {
            Ok(built) => (BuildOutcome::Built, Some(built)),
            Err(error) => {
                log::debug!("a rebuild of the board failed: {error}");
                self.last_error = error.to_string();
                (BuildOutcome::Failed, None)
            }
        };
        let step = self
            .machine
            .finish(self.clock.now(), message.token, outcome);
        self.perform(step, built, context);
        self.show_wanted(context);
    }
}
