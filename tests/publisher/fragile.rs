//! A server whose clock panics on some threads, to see what a panic costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use cathedral_publisher::{
    cache::build::StoreBuilder,
    domain::clock::{Clock, Sleep, SystemClock},
    http::AdminTokens,
    server::{self, Listen, Parts, Running, Settings},
    store::{
        Store,
        sqlite::{SqliteStore, file::DatabaseFile},
    },
};

use crate::app::Data;

/// A clock that panics when some threads read it, once it is armed.
#[derive(Debug, Clone)]
pub struct FragileClock {
    armed: Arc<AtomicBool>,
    thread: ThreadId,
    panics_on_thread: bool,
}

impl FragileClock {
    /// Panics on the calling thread only.
    pub fn on_this_thread() -> Self {
        Self {
            armed: Arc::default(),
            thread: thread::current().id(),
            panics_on_thread: true,
        }
    }

    /// Panics on all threads except the calling one.
    pub fn on_other_threads() -> Self {
        Self {
            panics_on_thread: false,
            ..Self::on_this_thread()
        }
    }

    /// Sets whether it panics.
    pub fn arm(&self, armed: bool) {
        self.armed.store(armed, SeqCst);
    }
}

impl Clock for FragileClock {
    fn now(&self) -> Instant {
        let is_hit = (thread::current().id() == self.thread) == self.panics_on_thread;
        assert!(!(is_hit && self.armed.load(SeqCst)), "on purpose");
        SystemClock.now()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        SystemClock.sleep_until(deadline)
    }
}

/// Starts a server with this clock. It never polls the database for changes.
pub async fn start(data: &Data, mut settings: Settings, clock: &FragileClock) -> Running {
    settings.watch.change_poll = Duration::from_secs(3600);
    let file = DatabaseFile::new(&data.path(), false);
    let store = Store::Sqlite(SqliteStore::new(file, settings.store, true));
    let parts = Parts {
        builder: Arc::new(StoreBuilder {
            store: store.clone(),
        }),
        store,
        clock: Arc::new(clock.clone()),
        writable: true,
        follow: None,
        tokens: AdminTokens::default(),
        jwk_set: Default::default(),
        verifies_rows: false,
        dropped_log_lines: Default::default(),
    };
    let listen = Listen::At("127.0.0.1:0".to_owned());
    server::start(listen, settings, parts).await.unwrap()
}
