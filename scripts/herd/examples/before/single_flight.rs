//! Single flight: requests that come during a rebuild wait for it, and start none of their own.

use std::{
    future::Future,
    sync::{Arc, Mutex, Weak},
};

use tokio::sync::OnceCell;

use crate::{Result, board::Board};

/// The rebuild that is under way, owned by the requests that wait for it.
///
/// A request may join a rebuild that read the database before a write. The publisher's cache, which promises
/// more, does not allow that (`src/cache/state.rs`).
#[derive(Default)]
pub struct SingleFlight(Mutex<Weak<OnceCell<Arc<Board>>>>);

impl SingleFlight {
    /// Waits for the rebuild that is under way, or does `rebuild`. If the request that rebuilds fails or goes
    /// away, the next one takes over.
    pub async fn join<F>(&self, rebuild: impl FnOnce() -> F) -> Result<Arc<Board>>
    where
        F: Future<Output = Result<Arc<Board>>>,
    {
        let flight = self.current();
        let board = flight.get_or_try_init(rebuild).await?;
        Ok(Arc::clone(board))
    }

    fn current(&self) -> Arc<OnceCell<Arc<Board>>> {
        let mut latest = self.0.lock().unwrap();
        match latest.upgrade().filter(|flight| !flight.initialized()) {
            Some(flight) => flight,
            None => {
                let flight = Arc::default();
                *latest = Arc::downgrade(&flight);
                flight
            }
        }
    }
}
