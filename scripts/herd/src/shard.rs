//! One thread of a run: a runtime, a timer, the clients that are dealt to it, and their counters. Nothing of it is
//! shared with another shard, except the notes of what was written.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{oneshot, watch},
    task::{JoinSet, LocalSet},
    time::{Instant, interval},
};

use crate::{
    HerdError,
    clients::{Herd, Shared},
    generator::Use,
    limits::{Limits, Part},
    live,
    news::{News, Writes},
    plan::Plan,
    poller::Poller,
    progress::Progress,
    run::ShardUse,
    tally::Tally,
    timer::Timer,
};

/// Time to make the clients before the run begins, and for each of them.
const SET_UP: Duration = Duration::from_millis(20);
const SET_UP_CLIENT: Duration = Duration::from_micros(20);

/// What all shards of a run have in common.
#[derive(Clone)]
pub(super) struct Common {
    /// What the run does.
    pub plan: Arc<Plan>,
    /// When it begins.
    pub began: Instant,
    /// Whether it ends early: at `true`, or if the sender is dropped. Connections stay open until then, at least.
    pub stopped: watch::Receiver<bool>,
    /// What was written.
    pub writes: Arc<Writes>,
}

/// A shard that runs.
pub(super) struct Shard {
    /// Its progress, while it is shown.
    pub progress: watch::Receiver<Option<Progress>>,
    measured: oneshot::Receiver<Result<Measured, HerdError>>,
}

/// What shards have measured.
pub(super) struct Measured {
    /// Counters of the pollers.
    pub pollers: Tally,
    /// Counters of the validators, if there are any.
    pub validators: Option<Tally>,
    /// Counters of those that write, if there are any.
    pub writers: Option<Tally>,
    /// What each thread has used.
    pub shards: Vec<ShardUse>,
}

/// Returns how long before its beginning a run must be started, so that all clients are there when the first poll is due.
pub(super) fn set_up_time(clients: u32) -> Duration {
    SET_UP + SET_UP_CLIENT * clients
}

impl Shard {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system allows no more threads.
    pub(super) fn start(common: Common, part: Part) -> io::Result<Self> {
        let (done, measured) = oneshot::channel();
        let (show, progress) = watch::channel(None);
        let thread = thread::Builder::new().name(format!("herd-{}", part.shard));
        thread.spawn(move || run(common, part, &show, done))?;
        Ok(Self { progress, measured })
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    /// If the shard could not start, or panicked.
    pub(super) async fn measured(self) -> Result<Measured, HerdError> {
        self.measured.await.map_err(|_| HerdError::Thread)?
    }
}

impl Measured {
    /// Adds what another shard has measured.
    ///
    /// # Errors
    /// See [`Tally::merge`].
    pub(super) fn merge(&mut self, other: Self) -> Result<(), HerdError> {
        self.pollers.merge(&other.pollers)?;
        let pairs = [
            (&mut self.validators, &other.validators),
            (&mut self.writers, &other.writers),
        ];
        for (own, other) in pairs {
            if let (Some(own), Some(other)) = (own, other) {
                own.merge(other)?;
            }
        }
        self.shards.extend(other.shards);
        Ok(())
    }
}

/// Where a shard sends what it has measured. Nobody receives it any more if another shard has failed.
type Done = oneshot::Sender<Result<Measured, HerdError>>;

fn run(common: Common, part: Part, show: &watch::Sender<Option<Progress>>, done: Done) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = done.send(Err(HerdError::System(error)));
            return;
        }
    };
    let mut over = common.stopped.clone();
    LocalSet::new().block_on(&runtime, async {
        let (measured, pollers) = match load(common, part, show).await {
            Ok((measured, pollers)) => (Ok(measured), pollers),
            Err(error) => (Err(error), Vec::new()),
        };
        let _ = done.send(measured);
        // Closing many connections takes milliseconds, in which polls of other shards would be late.
        let _ = over.wait_for(|over| *over).await;
        drop(pollers);
    });
}

/// Runs the clients to their end; returns what was measured, and the pollers, whose connections are still open: a client
/// that ends before the others leaves them the time of this thread.
async fn load(
    common: Common,
    part: Part,
    show: &watch::Sender<Option<Progress>>,
) -> Result<(Measured, Vec<Rc<Poller>>), HerdError> {
    let Common {
        plan,
        began,
        mut stopped,
        writes,
    } = common;
    let timer = Timer::new().map_err(HerdError::System)?;
    let limits = Limits::new(
        part,
        plan.max_connections,
        plan.max_rate,
        began,
        began + plan.duration,
    );
    let mut herd = Herd {
        part,
        limits: Rc::new(limits),
        timer: timer.clone(),
        began,
        clients: JoinSet::new(),
        pollers: Vec::new(),
        made: 0,
        news: Rc::new(RefCell::new(News::new(writes))),
        plan,
    };
    let pollers = herd.pollers()?;
    let validators = herd.validators()?;
    let writers = herd.writers()?;
    let Herd {
        mut clients,
        pollers: connected,
        ..
    } = herd;
    let before = Cell::new(None);
    // Making the clients is not part of the run.
    let at_beginning = async {
        timer.until(began).await;
        before.set(Some(Use::of_thread()));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = async { while clients.join_next().await.is_some() {} } => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = at_beginning => {}
        () = publish(&pollers, show) => {}
        failed = timer.run() => failed.map_err(HerdError::System)?,
    }
    let used = before
        .get()
        .map_or(Use::default(), |before| Use::of_thread().since(before));
    let pollers = pollers.borrow().clone();
    let measured = Measured {
        shards: vec![ShardUse {
            clients: part.of(part.clients),
            delay: pollers.scheduling_delay().latency(),
            cpu_secs: used.cpu.as_secs_f64(),
            queued_secs: used.queued.as_secs_f64(),
        }],
        pollers,
        validators: validators.map(|tally| tally.borrow().clone()),
        writers: writers.map(|tally| tally.borrow().clone()),
    };
    Ok((measured, connected))
}

/// Publishes the progress until dropped, while it is shown.
async fn publish(pollers: &Shared, show: &watch::Sender<Option<Progress>>) {
    let mut ticks = interval(live::INTERVAL);
    while !show.is_closed() {
        ticks.tick().await;
        let _ = show.send(Some(pollers.borrow().progress()));
    }
    std::future::pending().await
}
