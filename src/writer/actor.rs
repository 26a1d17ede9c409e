//! The writer actor: a queue in front of the one write connection.

use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::sync::oneshot;

use super::{
    Settings,
    commit::{Committer, Done, Target},
    handle::{Admission, CommitSince, Ticket, WriterHandle},
    outcome::{Acknowledgement, Rejected},
};
use crate::{
    cache::handle::CacheHandle,
    domain::clock::Clock,
    feed::FeedHandle,
    liveness::LivenessGuard,
    metrics::Metrics,
    store::{Counts, Store, WriterSettings},
};

/// Write this, and answer the caller.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue {
    pub(super) ticket: Arc<Ticket>,
    pub(super) caller: Caller,
}

type Caller = oneshot::Sender<Result<Acknowledgement, Rejected>>;

/// A caller whose operation is being committed.
struct Waiting {
    ticket: Arc<Ticket>,
    caller: Caller,
    touches_board: bool,
    _admission: Admission,
}

/// Owns the write connection, and moves it to a blocking thread for each commit.
#[derive(Debug)]
pub(crate) struct WriterActor {
    target: Target,
    cache: CacheHandle,
    /// Absent while a commit runs.
    connection: Option<Committer>,
    queue: Vec<Enqueue>,
    max_writes: usize,
    clock: Arc<dyn Clock>,
    commit_since: CommitSince,
    _liveness: LivenessGuard,
}

impl WriterActor {
    /// Starts the actor on the current arbiter. It writes to the `store`, tells `cache` when the
    /// board has changed, and tells `feed` of every row.
    pub(crate) fn launch(
        store: Store,
        settings: Settings,
        feed: &FeedHandle,
        cache: CacheHandle,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        liveness: LivenessGuard,
    ) -> WriterHandle {
        let target = Target {
            store,
            settings: WriterSettings {
                busy_timeout: settings.busy_timeout,
                wal_soft_bytes: settings.wal_soft_bytes,
                wal_hard_bytes: settings.wal_hard_bytes,
                // For readers of the WAL, and those that came while these were waited for.
                long_wait: 2 * feed.read_timeout(),
            },
            feed: feed.clone(),
            metrics,
        };
        let commit_since = CommitSince::default();
        let actor = Self {
            clock: Arc::clone(&clock),
            commit_since: commit_since.clone(),
            connection: Some(Committer::new(&target)),
            target,
            max_writes: settings.max_writes as usize,
            cache,
            queue: Vec::new(),
            _liveness: liveness,
        };
        WriterHandle::new(&settings, clock, commit_since, actor.start().recipient())
    }

    /// Commits all that is queued, unless a commit is in flight: its end calls this again.
    fn commit_queue(&mut self, context: &mut Context<Self>) {
        if self.connection.is_none() {
            // During a commit that hangs, callers give up, and leave empty tickets behind.
            if self.queue.len() >= 2 * self.max_writes {
                self.queue.retain(|enqueued| enqueued.ticket.is_queued());
            }
            return;
        }
        let mut operations = Vec::with_capacity(self.queue.len());
        let mut callers = Vec::with_capacity(self.queue.len());
        for enqueued in self.queue.drain(..) {
            let Some((operation, admission)) = enqueued.ticket.take() else {
                continue;
            };
            callers.push(Waiting {
                ticket: enqueued.ticket,
                caller: enqueued.caller,
                touches_board: operation.touches_board(),
                _admission: admission,
            });
            operations.push(operation);
        }
        if operations.is_empty() {
            return;
        }
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        self.commit_since.set(Some(self.clock.now()));
        let commit = actix_rt::task::spawn_blocking(move || {
            let done = connection.commit(&operations);
            (connection, done)
        });
        context.spawn(commit.into_actor(self).map(move |done, actor, context| {
            // A panic takes the connection with it. It may come after the commit.
            let lost = |_| (Committer::new(&actor.target), Done::default());
            let (connection, done) = done.unwrap_or_else(lost);
            actor.connection = Some(connection);
            actor.commit_since.set(None);
            if done.gave_up {
                actor.reject_queue();
            }
            actor.answer(callers, done, context);
            actor.commit_queue(context);
        }));
    }

    /// Rejects what is queued, so that no write waits for one commit after another while the database does not answer.
    fn reject_queue(&mut self) {
        for enqueued in self.queue.drain(..) {
            if enqueued.ticket.take().is_some() {
                // A caller may have gone.
                let _ = enqueued.caller.send(Err(Rejected::Queued));
            }
        }
    }

    /// Answers the callers of a commit. Writes that change the board share one rebuild and are answered
    /// after it; the next commit does not wait for that.
    fn answer(&self, callers: Vec<Waiting>, done: Done, context: &mut Context<Self>) {
        let mut results = done.results.into_iter();
        let mut unpublished = Vec::new();
        for waiting in callers {
            match results.next().unwrap_or(Err(Rejected::Unknown)) {
                Ok(counts) if waiting.touches_board => {
                    waiting.ticket.stored();
                    unpublished.push((waiting, counts));
                }
                Ok(counts) => waiting.acknowledge(counts, true),
                Err(rejected) => waiting.send(Err(rejected)),
            }
        }
        let Some(board) = done.board.filter(|_| !unpublished.is_empty()) else {
            return;
        };
        let cache = self.cache.clone();
        let publish = async move {
            let published = cache.show(board).await.is_ok();
            for (waiting, counts) in unpublished {
                waiting.acknowledge(counts, published);
            }
        };
        context.spawn(publish.into_actor(self));
    }
}

impl Waiting {
    fn acknowledge(self, counts: Counts, published: bool) {
        self.send(Ok(Acknowledgement { counts, published }));
    }

    fn send(self, result: Result<Acknowledgement, Rejected>) {
        // A caller may have gone; its write is carried out nevertheless.
        let _ = self.caller.send(result);
    }
}

impl Actor for WriterActor {
    type Context = Context<Self>;
}

impl Handler<Enqueue> for WriterActor {
    type Result = ();

    fn handle(&mut self, message: Enqueue, context: &mut Context<Self>) {
        self.queue.push(message);
        self.commit_queue(context);
    }
}
