//! Accepts the connections of one address, and ends them in order on a stop.
//!
//! A graceful stop has three steps, so that no request is lost and no client waits for another one:
//!
//! 1. During a grace period requests are answered as before, but each response says `Connection: close`. The
//!    period ends early if all connections from before the stop have ended.
//! 2. Idle connections are closed. New ones are still accepted and answered until all connections from before
//!    the stop have ended.
//! 3. No more connections are accepted. Those that were opened during the stop have a few seconds to end: slow
//!    ones must not keep the next process from starting.
//!
//! The three steps together take `--shutdown-timeout-secs` at most.

use std::{
    future::{Future, pending, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep, timeout_at},
};

use super::{
    Settings,
    settings::Address,
    workers::{Accepted, Workers},
};
use crate::{http::Handles, metrics::Metrics};

/// How long connections that were opened during a stop may take to end once nothing is accepted any more: the
/// time that a commit waits for another process, by default.
const LAST_CONNECTIONS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long accepting pauses after an error such as too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// How many queued connections are accepted before a listening socket is closed.
const MAX_LAST_ACCEPTED: usize = 4096;

/// The command to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Go on.
    No,
    /// Answer the requests in flight first.
    Gracefully,
    /// Stop at once.
    AtOnce,
}

/// Accepts connections and passes them to workers.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<TcpListener>,
    are_inherited: bool,
    workers: Workers,
    permits: Arc<Semaphore>,
    shutdown_grace: Duration,
    shutdown_timeout: Duration,
    metrics: Metrics,
    stop: watch::Receiver<Stop>,
    /// Cloned into every connection that is accepted from now on.
    open: mpsc::Sender<()>,
    /// Closed when all connections with a clone of `open` have ended.
    ended: mpsc::Receiver<()>,
}

impl Acceptor {
    /// Listens on the address, and starts its workers.
    ///
    /// # Errors
    /// If it cannot be listened on, or a worker cannot be started.
    pub(super) async fn start(
        address: Address,
        settings: &Settings,
        handles: &Handles,
        stop: watch::Receiver<Stop>,
    ) -> io::Result<Self> {
        let listeners = address.listen.listeners()?;
        let mut sockets = Vec::new();
        for socket in listeners.sockets {
            socket.set_nonblocking(true)?;
            sockets.push(TcpListener::from_std(socket)?);
        }
        let (open, ended) = mpsc::channel(1);
        Ok(Self {
            listeners: sockets,
            are_inherited: listeners.are_inherited,
            workers: Workers::start(address.workers, handles, address.routes).await?,
            permits: Arc::new(Semaphore::new(address.max_connections)),
            shutdown_grace: settings.shutdown_grace,
            shutdown_timeout: settings.shutdown_timeout,
            metrics: handles.metrics.clone(),
            stop,
            open,
            ended,
        })
    }

    /// Returns the addresses of the sockets.
    ///
    /// # Errors
    /// If the address of a socket is unknown.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Accepts connections until the server is told to stop and all of them have ended.
    pub(super) async fn run(mut self) {
        let mut stop = self.stop.clone();
        self.accept_until(async {
            let _ = stop.wait_for(|stop| *stop != Stop::No).await;
        })
        .await;
        let mut at_once = self.stop.clone();
        let at_once = async move {
            if at_once
                .wait_for(|stop| *stop == Stop::AtOnce)
                .await
                .is_err()
            {
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = at_once => {}
            () = self.finish() => {}
        }
        self.listeners.clear();
        self.workers.end().await;
    }

    /// The three steps of a graceful stop.
    async fn finish(&mut self) {
        let begun = Instant::now();
        let deadline = begun + self.shutdown_timeout;
        let grace_ends = deadline.min(begun + self.shutdown_grace);
        self.workers.close_after_answers();
        let mut old = self.begin_generation();
        let mut old = pin!(async move { while old.recv().await.is_some() {} });
        let mut have_ended = false;
        self.accept_until(async {
            have_ended = timeout_at(grace_ends.into(), old.as_mut()).await.is_ok();
        })
        .await;
        self.workers.end_idle();
        if !have_ended {
            self.accept_until(async {
                let _ = timeout_at(deadline.into(), old).await;
            })
            .await;
        }
        self.accept_last();
        // From now on clients are refused, or wait for the next process.
        let deadline = deadline.min(Instant::now() + LAST_CONNECTIONS_TIMEOUT);
        let mut last = self.begin_generation();
        let last = async move { while last.recv().await.is_some() {} };
        if timeout_at(deadline.into(), last).await.is_err() {
            log::warn!("cut off connections that did not finish before the shutdown deadline");
        }
    }

    /// Returns a channel that closes when all connections that were accepted until now have ended.
    fn begin_generation(&mut self) -> mpsc::Receiver<()> {
        let (open, ended) = mpsc::channel(1);
        self.open = open;
        std::mem::replace(&mut self.ended, ended)
    }

    async fn accept_until(&mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            let accepted = self.accept();
            let accepted = tokio::select! {
                biased;
                () = end.as_mut() => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, permit)) => self.serve(stream, permit),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    log::warn!("cannot accept connections: {error}");
                    tokio::select! {
                        () = end.as_mut() => return,
                        () = sleep(PAUSE_AFTER_ERROR) => {}
                    }
                }
            }
        }
    }

    /// Accepts the next connection once there is a permit for it; until then it waits in the kernel.
    async fn accept(&self) -> io::Result<(tokio::net::TcpStream, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let accepted = poll_fn(|cx| {
            let polled = self.listeners.iter().map(|socket| socket.poll_accept(cx));
            let ready = polled.into_iter().find(Poll::is_ready);
            ready.unwrap_or(Poll::Pending)
        });
        Ok((accepted.await?.0, permit))
    }

    fn serve(&self, stream: tokio::net::TcpStream, permit: OwnedSemaphorePermit) {
        match stream.into_std() {
            Ok(stream) => self.workers.serve(Accepted {
                stream,
                permit,
                open: self.open.clone(),
                counted: self.metrics.connected(),
            }),
            Err(error) => log::debug!("cannot serve a connection: {error}"),
        }
    }

    /// Accepts the connections that are queued in the kernel, and closes the sockets. Leaves inherited sockets
    /// alone: the next process accepts their connections.
    fn accept_last(&mut self) {
        let listeners = std::mem::take(&mut self.listeners);
        if self.are_inherited {
            return;
        }
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        for listener in listeners {
            for _ in 0..MAX_LAST_ACCEPTED {
                let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                    break;
                };
                let Poll::Ready(Ok((stream, _))) = listener.poll_accept(&mut cx) else {
                    break;
                };
                self.serve(stream, permit);
            }
        }
    }
}

/// Returns whether an error of accepting concerns one connection only, which is gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
