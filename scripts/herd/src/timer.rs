//! Waits until a time, mostly to less than a tenth of a millisecond. tokio's own timer moves in steps of a millisecond,
//! which would be the larger part of a fast server's latency.
//!
//! A shard has one timer of the kernel (timerfd), set to the earliest time that a task waits for.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

/// The timer of a shard.
#[derive(Debug, Clone)]
pub(super) struct Timer(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    kernel: AsyncFd<OwnedFd>,
    waits: RefCell<Waits>,
}

/// The tasks that wait, in the order of their times.
#[derive(Debug, Default)]
struct Waits {
    wakers: BTreeMap<Key, Waker>,
    /// Tells waits for the same moment apart.
    last: u64,
    /// What the kernel's timer is set to.
    set: Option<Instant>,
}

type Key = (Instant, u64);

impl Timer {
    /// Makes a timer for the runtime of this thread.
    ///
    /// # Errors
    /// If the system has no more timers.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let kernel = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types whose descriptor may change; that of OwnedFd does not"
        )]
        let kernel = AsyncFd::with_interest(kernel, Interest::READABLE)?;
        Ok(Self(Rc::new(Inner {
            kernel,
            waits: RefCell::default(),
        })))
    }

    /// Waits until `at`. [`Timer::run`] must be polled meanwhile.
    pub(super) fn until(&self, at: Instant) -> Until {
        Until {
            timer: Rc::clone(&self.0),
            at,
            key: None,
        }
    }

    /// Wakes each task in time, until dropped.
    ///
    /// # Errors
    /// If the kernel's timer fails, which would be a bug.
    pub(super) async fn run(&self) -> io::Result<()> {
        loop {
            // The timer is never read: setting it again clears it, and each expiry is reported once.
            self.0.kernel.readable().await?.clear_ready();
            let due = self.0.waits.borrow_mut().due(Instant::now());
            due.into_iter().for_each(Waker::wake);
            self.0.set()?;
        }
    }
}

impl Inner {
    /// Sets the kernel's timer, unless it is set to the right time.
    fn set(&self) -> io::Result<()> {
        let mut waits = self.waits.borrow_mut();
        let first = waits.wakers.first_key_value().map(|((at, _), _)| *at);
        if let Some(at) = first.filter(|at| waits.set.is_none_or(|set| *at < set)) {
            let left = at.saturating_duration_since(Instant::now());
            let spec = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    // Zero would stop the timer.
                    tv_nsec: i64::from(left.subsec_nanos()).max(1),
                },
            };
            timerfd_settime(&self.kernel, TimerfdTimerFlags::empty(), &spec)?;
            waits.set = Some(at);
        }
        Ok(())
    }
}

impl Waits {
    /// Removes and returns the tasks whose time has come.
    fn due(&mut self, now: Instant) -> Vec<Waker> {
        self.set = None;
        let mut due = Vec::new();
        while let Some(first) = self.wakers.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
    }
}

/// See [`Timer::until`].
#[derive(Debug)]
pub(super) struct Until {
    timer: Rc<Inner>,
    at: Instant,
    key: Option<Key>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        let mut waits = self.timer.waits.borrow_mut();
        let key = self.key.unwrap_or_else(|| {
            waits.last += 1;
            (self.at, waits.last)
        });
        waits.wakers.insert(key, cx.waker().clone());
        drop(waits);
        self.key = Some(key);
        if let Err(error) = self.timer.set() {
            log::error!("herd: timer: {error}");
        }
        Poll::Pending
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.timer.waits.borrow_mut().wakers.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn tasks_are_woken_in_the_order_of_time_and_never_early() {
        let timer = Timer::new().unwrap();
        let began = Instant::now();
        let woken = RefCell::new(Vec::new());
        let wait = async |ms: u64| {
            let at = began + Duration::from_millis(ms);
            timer.until(at).await;
            assert!(Instant::now() >= at);
            woken.borrow_mut().push(ms);
        };
        let all = async {
            tokio::join!(wait(30), wait(10), wait(10), wait(20), wait(0));
        };
        tokio::select! {
            () = all => {}
            failed = timer.run() => failed.unwrap(),
        }
        assert_eq!(*woken.borrow(), [0, 10, 10, 20, 30]);
        assert!(timer.0.waits.borrow().wakers.is_empty());
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_leaves_nothing_behind() {
        let timer = Timer::new().unwrap();
        let hour = Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            () = timer.until(hour) => {}
            () = timer.until(Instant::now() + Duration::from_millis(1)) => {}
            failed = timer.run() => failed.unwrap(),
        }
        assert!(timer.0.waits.borrow().wakers.is_empty());
    }
}
