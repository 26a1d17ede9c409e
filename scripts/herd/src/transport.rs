//! A TCP connection of a client below awc, which takes the end of a connection for the end of a body, and an interim
//! response for the final one. Here the first is an error, and the second is skipped.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use actix_service::{Service, ServiceExt as _};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector};
use awc::http::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest head of an interim response (1xx).
const LONGEST_INTERIM: usize = 64 * 1024;
/// Length of `HTTP/1.1 103`.
const STATUS_END: usize = 12;

/// A connection on which one request is sent at a time.
#[derive(Debug)]
pub(super) struct Transport {
    stream: TcpStream,
    /// A request was sent, and its final response has not begun.
    awaits_final: bool,
    /// What was read to see whether a response is the final one.
    seen: Vec<u8>,
}

/// Returns a service that connects.
pub(super) fn connector() -> impl Service<
    ConnectInfo<Uri>,
    Response = Connection<Uri, Transport>,
    Error = ConnectError,
    Future: 'static,
> + Clone
+ 'static {
    Connector::default()
        .service()
        .map(|connection: Connection<Uri, TcpStream>| {
            let (stream, uri) = connection.into_parts();
            let transport = Transport {
                stream,
                awaits_final: false,
                seen: Vec::new(),
            };
            Connection::new(uri, transport)
        })
}

impl Transport {
    /// Reads until the final response has begun; its bytes are in `seen` then.
    fn poll_final(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.awaits_final {
            if self.seen.len() >= STATUS_END {
                if !is_interim(&self.seen) {
                    self.awaits_final = false;
                    break;
                }
                if let Some(end) = self.seen.windows(4).position(|four| four == b"\r\n\r\n") {
                    self.seen.drain(..end + 4);
                    continue;
                }
                if self.seen.len() > LONGEST_INTERIM {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
            }
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(ended()));
            }
            self.seen.extend_from_slice(read.filled());
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns whether a response is followed by another one (RFC 9110 §15.2): 1xx, except 101.
fn is_interim(head: &[u8]) -> bool {
    let status = head.get(9..STATUS_END);
    status.is_some_and(|status| status.starts_with(b"1") && status != b"101")
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended")
}

/// Returns whether reading failed because the server has ended the connection.
pub(super) fn is_end(error: &awc::error::PayloadError) -> bool {
    use awc::error::PayloadError::{Incomplete, Io};
    matches!(error, Incomplete(Some(error)) | Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_final(cx))?;
        if !self.seen.is_empty() {
            let length = self.seen.len().min(read.remaining());
            read.put_slice(&self.seen[..length]);
            self.seen.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let before = read.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, read))?;
        if read.filled().len() == before && read.remaining() > 0 {
            return Poll::Ready(Err(ended()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.awaits_final = true;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl ActixStream for Transport {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.stream, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.stream, cx)
    }
}
