//! Whether the database answers (WIRE.md, GET /health).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::store::{pool::ReadPool, read};

/// How long the database has for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A handler's way to the health of the database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    pool: ReadPool,
    /// One probe at a time: a herd of checks must not take the pool from the board.
    turn: Arc<Semaphore>,
}

impl HealthHandle {
    /// Probes through `pool`.
    pub fn new(pool: ReadPool) -> Self {
        Self {
            pool,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether the database answers within two seconds.
    pub async fn database_answers(&self) -> bool {
        let turn = Arc::clone(&self.turn).acquire_owned();
        let Ok(turn) = tokio::time::timeout(PROBE_TIMEOUT, turn).await else {
            return false;
        };
        let pool = self.pool.clone();
        let probe = actix_rt::task::spawn_blocking(move || {
            let _turn = turn;
            read::probe(&*pool.reader(Instant::now() + PROBE_TIMEOUT)?)
        });
        match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(Ok(()))) => true,
            Ok(Ok(Err(error))) => {
                log::debug!("health: {error}");
                false
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
