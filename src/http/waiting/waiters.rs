//! The requests of one worker that wait, and waking them in batches.

use std::{
    cell::RefCell,
    collections::HashSet,
    net::Ipv4Addr,
    rc::{Rc, Weak},
    task::Waker,
    time::Instant,
};

use slab::Slab;
use tokio::{sync::watch, task::yield_now};

use crate::{
    answer::MissingEncoding,
    domain::coding::Coding,
    feed::{FeedHandle, PageKey, SeqPage},
    metrics::{Metrics, WaitOutcome},
};

/// How many are woken before the other connections of the worker get their turn.
const BATCH: usize = 64;

/// What a connection wants to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Topic {
    /// A change of the board.
    Board,
    /// Eval runs after the end of the feed, on this page.
    Feed(SeqPage),
    /// Every change.
    All,
}

/// The waiting connections of one worker.
#[derive(Debug)]
pub(in crate::http) struct Waiters {
    waiting: RefCell<Slab<Waiter>>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Waiter {
    topic: Topic,
    waker: Waker,
}

/// Wakes a connection as long as it exists.
#[derive(Debug)]
pub(in crate::http) struct Registered {
    waiters: Rc<Waiters>,
    key: usize,
}

impl Waiters {
    /// Nobody waits yet.
    pub(in crate::http) fn new(metrics: Metrics) -> Rc<Self> {
        Rc::new(Self {
            waiting: RefCell::default(),
            metrics,
        })
    }

    /// Wakes the connection whenever its topic changes.
    pub(in crate::http) fn register(self: &Rc<Self>, topic: Topic, waker: Waker) -> Registered {
        Registered {
            waiters: Rc::clone(self),
            key: self.waiting.borrow_mut().insert(Waiter { topic, waker }),
        }
    }

    /// Wakes all, as when the server stops.
    pub(in crate::http) async fn wake_all(self: Rc<Self>) {
        self.wake(|_| true).await;
    }

    /// Wakes those that wait for the board whenever it changes. Ends with the worker or the cache.
    pub(in crate::http) async fn follow_board<T>(
        waiters: Weak<Self>,
        mut changes: watch::Receiver<T>,
    ) {
        while changes.changed().await.is_ok() {
            let Some(waiters) = waiters.upgrade() else {
                return;
            };
            waiters
                .wake(|topic| matches!(topic, Topic::Board | Topic::All))
                .await;
        }
    }

    /// Reads what those wait for that wait for the feed, whenever it changes, then wakes them: so each page is read
    /// and encoded once, and they find it in memory. Ends with the worker or the feed.
    pub(in crate::http) async fn follow_feed(waiters: Weak<Self>, feed: FeedHandle) {
        let mut changes = feed.changes();
        while changes.changed().await.is_ok() {
            let Some(waiters) = waiters.upgrade() else {
                return;
            };
            let end = changes.borrow_and_update().end;
            waiters.wake(|topic| topic == Topic::All).await;
            for page in waiters.pages() {
                if end.is_some_and(|end| page.cursor.may_precede(end)) {
                    prepare(&feed, &page.key()).await;
                    waiters.wake(|topic| topic == Topic::Feed(page)).await;
                }
            }
        }
    }

    /// The different pages that are waited for.
    fn pages(&self) -> HashSet<SeqPage> {
        let waiting = self.waiting.borrow();
        let page = |waiter: &Waiter| match waiter.topic {
            Topic::Feed(page) => Some(page),
            Topic::Board | Topic::All => None,
        };
        waiting
            .iter()
            .filter_map(|(_, waiter)| page(waiter))
            .collect()
    }

    /// Wakes those whose topic is concerned. One that registers meanwhile looks for itself.
    async fn wake(&self, concerns: impl Fn(Topic) -> bool) {
        let mut next = 0;
        while let Some(rest) = self.wake_batch(next, &concerns) {
            next = rest;
            yield_now().await;
        }
    }

    /// Wakes up to a batch from a key on; returns the key to go on from, if there is one.
    fn wake_batch(&self, from: usize, concerns: impl Fn(Topic) -> bool) -> Option<usize> {
        let waiters = self.waiting.borrow();
        let mut woken = 0;
        for key in from..waiters.capacity() {
            let waiter = waiters.get(key);
            if let Some(waiter) = waiter.filter(|waiter| concerns(waiter.topic)) {
                waiter.waker.wake_by_ref();
                woken += 1;
                if woken == BATCH {
                    return Some(key + 1);
                }
            }
        }
        None
    }
}

/// Has a page read and encoded. If it cannot be read, each client asks for it by itself and gets the error.
async fn prepare(feed: &FeedHandle, key: &PageKey) {
    let Ok((page, _)) = feed.page(key, Ipv4Addr::UNSPECIFIED.into()).await else {
        return;
    };
    if page.representation.is_short() {
        return;
    }
    for coding in [Coding::Gzip, Coding::Zstd] {
        let missing = MissingEncoding {
            coding,
            is_required: false,
        };
        feed.encode(&page.representation, missing).await;
    }
}

impl Registered {
    /// Counts the end of the wait.
    pub(in crate::http) fn count(&self, outcome: WaitOutcome, changed_at: Option<Instant>) {
        let metrics = &self.waiters.metrics;
        metrics.wait_ended(outcome);
        if let (WaitOutcome::Changed, Some(changed_at)) = (outcome, changed_at) {
            metrics.woken_after(changed_at.elapsed());
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut waiters = self.waiters.waiting.borrow_mut();
        waiters.remove(self.key);
        if waiters.is_empty() {
            waiters.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_batch_is_woken_at_a_time_and_nobody_twice() -> Result<(), String> {
        let waiters = Waiters::new(Metrics::new().map_err(|error| error.to_string())?);
        let count = Arc::new(Count::default());
        let register = |topic| waiters.register(topic, Waker::from(Arc::clone(&count)));
        let mut registered: Vec<_> = (0..3 * BATCH).map(|_| register(Topic::Board)).collect();
        // Gaps, as those leave that have gone.
        registered.retain(|waiter| waiter.key % 3 != 0);
        let (mut from, mut batches) = (Some(0), Vec::new());
        while let Some(key) = from {
            from = waiters.wake_batch(key, |topic| topic == Topic::Board);
            batches.push(count.0.swap(0, Relaxed));
        }
        assert_eq!(batches, [BATCH, BATCH, 0]);
        drop(registered);
        assert!(waiters.waiting.borrow().is_empty());
        Ok(())
    }
}
