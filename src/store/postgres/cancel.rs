//! Asks a server to cancel what it does for a session.
//!
//! As libpq does, it waits until the server closes the connection of the request. The driver's own call closes it first:
//! pgbouncer 1.18 then ends with "bad client state".

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::oneshot,
};
use tokio_postgres::{CancelToken, Config, config::Host, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Sends the request to the one host of `config`, and waits until it is processed. There is no limit of time.
///
/// # Errors
/// Those of the connection. Whether anything was cancelled is never told.
pub(super) async fn cancel(
    token: &CancelToken,
    config: &Config,
    tls: MakeRustlsConnect,
) -> io::Result<()> {
    let port = config.get_ports().first().copied().unwrap_or_default();
    match config.get_hosts().first() {
        Some(Host::Tcp(host)) => {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            send(token, host, tls, stream).await
        }
        Some(Host::Unix(folder)) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            send(token, "", tls, UnixStream::connect(socket).await?).await
        }
        None => Ok(()),
    }
}

async fn send<S>(
    token: &CancelToken,
    host: &str,
    mut tls: MakeRustlsConnect,
    stream: S,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (back, returned) = oneshot::channel();
    let unclosed = Unclosed {
        stream: Some(stream),
        back: Some(back),
    };
    let tls = MakeTlsConnect::<Unclosed<S>>::make_tls_connect(&mut tls, host);
    let sent = token.cancel_query_raw(unclosed, tls.map_err(io::Error::other)?);
    sent.await.map_err(io::Error::other)?;
    let mut stream = returned.await.map_err(io::Error::other)?;
    let mut rest = [0; 256];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A stream that is not shut down, and comes back when it is dropped.
struct Unclosed<S> {
    /// `None` only while it is dropped.
    stream: Option<S>,
    back: Option<oneshot::Sender<S>>,
}

impl<S: Unpin> Unclosed<S> {
    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S> Drop for Unclosed<S> {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // Nobody waits if the request was given up.
            drop(back.send(stream));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unclosed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unclosed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
