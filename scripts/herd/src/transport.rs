//! The bytes below HTTP: connecting, TLS, and whether anything was received.

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
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    answer::Failed,
    failures::Reason,
    sockets::Room,
    target::{HTTP2, Origin},
    tls,
};

/// A connection to a server.
pub(super) struct Stream {
    bytes: Bytes,
    received: Received,
    _room: Room,
}

#[derive(Debug)]
enum Bytes {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How often a connection has received something.
#[derive(Debug, Clone, Default)]
pub(super) struct Received(Rc<Cell<u64>>);

impl Received {
    /// Returns the number of reads so far that brought something.
    pub(super) fn count(&self) -> u64 {
        self.0.get()
    }

    /// Returns whether both are of the same connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Stream {
    /// Connects from the address `from`, to the address that client `number` gets, or to the next one that accepts: clients
    /// are dealt to the addresses in turn. The caller bounds the time.
    ///
    /// # Errors
    /// The failure of the last address, or of TLS.
    pub(super) async fn connect(
        origin: &Origin,
        number: u32,
        from: Option<IpAddr>,
        room: Room,
    ) -> Result<Self, Failed> {
        let tcp = connect_to_one(&origin.addresses, number, from).await?;
        let bytes = match &origin.tls {
            None => Bytes::Plain(tcp),
            Some(tls) => {
                let connector = TlsConnector::from(tls.config.clone());
                let stream = connector.connect(tls.name.clone(), tcp).await;
                Bytes::Tls(Box::new(
                    stream.map_err(|error| failure(&error, Reason::Tls))?,
                ))
            }
        };
        Ok(Self {
            bytes,
            received: Received::default(),
            _room: room,
        })
    }

    /// Returns whether the server has chosen HTTP/2 in the handshake of TLS; `None` without TLS.
    pub(super) fn has_chosen_http2(&self) -> Option<bool> {
        match &self.bytes {
            Bytes::Plain(_) => None,
            Bytes::Tls(tls) => Some(tls.get_ref().1.alpn_protocol() == Some(HTTP2)),
        }
    }

    /// Returns a view on how often the connection has received something.
    pub(super) fn received(&self) -> Received {
        self.received.clone()
    }
}

async fn connect_to_one(
    addresses: &[SocketAddr],
    number: u32,
    from: Option<IpAddr>,
) -> Result<TcpStream, Failed> {
    let mut failed = Failed::new(Reason::Unresolved, "no address");
    let first = number as usize % addresses.len().max(1);
    let (others, own) = addresses.split_at(first);
    for address in own.iter().chain(others) {
        match connect_to(*address, from).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = failure(&error, Reason::Unreachable),
        }
    }
    Err(failed)
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

/// Returns the reason of an error of a stream; `other` if it says too little.
pub(super) fn failure(error: &io::Error, other: Reason) -> Failed {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    let reason = if tls::is_cause(error) {
        Reason::Tls
    } else if kind == Kind::ConnectionRefused {
        Reason::Refused
    } else if kind == Kind::TimedOut {
        Reason::TimedOut
    } else if matches!(kind, Kind::ConnectionReset | Kind::ConnectionAborted) {
        Reason::Reset
    } else {
        other
    };
    Failed::new(reason, error.to_string())
}

/// A stream of either kind.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Stream {
    fn bytes(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.bytes {
            Bytes::Plain(stream) => Pin::new(stream),
            Bytes::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.bytes().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.received.0.set(self.received.0.get() + 1);
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
        self.bytes().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bytes().poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Plain(stream) => stream.is_write_vectored(),
            Bytes::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes().poll_shutdown(cx)
    }
}
