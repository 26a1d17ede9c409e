//! Time is passed in: the server runs on [`SystemClock`], tests move a [`ManualClock`] by hand.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

/// A future that ends when the clock has reached an instant.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A monotonic clock that can also wait, and the wall clock beside it.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the present instant.
    fn now(&self) -> Instant;
    /// Waits until [`Clock::now`] is at or past `deadline`.
    fn sleep_until(&self, deadline: Instant) -> Sleep;
    /// Returns the wall clock's time, which may be set forward and back.
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The machine's monotonic clock. [`Clock::sleep_until`] needs a tokio runtime with timers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

/// A wall clock that was set back by less is not worth a line in the log.
const NOTABLE_MILLIS: u64 = 5000;

/// The wall clock as it must not run back within a process: if it is set back, the time stays until the clock has caught
/// up or the process is restarted.
#[derive(Debug)]
pub struct ForwardWall {
    clock: Arc<dyn Clock>,
    /// The greatest time that was taken, in milliseconds since 1970.
    greatest: AtomicU64,
    /// Whether the log says that the wall clock is behind.
    is_behind: AtomicBool,
    /// What stays meanwhile.
    what: &'static str,
}

impl ForwardWall {
    /// Follows the clock's wall time. If that was set back, the log says that `what` stays.
    pub fn new(clock: Arc<dyn Clock>, what: &'static str) -> Self {
        Self {
            clock,
            greatest: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
            what,
        }
    }

    /// Returns the time in milliseconds since 1970: at least that of every call before.
    pub fn millis(&self) -> u64 {
        let since = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let greatest = self.greatest.load(Relaxed);
        if now > greatest {
            self.is_behind.store(false, Relaxed);
            return self.greatest.fetch_max(now, Relaxed).max(now);
        }
        let behind = greatest - now;
        if behind >= NOTABLE_MILLIS && !self.is_behind.swap(true, Relaxed) {
            log::warn!(
                "the wall clock was set back by {} s: {} until it has caught up",
                behind / 1000,
                self.what
            );
        }
        greatest
    }
}

/// A clock that stands still until [`ManualClock::advance`] moves it, which wakes sleepers.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<Instant>>,
    wall: Arc<watch::Sender<SystemTime>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self {
            now: Arc::new(watch::Sender::new(Instant::now())),
            wall: Arc::new(watch::Sender::new(SystemTime::now())),
        }
    }
}

impl ManualClock {
    /// Moves the clock forward by `step`.
    pub fn advance(&self, step: Duration) {
        self.now.send_modify(|now| *now += step);
        self.wall.send_modify(|wall| *wall += step);
    }

    /// Sets the wall clock alone.
    pub fn set_wall(&self, time: SystemTime) {
        self.wall.send_replace(time);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.now.borrow()
    }

    fn wall(&self) -> SystemTime {
        *self.wall.borrow()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            // The sender lives as long as the clock; a dropped clock never reaches the deadline.
            if now.wait_for(|now| *now >= deadline).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
