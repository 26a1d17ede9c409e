//! The bytes below HTTP: connecting, and whether anything was received.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};

use crate::{answer::Failed, failures::Reason, target::Origin};

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    received: Received,
}

/// Whether a connection has received anything, since this was last asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Received(Rc<Cell<bool>>);

impl Received {
    /// Returns whether there was anything, and forgets it.
    pub(super) fn take(&self) -> bool {
        self.0.take()
    }
}

impl Stream {
    /// Connects to the first address that accepts, from the address `from`. The caller bounds the time.
    ///
    /// # Errors
    /// The failure of the last address.
    pub(super) async fn connect(origin: &Origin, from: Option<IpAddr>) -> Result<Self, Failed> {
        let mut failed = Failed::new(Reason::Unresolved, "no address");
        for address in &origin.addresses {
            match connect_to(*address, from).await {
                Ok(tcp) => {
                    let received = Received::default();
                    return Ok(Self { tcp, received });
                }
                Err(error) => failed = failure(&error, Reason::Unreachable),
            }
        }
        Err(failed)
    }

    /// Returns a view on whether the connection has received anything.
    pub(super) fn received(&self) -> Received {
        self.received.clone()
    }
}

async fn connect_to(address: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A request is written at once; nothing is gained by waiting for more.
    socket.set_nodelay(true)?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(address).await
}

/// Returns the reason of an error of a socket; `other` if it says too little.
pub(super) fn failure(error: &io::Error, other: Reason) -> Failed {
    use io::ErrorKind as Kind;
    let reason = match error.kind() {
        Kind::ConnectionRefused => Reason::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Reason::Reset,
        Kind::TimedOut => Reason::TimedOut,
        _ => other,
    };
    Failed::new(reason, error.to_string())
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.received.0.set(true);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
