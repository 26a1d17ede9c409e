//! Listening sockets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// On this host and port.
    At(String),
    /// On this port of all addresses of the machine.
    Everywhere(u16),
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
    /// If no address can be bound, or another program listens on one of all addresses of the machine.
    pub(super) fn listeners(self) -> io::Result<Listeners> {
        let (sockets, address) = match self {
            Self::On(sockets) => {
                return Ok(Listeners {
                    sockets,
                    are_inherited: true,
                });
            }
            Self::At(address) => (bind_host(&address), address),
            Self::Everywhere(port) => (bind_everywhere(port), format!("port {port}")),
        };
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        };
        Ok(Listeners {
            sockets: sockets.map_err(failed)?,
            are_inherited: false,
        })
    }
}

fn bind_host(address: &str) -> io::Result<Vec<TcpListener>> {
    bind_all(address.to_socket_addrs()?.map(bind))
}

/// A machine may have no IPv6, or no IPv4. A port that is taken on one of them is an error, as half of the clients
/// would reach another program.
fn bind_everywhere(port: u16) -> io::Result<Vec<TcpListener>> {
    let addresses: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let bound = addresses.map(|address| bind_only((address, port).into()));
    let is_taken = |bound: &io::Result<_>| matches!(bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
    if bound.iter().any(is_taken) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    bind_all(bound)
}

/// Returns the sockets that could be bound; the last error, if there is none.
fn bind_all(
    bound: impl IntoIterator<Item = io::Result<TcpListener>>,
) -> io::Result<Vec<TcpListener>> {
    let (mut sockets, mut failed) = (Vec::new(), None);
    for bound in bound {
        match bound {
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
    listen(new_socket(address)?, address)
}

/// Does as [`bind`]; a socket of IPv6 leaves the same port of IPv4 to another socket, so that clients of IPv4 keep
/// their own form of address.
fn bind_only(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    listen(socket, address)
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
}

fn listen(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    // Without it, a restart fails while old connections are in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
