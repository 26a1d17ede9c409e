//! The threads that serve connections, each with a door of its own.

use std::{
    io,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_rt::Arbiter;
use socket2::SockRef;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    http::{Door, Handles, RouteSet},
    metrics::OpenConnection,
};

/// Threads for blocking work that one worker may start. Each kind of blocking work has a lower limit of its
/// own; this one is for their sum.
const MAX_BLOCKING_THREADS: usize = 64;

/// How much the kernel takes of an answer beyond what is on its way to the client. What a client does not take
/// stays in shared bytes instead of in a copy of the kernel's, of which there may be megabytes a connection.
#[cfg(target_os = "linux")]
const MAX_NOT_SENT_BYTES: u32 = 128 * 1024;

/// An accepted connection, with the guards that are dropped when it ends.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    /// Counts against the limit of open connections.
    pub(super) permit: OwnedSemaphorePermit,
    /// Signals the end of the connection by being dropped.
    pub(super) open: mpsc::Sender<()>,
    pub(super) counted: OpenConnection,
}

/// A command to a worker.
#[derive(Debug)]
enum Command {
    Serve(Accepted, Load),
    CloseAfterAnswers,
    EndIdle,
}

/// Counts an open connection of one worker.
#[derive(Debug)]
struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug)]
struct Worker {
    arbiter: Arbiter,
    commands: mpsc::UnboundedSender<Command>,
    connections: Arc<AtomicUsize>,
}

/// The workers of one address.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    /// Starts `count` threads, each with a door of its own.
    ///
    /// # Errors
    /// If a thread or its door cannot be made.
    pub(super) async fn start(
        count: usize,
        handles: &Handles,
        routes: RouteSet,
    ) -> io::Result<Self> {
        let mut workers = Vec::new();
        for _ in 0..count {
            workers.push(Worker::start(handles.clone(), routes).await?);
        }
        Ok(Self(workers))
    }

    /// Passes a connection to the worker with the fewest connections.
    pub(super) fn serve(&self, accepted: Accepted) {
        let load = |worker: &&Worker| worker.connections.load(Relaxed);
        // One whose thread is gone would always have the fewest.
        let live = self.0.iter().filter(|worker| !worker.commands.is_closed());
        if let Some(worker) = live.min_by_key(load) {
            worker.connections.fetch_add(1, Relaxed);
            let load = Load(Arc::clone(&worker.connections));
            worker.tell(Command::Serve(accepted, load));
        }
    }

    /// From now on every response says `Connection: close`.
    pub(super) fn close_after_answers(&self) {
        self.0
            .iter()
            .for_each(|worker| worker.tell(Command::CloseAfterAnswers));
    }

    /// From now on idle connections are closed.
    pub(super) fn end_idle(&self) {
        self.0
            .iter()
            .for_each(|worker| worker.tell(Command::EndIdle));
    }

    /// Ends the threads, and with them the connections that are still open.
    pub(super) async fn end(self) {
        for worker in &self.0 {
            worker.arbiter.stop();
        }
        let joined = actix_rt::task::spawn_blocking(move || {
            for worker in self.0 {
                let _ = worker.arbiter.join();
            }
        });
        let _ = joined.await;
    }
}

impl Worker {
    async fn start(handles: Handles, routes: RouteSet) -> io::Result<Self> {
        let arbiter = Arbiter::try_with_tokio_rt(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime
                .enable_all()
                .max_blocking_threads(MAX_BLOCKING_THREADS);
            runtime.build()
        })?;
        let (commands, received) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                let send_timeout = handles.settings.send_timeout;
                let door = Door::new(handles, routes).await;
                let _ = ready.send(door.is_ok());
                if let Ok(door) = door {
                    obey(door, received, send_timeout).await;
                }
            });
        });
        match is_ready.await {
            Ok(true) => Ok(Self {
                arbiter,
                commands,
                connections: Arc::default(),
            }),
            Ok(false) | Err(_) => Err(io::Error::other("a worker could not be started")),
        }
    }

    fn tell(&self, command: Command) {
        // A worker that is gone has no connections.
        let _ = self.commands.send(command);
    }
}

async fn obey(
    door: std::rc::Rc<Door>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    send_timeout: Duration,
) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve(accepted, load) => {
                let door = std::rc::Rc::clone(&door);
                match prepared(accepted.stream, send_timeout) {
                    Ok(stream) => {
                        let held = (accepted.permit, accepted.open, accepted.counted, load);
                        actix_rt::spawn(async move {
                            let _held = held;
                            door.serve(stream).await;
                        });
                    }
                    Err(error) => log::debug!("cannot serve a connection: {error}"),
                }
            }
            Command::CloseAfterAnswers => door.close_after_answers(),
            Command::EndIdle => door.end_idle(),
        }
    }
}

/// Makes the socket send without delay (TCP_NODELAY), and limits how long sent data may stay
/// unacknowledged (TCP_USER_TIMEOUT, RFC 5482), and how much the kernel takes that cannot be sent yet
/// (TCP_NOTSENT_LOWAT).
fn prepared(stream: TcpStream, send_timeout: Duration) -> io::Result<actix_rt::net::TcpStream> {
    stream.set_nonblocking(true)?;
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("TCP_NODELAY cannot be set, so answers may be delayed: {error}");
    }
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(&stream);
        if let Err(error) = socket.set_tcp_user_timeout(Some(send_timeout)) {
            log::debug!("TCP_USER_TIMEOUT cannot be set, so sent data has no time limit: {error}");
        }
        if let Err(error) = socket.set_tcp_notsent_lowat(MAX_NOT_SENT_BYTES) {
            log::debug!("TCP_NOTSENT_LOWAT cannot be set, so the kernel buffers more: {error}");
        }
    }
    actix_rt::net::TcpStream::from_std(stream)
}
