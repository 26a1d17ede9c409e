//! Content codings of feed pages: each is made once, a bounded number at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use crate::{answer::Representation, domain::coding::Coding, outgoing::ByteBudget};

/// More encodings than this at once, running or queued, are not begun.
const MAX_IN_FLIGHT: usize = 1024;

/// Encodes pages. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    turns: Arc<Semaphore>,
    in_flight: Arc<Mutex<Vec<Encoding>>>,
    budget: ByteBudget,
}

/// An encoding in flight. It is dropped when the encoding ends, which wakes everybody who waits for it.
#[derive(Debug)]
struct Encoding {
    page: Arc<Representation>,
    coding: Coding,
    end: watch::Sender<()>,
}

/// Removes an encoding from the list when it is dropped, however the encoding ended.
struct InFlight {
    encoder: Encoder,
    page: Arc<Representation>,
    coding: Coding,
}

impl Encoder {
    /// An encoder that runs at most `max_running` encodings at once and charges their bytes to `budget`.
    pub(super) fn new(max_running: usize, budget: ByteBudget) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(max_running)),
            in_flight: Arc::default(),
            budget,
        }
    }

    /// Makes the coding of the page unless it is made or being made, and waits for it for at most `timeout`.
    /// An encoding that has begun goes on; one that has no turn after `turn_timeout` is given up.
    pub(super) async fn encode(
        &self,
        page: &Arc<Representation>,
        coding: Coding,
        turn_timeout: Duration,
        timeout: Duration,
    ) {
        if let Some(mut end) = self.start_or_join(page, coding, turn_timeout) {
            // An error is the end of the encoding: nothing is ever sent.
            let _ = tokio::time::timeout(timeout, end.changed()).await;
        }
    }

    /// Returns what tells the end of the encoding; `None` if it is made already, or too many are in flight.
    fn start_or_join(
        &self,
        page: &Arc<Representation>,
        coding: Coding,
        turn_timeout: Duration,
    ) -> Option<watch::Receiver<()>> {
        let mut in_flight = self.lock();
        // Under the lock: an encoding leaves the list only after it is made.
        if page.is_encoded(coding) {
            return None;
        }
        let is_same = |other: &&Encoding| Arc::ptr_eq(&other.page, page) && other.coding == coding;
        if let Some(same) = in_flight.iter().find(is_same) {
            return Some(same.end.subscribe());
        }
        if in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let (sender, end) = watch::channel(());
        in_flight.push(Encoding {
            page: Arc::clone(page),
            coding,
            end: sender,
        });
        drop(in_flight);
        let encoding = InFlight {
            encoder: self.clone(),
            page: Arc::clone(page),
            coding,
        };
        actix_rt::spawn(encoding.run(turn_timeout));
        Some(end)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Encoding>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    async fn run(self, turn_timeout: Duration) {
        let turn = Arc::clone(&self.encoder.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(turn_timeout, turn).await else {
            return;
        };
        drop(actix_rt::task::spawn_blocking(move || {
            let _turn = turn;
            let budget = &self.encoder.budget;
            self.page
                .encode_with(self.coding, |body| budget.charge(body));
        }));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.encoder
            .lock()
            .retain(|other| !(Arc::ptr_eq(&other.page, &self.page) && other.coding == self.coding));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn page() -> Arc<Representation> {
        Arc::new(Representation::new("x".repeat(100_000)))
    }

    #[actix_rt::test]
    async fn a_coding_is_made_once_for_all_that_want_it() {
        let encoder = Encoder::new(1, ByteBudget::new(0));
        let page = page();
        let timeout = Duration::from_secs(60);
        let all = join_all((0..50).map(|_| encoder.encode(&page, Coding::Gzip, timeout, timeout)));
        let count = async {
            actix_rt::task::yield_now().await;
            encoder.lock().len()
        };
        let (_, in_flight) = futures_util::future::join(all, count).await;
        assert!(page.is_encoded(Coding::Gzip));
        assert_eq!(in_flight, 1);
        assert!(encoder.lock().is_empty());
    }

    #[actix_rt::test]
    async fn a_coding_that_gets_no_turn_in_time_is_not_made() {
        let encoder = Encoder::new(0, ByteBudget::new(0));
        let page = page();
        let timeout = Duration::from_millis(1);
        encoder.encode(&page, Coding::Gzip, timeout, timeout).await;
        while !encoder.lock().is_empty() {
            actix_rt::task::yield_now().await;
        }
        assert!(!page.is_encoded(Coding::Gzip));
    }
}
