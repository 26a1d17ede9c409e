//! One address: its workers, its routes, its bounds.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    rc::Rc,
    time::Duration,
};

use actix_http::{HttpService, error::DispatchError};
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{Service as _, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::{App, dev::AppConfig};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    config::{Front, Limits},
    http::{
        self, Face, Handles, LendingStream,
        fast_path::{FastPath, Patience, Stopping},
    },
};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long a client has to take leave of a connection that is closed.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// On this host and port.
    At(String),
    /// On a socket that listens already: socket activation.
    On(TcpListener),
}

impl Listen {
    /// All addresses of the host, as far as there are any that can be listened on.
    fn listeners(self) -> io::Result<Vec<TcpListener>> {
        let address = match self {
            Self::On(listener) => return Ok(vec![listener]),
            Self::At(address) => address,
        };
        let (mut listeners, mut failed) = (Vec::new(), None);
        for address in address.to_socket_addrs()? {
            match bind(address) {
                Ok(listener) => listeners.push(listener),
                Err(error) => failed = Some(error),
            }
        }
        if listeners.is_empty() {
            let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            return Err(failed.unwrap_or_else(none));
        }
        Ok(listeners)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Or a restart would have to wait for the old connections to be forgotten.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A server that listens, and where. It is what [`actix_web::HttpServer`] makes, but that a connection
/// begins on the fast path, and can be lent bodies.
pub(super) fn served(
    listen: Listen,
    limits: &Limits,
    front: &Front,
    handles: &Handles,
    face: Face,
    workers: Option<usize>,
) -> io::Result<(Server, Vec<SocketAddr>)> {
    let mut server = Server::build()
        .disable_signals()
        .max_concurrent_connections(limits.max_connections)
        .shutdown_timeout(limits.shutdown_timeout_secs);
    if let Some(workers) = workers {
        server = server.workers(workers);
    }
    let manner = Manner {
        handles: handles.clone(),
        face,
        patience: Patience {
            head_timeout: Duration::from_millis(limits.head_timeout_ms),
            keep_alive: Duration::from_secs(limits.keep_alive_secs),
        },
        send_timeout: front.send_timeout(),
        stopping: server.graceful_shutdown_signal(),
    };
    let mut addresses = Vec::new();
    for listener in listen.listeners()? {
        let address = listener.local_addr()?;
        let manner = manner.clone();
        server = server.listen(format!("http://{address}"), listener, move || {
            manner.service()
        })?;
        addresses.push(address);
    }
    Ok((server.run(), addresses))
}

/// How the connections of one address are served.
#[derive(Clone)]
struct Manner {
    handles: Handles,
    face: Face,
    patience: Patience,
    send_timeout: Duration,
    stopping: GracefulShutdownSignal,
}

impl Manner {
    /// What a worker serves connections with.
    fn service(
        &self,
    ) -> impl ServiceFactory<
        TcpStream,
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let Self {
            handles,
            face,
            patience,
            ..
        } = self.clone();
        let stopping = self.worker_stopping();
        let fast_path = FastPath::new(&handles, patience, stopping.clone());
        let fast_path = fast_path.filter(|_| face != Face::Admin);
        let metrics = handles.metrics.clone();
        let app = App::new().configure(move |config| http::configure(config, &handles, face));
        let http = HttpService::build()
            .keep_alive(patience.keep_alive)
            .client_request_timeout(patience.head_timeout)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.begun().await }
            })
            .on_connect_ext(|connection: &LendingStream<TcpStream>, data| {
                data.insert(connection.loan());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let send_timeout = self.send_timeout;
        fn_factory(move || {
            let (fast_path, metrics) = (fast_path.clone(), metrics.clone());
            let http = http.new_service(());
            async move {
                let http = Rc::new(http.await?);
                Ok(fn_service(move |stream: TcpStream| {
                    let (fast_path, http) = (fast_path.clone(), Rc::clone(&http));
                    let connected = metrics.connected();
                    async move {
                        let _connected = connected;
                        let peer = stream.peer_addr().ok();
                        prepare(&stream, send_timeout);
                        let left = match fast_path {
                            Some(fast_path) => fast_path.serve(stream).await,
                            None => Some((stream, Vec::new())),
                        };
                        let Some((stream, unread)) = left else {
                            return Ok(());
                        };
                        // Boxed: a connection that stays on the fast path needs no room for this.
                        let connection = LendingStream::new(stream, unread);
                        Box::pin(http.call((connection, peer))).await
                    }
                }))
            }
        })
    }

    /// Tells the connections of this worker when the server stops.
    fn worker_stopping(&self) -> Stopping {
        let stopping = Stopping::default();
        let (signal, worker) = (self.stopping.clone(), stopping.clone());
        actix_rt::spawn(async move {
            signal.notified().await;
            worker.begin();
        });
        stopping
    }
}

/// Answers leave at once, and the kernel ends a connection whose other side leaves what was sent to it
/// unread for so long (RFC 5482): neither HTTP nor TCP would, and its body would be held for ever.
fn prepare(stream: &TcpStream, send_timeout: Duration) {
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("answers may be late: {error}");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(send_timeout)) {
        log::debug!("no time limit for what is sent: {error}");
    }
}
