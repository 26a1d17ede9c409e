//! Time is passed in: the server runs on [`SystemClock`], tests move a [`ManualClock`] by hand.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
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
