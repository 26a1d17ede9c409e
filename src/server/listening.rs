//! One address: its workers, its routes, its bounds.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use actix_rt::net::TcpStream;
use actix_web::{App, HttpServer, dev::Server};
#[cfg(target_os = "linux")]
use socket2::SockRef;

use crate::{
    config::{Front, Limits},
    http::{self, Face, Handles},
};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// On this host and port.
    At(String),
    /// On a socket that listens already: socket activation.
    On(TcpListener),
}

/// A server that listens, and where.
pub(super) fn served(
    listen: Listen,
    limits: &Limits,
    front: &Front,
    handles: &Handles,
    face: Face,
    workers: Option<usize>,
) -> io::Result<(Server, Vec<SocketAddr>)> {
    let send_timeout = front.send_timeout();
    let metrics = handles.metrics.clone();
    let handles = handles.clone();
    let mut server = HttpServer::new(move || {
        App::new().configure(|config| http::configure(config, &handles, face))
    })
    .on_connect(move |connection, data| {
        data.insert(metrics.connected());
        if let Some(stream) = connection.downcast_ref::<TcpStream>() {
            cut_off_after(stream, send_timeout);
        }
    })
    .disable_signals()
    .tcp_nodelay(true)
    .backlog(BACKLOG)
    .max_connections(limits.max_connections)
    .keep_alive(Duration::from_secs(limits.keep_alive_secs))
    .client_request_timeout(Duration::from_millis(limits.head_timeout_ms))
    .shutdown_timeout(limits.shutdown_timeout_secs);
    if let Some(workers) = workers {
        server = server.workers(workers);
    }
    let server = match listen {
        Listen::At(address) => server.bind(address)?,
        Listen::On(listener) => server.listen(listener)?,
    };
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

/// Has the kernel end a connection whose other side leaves what was sent to it unread for so long
/// (RFC 5482): neither HTTP nor TCP would, and its body would be held for ever.
#[cfg(target_os = "linux")]
fn cut_off_after(stream: &TcpStream, timeout: Duration) {
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(timeout)) {
        log::debug!("no time limit for what is sent: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn cut_off_after(_: &TcpStream, _: Duration) {}
