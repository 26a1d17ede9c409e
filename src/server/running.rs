//! A server that listens, and how it ends.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::dev::{Server, ServerHandle};
use sd_notify::NotifyState;

use crate::{cache::handle::CacheHandle, liveness::Liveness, writer::handle::WriterHandle};

/// A server that listens.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// The board's cache.
    pub cache: CacheHandle,
    /// The write side, where there is one.
    pub writer: Option<WriterHandle>,
    /// Where the admin routes are, where they have an address of their own.
    pub admin_addresses: Vec<SocketAddr>,
    pub(super) servers: Vec<Server>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) liveness: Liveness,
    pub(super) shutdown_delay: Duration,
}

/// Ends a server.
#[derive(Debug, Clone)]
pub struct Stopper {
    servers: Vec<ServerHandle>,
    stopping: Arc<AtomicBool>,
}

impl Stopper {
    /// From now on `/health/ready` says 503.
    pub fn announce(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Stops listening; gracefully: ends the requests under way.
    pub async fn stop(&self, graceful: bool) {
        self.announce();
        let stopped = self.servers.iter().map(|server| server.stop(graceful));
        futures_util::future::join_all(stopped).await;
    }
}

impl Running {
    /// What can stop the server.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            servers: self.servers.iter().map(Server::handle).collect(),
            stopping: Arc::clone(&self.stopping),
        }
    }

    /// Serves until it is stopped; then whatever was admitted is written.
    ///
    /// # Errors
    /// Where accepting connections fails for good, or something has died that cannot be done without.
    pub async fn serve(mut self) -> io::Result<()> {
        let served = futures_util::future::try_join_all(self.servers);
        tokio::select! {
            served = served => served.map(drop)?,
            name = self.liveness.first_death() => {
                return Err(io::Error::other(format!(
                    "{name} has died: ending, so that another process can take over"
                )));
            }
        }
        if let Some(writer) = self.writer {
            writer.idle().await;
        }
        Ok(())
    }

    /// Serves until SIGINT or SIGTERM, then ends the requests under way. A second signal ends the
    /// process at once. Tells a service manager that waits for it (sd_notify).
    ///
    /// # Errors
    /// As [`Running::serve`], or where signals cannot be waited for.
    pub async fn serve_until_signal(self) -> io::Result<()> {
        let stopper = self.stopper();
        let delay = self.shutdown_delay;
        let mut signals = Signals::new()?;
        tell_manager(NotifyState::Ready);
        actix_rt::spawn(async move {
            let name = signals.next().await;
            log::info!("{name}: stopping");
            tell_manager(NotifyState::Stopping);
            stopper.announce();
            actix_rt::spawn(async move {
                tokio::time::sleep(delay).await;
                stopper.stop(true).await;
            });
            signals.next().await;
            log::warn!("a second signal: stopping at once");
            std::process::exit(1);
        });
        self.serve().await
    }
}

fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("the service manager cannot be told: {error}");
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
