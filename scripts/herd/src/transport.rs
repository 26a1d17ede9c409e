//! The bytes below HTTP: connecting, TLS, and how much was received.

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
    course::{Course, Phase},
    failures::Reason,
    sockets::Room,
    target::{HTTP2, Origin},
    tls,
};

/// A connection that has received so many bytes without a pause lets others work before it reads on.
const MOST_AT_ONCE: usize = 64 * 1024;
/// ENFILE and EMFILE, of every Unix: the system, or this process, has no file descriptor left.
const NO_DESCRIPTOR: [i32; 2] = [23, 24];

/// A connection to a server.
pub(super) struct Stream {
    bytes: Bytes,
    received: Received,
    /// Bytes since it was last not ready.
    at_once: usize,
    _room: Room,
}

#[derive(Debug)]
enum Bytes {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How much a connection has received.
#[derive(Debug, Clone, Default)]
pub(super) struct Received(Rc<Cell<u64>>);

impl Received {
    /// Returns the number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
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
        course: &Course,
    ) -> Result<Self, Failed> {
        course.enter(Phase::Connection);
        let tcp = connect_to_one(&origin.addresses, number, from).await?;
        let bytes = match &origin.tls {
            None => Bytes::Plain(tcp),
            Some(tls) => {
                course.enter(Phase::Tls);
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
            at_once: 0,
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

    /// Returns a view on how much the connection has received.
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
            Err(error) => {
                let this = failure(&error, Reason::Unreachable);
                // What an address has refused says more than that there was no local port for the next one.
                if this.reason != Reason::OutOfResources || failed.reason == Reason::Unresolved {
                    failed = this;
                }
            }
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

/// Returns whether an error says that this machine lacks descriptors or local ports.
pub(super) fn is_out_of_resources(error: &io::Error) -> bool {
    out_of_resources(error).is_some()
}

/// Returns the reason of an error of a stream; `other` if it says too little.
pub(super) fn failure(error: &io::Error, other: Reason) -> Failed {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    if let Some(detail) = out_of_resources(error) {
        return Failed::new(Reason::OutOfResources, detail);
    }
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

/// Returns what this machine has run out of, if that is the cause, and what to do.
fn out_of_resources(error: &io::Error) -> Option<String> {
    use io::ErrorKind as Kind;
    let code = error.raw_os_error()?;
    let (what, cure) = if cfg!(unix) && NO_DESCRIPTOR.contains(&code) {
        let cure = "raise `ulimit -n` or fs.file-max, or lower --max-connections";
        ("no descriptor", cure)
    } else if matches!(error.kind(), Kind::AddrNotAvailable | Kind::AddrInUse) {
        let cure = "widen net.ipv4.ip_local_port_range, or give --from-addresses";
        ("no local port", cure)
    } else {
        return None;
    };
    Some(format!("{what}: {error}: {cure}"))
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
        if self.at_once >= MOST_AT_ONCE {
            self.at_once = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = self.bytes().poll_read(cx, buffer);
        let length = buffer.filled().len() - before;
        self.received.0.set(self.received.bytes() + length as u64);
        self.at_once = match read {
            Poll::Pending => 0,
            Poll::Ready(_) => self.at_once + length,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_this_machine_lacks_is_no_fault_of_the_network() {
        for (code, reason, first) in [
            (23, Reason::OutOfResources, "no descriptor"),
            (24, Reason::OutOfResources, "no descriptor"),
            (98, Reason::OutOfResources, "no local port"),
            (99, Reason::OutOfResources, "no local port"),
            (101, Reason::Unreachable, "Network is unreachable"),
            (111, Reason::Refused, "Connection refused"),
        ] {
            let failed = failure(&io::Error::from_raw_os_error(code), Reason::Unreachable);
            assert_eq!(failed.reason, reason, "{code}");
            assert!(failed.detail.starts_with(first), "{code}: {failed:?}");
        }
    }
}
