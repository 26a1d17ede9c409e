//! How many bytes of bodies are in memory: cached, just read, or still being sent to slow clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::timeout};

/// How often a read that waits for room looks anew: clients fall behind their pace as time passes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Counts bytes until their last holder drops them. Cheap to clone.
///
/// It never refuses bytes that were made already: a read that is about to begin waits for room instead. So
/// the bytes exceed the bound by at most what the reads and encodings in flight produce.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget(Arc<Account>);

#[derive(Debug)]
struct Account {
    max_bytes: usize,
    used_bytes: AtomicUsize,
    released: Notify,
}

/// A body that gives its bytes back to the budget when its last user drops it.
struct Charged {
    body: Vec<u8>,
    account: Arc<Account>,
}

impl ByteBudget {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Account {
            max_bytes,
            used_bytes: AtomicUsize::new(0),
            released: Notify::new(),
        }))
    }

    /// Returns the body, counted until the last clone of it is dropped.
    pub(crate) fn charge(&self, mut body: Vec<u8>) -> Bytes {
        // Otherwise it would keep what it grew through.
        body.shrink_to_fit();
        let account = Arc::clone(&self.0);
        account
            .used_bytes
            .fetch_add(body.capacity(), Ordering::Relaxed);
        Bytes::from_owner(Charged { body, account })
    }

    /// Waits until there is room for a small body; for a large one, room beside the quarter that is reserved for
    /// small ones. Until then calls `evict` repeatedly, which returns whether it evicted something, and then
    /// `release`, which is told how many bytes are to be released.
    pub(crate) async fn room(
        &self,
        is_large: bool,
        evict: impl Fn() -> bool,
        release: impl Fn(usize),
    ) {
        loop {
            let mut released = std::pin::pin!(self.0.released.notified());
            released.as_mut().enable();
            let missing_bytes = self.missing_bytes(is_large);
            if missing_bytes == 0 {
                return;
            }
            if !evict() {
                release(missing_bytes);
                // Either way it looks again.
                let _ = timeout(LOOK_AGAIN, released).await;
            }
        }
    }

    /// Returns how many bytes must be released before a read may begin; 0 if there is room.
    pub(crate) fn missing_bytes(&self, is_large: bool) -> usize {
        let max_bytes = self.0.max_bytes;
        let reserved = if is_large { max_bytes / 4 } else { 0 };
        (self.used_bytes() + 1).saturating_sub(max_bytes - reserved)
    }

    /// Returns the bound.
    pub(crate) fn max_bytes(&self) -> usize {
        self.0.max_bytes
    }

    /// Lets every read that waits for room look again.
    pub(crate) fn notify(&self) {
        self.0.released.notify_waiters();
    }

    /// Returns the bytes of all bodies that exist.
    pub(crate) fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Ordering::Relaxed)
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        let bytes = self.body.capacity();
        self.account.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.account.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_last_clone_is_dropped() {
        let budget = ByteBudget::new(100);
        let body = budget.charge(vec![0; 60]);
        let sent = body.slice(10..20);
        drop(body);
        assert_eq!(budget.used_bytes(), 60);
        drop(sent);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[actix_rt::test]
    async fn room_is_made_by_evicting_or_waited_for() {
        let budget = ByteBudget::new(100);
        let held =
            std::cell::RefCell::new(vec![budget.charge(vec![0; 80]), budget.charge(vec![0; 80])]);
        let evict = || held.borrow_mut().pop().is_some();
        budget.room(false, evict, |_| {}).await;
        assert_eq!(budget.used_bytes(), 80);
        let (one, other) = (budget.charge(vec![0; 80]), budget.clone());
        let waiting = actix_rt::spawn(async move { other.room(false, || false, |_| {}).await });
        actix_rt::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(one);
        assert!(waiting.await.is_ok());
        // Another 80 of 100 are in use: a large body has no room beside the quarter of the small ones.
        assert_eq!(budget.missing_bytes(false), 0);
        assert_eq!(budget.missing_bytes(true), 6);
    }
}
