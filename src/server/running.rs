//! A running server, and how it ends: signals, the service manager, the death of an actor.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::sync::watch;

use super::{
    Reload, Signals,
    accepting::{Acceptor, Stop},
    reload, service_manager,
};
use crate::{
    cache::{handle::CacheHandle, saver::Saver},
    liveness::Liveness,
    writer::handle::WriterHandle,
};

/// How much longer than `--shutdown-timeout-secs` a stop may take: for admitted writes, hanging reads and the last
/// checkpoint. A disk that does not answer must not hold the process for ever.
const LAST_WORK_TIMEOUT: Duration = Duration::from_secs(10);

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
    pub(super) saver: Option<Saver>,
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) stop: watch::Sender<Stop>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) liveness: Liveness,
    pub(super) shutdown_delay: Duration,
    pub(super) shutdown_timeout: Duration,
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

    /// Serves until it is stopped, then waits until all admitted writes are answered and the last board is in the
    /// snapshot file.
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
        if let Some(saver) = self.saver {
            saver.finish().await;
        }
        Ok(())
    }

    /// Serves until a signal to stop, then stops gracefully. A second one ends the process at once, with exit
    /// code 1. SIGHUP calls each of `reloads` on a thread of its own; without `reloads` it is a signal to stop. Notifies the service manager when the server is ready, reloads and stops (sd_notify(3)).
    ///
    /// # Errors
    /// As [`Running::serve`].
    pub async fn serve_until_signal(
        self,
        mut signals: Signals,
        reloads: Option<Vec<Reload>>,
    ) -> io::Result<()> {
        let stopper = self.stopper();
        let delay = self.shutdown_delay;
        let limit = delay + self.shutdown_timeout + LAST_WORK_TIMEOUT;
        service_manager::tell(&[NotifyState::Ready]);
        if let Some(reloads) = reloads
            && let Some(mut hangup) = signals.take_hangup()
        {
            actix_rt::spawn(async move {
                while hangup.recv().await.is_some() {
                    reload_all(&reloads).await;
                }
            });
        }
        actix_rt::spawn(async move {
            let name = signals.stop().await;
            log::info!("{name}: stopping");
            service_manager::tell(&[NotifyState::Stopping]);
            stopper.announce();
            exit_after(limit, name.to_owned());
            actix_rt::spawn(async move {
                tokio::time::sleep(delay).await;
                stopper.stop(true).await;
            });
            let name = signals.stop().await;
            log::warn!("{name}: received a second signal: exiting at once");
            log::logger().flush();
            std::process::exit(1);
        });
        let served = self.serve().await;
        if let Err(error) = &served {
            exit_after(LAST_WORK_TIMEOUT, error.to_string());
        }
        served
    }
}

/// Ends the process if it has not ended by then, and says why it should. The thread does not keep it from ending earlier.
fn exit_after(limit: Duration, why: String) {
    let thread = thread::Builder::new().name("stop".to_owned());
    let started = thread.spawn(move || {
        thread::sleep(limit);
        let seconds = limit.as_secs();
        log::error!(
            "{why}: the stop has not ended after {seconds} s, the database may hang: exiting at once"
        );
        log::logger().flush();
        std::process::exit(1);
    });
    if let Err(error) = started {
        log::warn!("the stop has no time limit: {error}");
    }
}

/// Reads everything again, and tells the service manager.
async fn reload_all(reloads: &[Reload]) {
    // What systemd's Type=notify-reload waits for.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => service_manager::tell(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!("cannot notify the service manager: {error}"),
    }
    reload::all(reloads).await;
    service_manager::tell(&[NotifyState::Ready]);
}
