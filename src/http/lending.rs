//! Bodies that are lent to a connection instead of being copied into it.
//!
//! actix-http gathers all that it sends in a buffer of each connection: every answer copies its body
//! there, and the buffer keeps its size for the next one. With 32 kB of a board that is most of what
//! 2,000 connections take. Here the dispatcher gets the head alone; the body lies where it lies, shared by
//! all, and goes to the socket behind the head, in the same system call (`writev`).
//!
//! How the two meet: a [`LentBody`] puts itself on the [`Loan`] of its connection and is pending. The
//! dispatcher then flushes what it has, the head, to its [`LendingStream`], which sends what is on loan
//! after it and wakes the dispatcher, whose body then is at its end. While a body is pending nothing else
//! is written, so that answers of pipelined requests cannot overtake each other.

use std::{
    cell::RefCell,
    convert::Infallible,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::{BodySize, MessageBody},
    http::Method,
    web::Bytes,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Shorter bodies are cheaper to copy than to lend: that wakes the dispatcher once more.
const WORTH_LENDING_BYTES: usize = 8 * 1024;

/// The body that a connection is sending; shared by the connection and its answers.
#[derive(Debug, Clone, Default)]
pub struct Loan(Rc<RefCell<Option<Sending>>>);

#[derive(Debug)]
struct Sending {
    body: Bytes,
    sent_bytes: usize,
}

impl Loan {
    fn is_open(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// A body that its connection sends by itself.
#[derive(Debug)]
struct LentBody {
    /// Until it is lent.
    body: Option<Bytes>,
    loan: Loan,
}

/// Ends an answer with this body, lent where that pays.
pub(super) fn finish(
    response: &mut HttpResponseBuilder,
    request: &HttpRequest,
    body: Bytes,
) -> HttpResponse {
    let loan = request.conn_data::<Loan>();
    let sends_body = request.method() != Method::HEAD;
    match loan.filter(|_| sends_body && body.len() >= WORTH_LENDING_BYTES) {
        None => response.body(body),
        Some(loan) => {
            let loan = loan.clone();
            // The dispatcher is not to frame what it does not see.
            response.no_chunking(body.len() as u64);
            let body = Some(body);
            response.body(LentBody { body, loan })
        }
    }
}

impl MessageBody for LentBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        if let Some(body) = self.body.take() {
            let sent_bytes = 0;
            *self.loan.0.borrow_mut() = Some(Sending { body, sent_bytes });
        }
        // The flush that follows wakes the dispatcher when all is sent.
        if self.loan.is_open() {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    }
}

/// A connection that sends what is lent to it.
#[derive(Debug)]
pub struct LendingStream<S> {
    stream: S,
    /// What somebody else has read of it.
    unread: Bytes,
    loan: Loan,
}

impl<S: AsyncWrite + Unpin> LendingStream<S> {
    /// With nothing on loan; `unread` was read already, and is to be read again.
    pub fn new(stream: S, unread: Vec<u8>) -> Self {
        Self {
            stream,
            unread: unread.into(),
            loan: Loan::default(),
        }
    }

    /// Where bodies are lent to it.
    pub fn loan(&self) -> Loan {
        self.loan.clone()
    }

    /// Sends what is on loan, to its end.
    fn poll_loan(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut loan = self.loan.0.borrow_mut();
        while let Some(sending) = &mut *loan {
            let rest = &sending.body[sending.sent_bytes..];
            if rest.is_empty() {
                *loan = None;
                cx.waker().wake_by_ref();
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => sending.sent_bytes += sent,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LendingStream<S> {
    /// What was given before the loan began goes before it, what is given while it goes on after it.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        head: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut loan = this.loan.0.borrow_mut();
        match &mut *loan {
            None => Pin::new(&mut this.stream).poll_write(cx, head),
            Some(sending) if sending.sent_bytes == 0 => {
                let both = [IoSlice::new(head), IoSlice::new(&sending.body)];
                let sent = Pin::new(&mut this.stream).poll_write_vectored(cx, &both);
                let sent = ready!(sent)?;
                sending.sent_bytes = sent.saturating_sub(head.len());
                Poll::Ready(Ok(sent.min(head.len())))
            }
            Some(_) => {
                drop(loan);
                ready!(this.poll_loan(cx))?;
                Pin::new(&mut this.stream).poll_write(cx, head)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_loan(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_loan(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LendingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let bytes = buffer.remaining().min(self.unread.len());
            buffer.put_slice(&self.unread.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}
