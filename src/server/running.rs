//! A running server, and how it ends: signals, the service manager, the death of an actor.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::sync::watch;

use super::accepting::{Acceptor, Stop};
use crate::{cache::handle::CacheHandle, liveness::Liveness, writer::handle::WriterHandle};

/// A running server.
pub struct Running {
    /// The addresses that it listens on.
    pub addresses: Vec<SocketAddr>,
    /// The board's cache.
    pub cache: CacheHandle,
    /// The writer; `None` if the database is read-only.
    pub writer: Option<WriterHandle>,
    /// The addresses of the admin routes, if they have their own.
    pub admin_addresses: Vec<SocketAddr>,
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) stop: watch::Sender<Stop>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) liveness: Liveness,
    pub(super) shutdown_delay: Duration,
}

/// Stops a server.
#[derive(Debug, Clone)]
pub struct Stopper {
    stop: watch::Sender<Stop>,
    stopping: Arc<AtomicBool>,
}

impl Stopper {
    /// From now on `/health/ready` answers 503.
    pub fn announce(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Stops the server and waits until it has stopped. A graceful stop answers the requests in flight first.
    pub async fn stop(&self, graceful: bool) {
        self.announce();
        self.stop.send_replace(if graceful {
            Stop::Gracefully
        } else {
            Stop::AtOnce
        });
        self.stop.closed().await;
    }
}

impl Running {
    /// Returns a handle that stops the server.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            stop: self.stop.clone(),
            stopping: Arc::clone(&self.stopping),
        }
    }

    /// Serves until it is stopped, then waits until all admitted writes are answered.
    ///
    /// # Errors
    /// If an actor or task has died that the server needs.
    pub async fn serve(mut self) -> io::Result<()> {
        let served = self.acceptors.into_iter().map(Acceptor::run);
        let served = futures_util::future::join_all(served);
        tokio::select! {
            _ = served => {}
            name = self.liveness.first_death() => {
                return Err(io::Error::other(format!(
                    "{name} has stopped: exiting, so that the service manager can start a new process"
                )));
            }
        }
        if let Some(writer) = self.writer {
            writer.idle().await;
        }
        Ok(())
    }

    /// Serves until SIGINT or SIGTERM, then stops gracefully. A second signal ends the process at once.
    /// Notifies the service manager when the server is ready and when it stops (sd_notify).
    ///
    /// # Errors
    /// As [`Running::serve`], or if signals cannot be waited for.
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
            log::warn!("received a second signal: exiting at once");
            std::process::exit(1);
        });
        self.serve().await
    }
}

fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot notify the service manager: {error}");
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
