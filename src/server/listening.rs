//! Listening sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// On this host and port.
    At(String),
    /// On sockets that listen already (socket activation).
    On(Vec<TcpListener>),
}

/// Where to listen for whom.
#[derive(Debug)]
pub struct Addresses {
    /// For miners and validators, and for operators if they have no address of their own.
    pub public: Listen,
    /// For operators, instead of `--admin-address`.
    pub admin: Option<Listen>,
}

impl From<Listen> for Addresses {
    fn from(public: Listen) -> Self {
        Self {
            public,
            admin: None,
        }
    }
}

/// The listening sockets of one address.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    /// Whether a service manager keeps them open: the next process accepts the connections still queued.
    pub(super) are_inherited: bool,
}

impl Listen {
    /// Listens on all addresses of the host that can be bound.
    ///
    /// # Errors
    /// If no address can be bound.
    pub(super) fn listeners(self) -> io::Result<Listeners> {
        let address = match self {
            Self::On(sockets) => {
                return Ok(Listeners {
                    sockets,
                    are_inherited: true,
                });
            }
            Self::At(address) => address,
        };
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        };
        let sockets = bind_all(&address).map_err(failed)?;
        Ok(Listeners {
            sockets,
            are_inherited: false,
        })
    }
}

fn bind_all(address: &str) -> io::Result<Vec<TcpListener>> {
    let (mut sockets, mut failed) = (Vec::new(), None);
    for address in address.to_socket_addrs()? {
        match bind(address) {
            Ok(socket) => sockets.push(socket),
            Err(error) => failed = Some(error),
        }
    }
    if sockets.is_empty() {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        return Err(failed.unwrap_or_else(none));
    }
    Ok(sockets)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Without it, a restart fails while old connections are in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
