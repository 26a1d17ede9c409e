//! A request that goes through the actix-web application, and its response to the client.
//!
//! The application gets a request that the door has framed: its body is a stream that ends in time, and
//! that is read from the connection only as the application asks for it.

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    io, mem,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_http::{HttpMessage as _, Payload, Request, error::PayloadError};
use actix_service::Service as _;
use actix_web::{
    HttpResponse, ResponseError as _,
    body::{BodySize, BoxBody, MessageBody},
    http::{
        ConnectionType, Method, StatusCode, Uri, Version,
        header::{
            CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue,
            TRANSFER_ENCODING,
        },
    },
};
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Door, Scratch,
    body::{BodyDecoder, Piece},
    connection::{Connection, LINGER_BYTES, was_missed_by_server},
    exchange::{Exchange, Outcome, write_field, write_pieces},
    head::Head,
};
use crate::{
    http::{error::ApiError, waiting::Reason},
    metrics::requests::Route,
};

/// A request for the application.
pub(super) struct AppRequest {
    request: Request,
    exchange: Exchange<'static>,
    body: BodyDecoder,
    expects_continue: bool,
    client: IpAddr,
}

impl AppRequest {
    /// Makes a request of a head; its body follows on the connection. Its peer is the client, as trusted proxies
    /// name it. Its extensions have the reason why it is answered now.
    ///
    /// # Errors
    /// 400 if actix-web cannot represent it, 431 for a field name that it cannot.
    pub(super) fn new(
        head: &Head<'_, '_>,
        exchange: Exchange<'static>,
        client: IpAddr,
        reason: Reason,
    ) -> Result<Self, ApiError> {
        let mut request = Request::new();
        request.extensions_mut().insert(reason);
        let made = request.head_mut();
        made.method = Method::from_bytes(head.method.as_bytes())
            .map_err(|_| ApiError::Malformed("the method is invalid"))?;
        made.uri =
            Uri::try_from(head.target).map_err(|_| ApiError::Malformed("the target is invalid"))?;
        made.version = match head.minor_version {
            0 => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        made.peer_addr = Some(SocketAddr::new(client, 0));
        for field in head.fields {
            // The parser has let only tokens pass, so that an error is one of length.
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_| ApiError::HeaderTooLong)?;
            let value = HeaderValue::from_bytes(field.value)
                .map_err(|_| ApiError::Malformed("a field value is invalid"))?;
            request.headers_mut().append(name, value);
        }
        Ok(Self {
            request,
            exchange,
            body: BodyDecoder::new(head.framing),
            expects_continue: head.expects_continue,
            client,
        })
    }
}

/// The body of a request on its way from the connection to the application: one piece at a time.
#[derive(Debug, Default)]
struct Channel {
    piece: Option<Result<Bytes, PayloadError>>,
    has_ended: bool,
    /// The application waits for a piece.
    waits: Option<Waker>,
}

impl Channel {
    fn give(&mut self, piece: Result<Bytes, PayloadError>) {
        self.has_ended |= piece.is_err();
        self.piece = Some(piece);
        self.wake();
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
    }
}

/// The application's end of the channel.
#[derive(Debug)]
struct BodyStream(Rc<RefCell<Channel>>);

impl Stream for BodyStream {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut channel = self.0.borrow_mut();
        if let Some(piece) = channel.piece.take() {
            return Poll::Ready(Some(piece));
        }
        if channel.has_ended {
            return Poll::Ready(None);
        }
        channel.waits = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Connection {
    /// Passes a request through the application and sends its response. Then the next head follows on
    /// the connection, or the connection closes.
    pub(super) async fn ask_application(
        &mut self,
        door: &Door,
        request: AppRequest,
    ) -> io::Result<()> {
        self.flush(door).await?;
        let AppRequest {
            request,
            exchange,
            mut body,
            mut expects_continue,
            client,
        } = request;
        // One limit for the body, also for what is only discarded.
        let deadline = Instant::now() + door.handles.settings.body_timeout;
        let (response, is_intact) = match exchange.admit(door) {
            Ok(()) => {
                self.call(door, request, &mut body, &mut expects_continue, deadline)
                    .await?
            }
            Err(refused) => (refused.error_response(), true),
        };
        self.skip_buffered(&mut body);
        let discards = match body.remaining() {
            Some(0) => Discards::Nothing,
            // A client that waits to be asked for its body may never send it.
            Some(bytes)
                if bytes <= LINGER_BYTES as u64
                    && !expects_continue
                    && Instant::now() < deadline =>
            {
                Discards::Rest
            }
            Some(_) | None => Discards::Connection,
        };
        let asks_to_close = response.head().connection_type() == ConnectionType::Close;
        let persists = exchange.persists
            && is_intact
            && !asks_to_close
            && discards != Discards::Connection
            && door.lets_persist();
        self.closes = !persists;
        self.send_response(door, &exchange, response, client)
            .await?;
        if self.closes {
            self.unread = Vec::new();
        } else if discards == Discards::Rest {
            self.discard(door, &mut body, deadline).await?;
        }
        if self.unread.is_empty() {
            // An idle connection keeps no buffer of a body.
            self.unread = Vec::new();
        }
        Ok(())
    }

    /// Calls the application and feeds it the body. Returns its response, and whether it is intact: a
    /// panic is answered with 500.
    async fn call(
        &mut self,
        door: &Door,
        mut request: Request,
        body: &mut BodyDecoder,
        expects_continue: &mut bool,
        deadline: Instant,
    ) -> io::Result<(HttpResponse, bool)> {
        let channel = Rc::new(RefCell::new(Channel::default()));
        if !body.is_complete() {
            let stream: actix_http::BoxedPayloadStream = Box::pin(BodyStream(Rc::clone(&channel)));
            *request.payload() = Payload::Stream { payload: stream };
        }
        let called = AssertUnwindSafe(door.application.call(request)).catch_unwind();
        let mut called = pin!(called);
        let mut timeout = pin!(sleep_until(deadline));
        let called = poll_fn(|cx| {
            loop {
                if let Poll::Ready(called) = called.as_mut().poll(cx) {
                    return Poll::Ready(Ok(called));
                }
                if channel.borrow().waits.is_none() {
                    return Poll::Pending;
                }
                if mem::take(expects_continue) && self.unread.is_empty() {
                    self.set_unsent(&mut b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), Bytes::new());
                }
                let sent = self.poll_unsent(cx)?;
                let mut is_late = timeout.as_mut().poll(cx).is_ready();
                let now = Instant::now();
                if is_late && was_missed_by_server(timeout.deadline().into_std(), now.into_std()) {
                    let again = now + door.handles.settings.body_timeout;
                    timeout.as_mut().reset(again);
                    is_late = timeout.as_mut().poll(cx).is_ready();
                }
                let piece = if is_late {
                    Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into())))
                } else if sent.is_pending() {
                    return Poll::Pending;
                } else {
                    match self.poll_piece(cx, door, body) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(piece) => piece.transpose(),
                    }
                };
                let mut channel = channel.borrow_mut();
                match piece {
                    Some(piece) => channel.give(piece),
                    None => channel.end(),
                }
            }
        })
        .await;
        match called {
            Err(error) => Err(error),
            Ok(Ok(Ok(response))) => Ok((response.into_parts().1, true)),
            Ok(Ok(Err(error))) => Ok((error.error_response(), true)),
            // The panic hook has said where.
            Ok(Err(_panic)) => Ok((ApiError::Internal.error_response(), false)),
        }
    }

    /// Reads the next piece of the body; `None` at its end.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
        body: &mut BodyDecoder,
    ) -> Poll<Result<Option<Bytes>, PayloadError>> {
        loop {
            let decoded = match self.unread.as_slice() {
                [] if !body.is_complete() => Ok(Piece::NeedMore),
                unread => body.decode(unread),
            };
            match decoded {
                Err(_malformed) => return Poll::Ready(Err(PayloadError::EncodingCorrupted)),
                Ok(Piece::End { skip }) => {
                    self.unread.drain(..skip);
                    return Poll::Ready(Ok(None));
                }
                Ok(Piece::Data { skip, data }) => {
                    let piece = Bytes::copy_from_slice(&self.unread[skip..][..data]);
                    self.unread.drain(..skip + data);
                    if data > 0 {
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                Ok(Piece::NeedMore) => match self.poll_read_more(cx, door) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(PayloadError::Incomplete(None)));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                },
            }
        }
    }

    /// Drops what has arrived of a body that the application has not read.
    fn skip_buffered(&mut self, body: &mut BodyDecoder) {
        while !body.is_complete() && !self.unread.is_empty() {
            match body.decode(&self.unread) {
                Ok(Piece::Data { skip, data }) => drop(self.unread.drain(..skip + data)),
                Ok(Piece::End { skip }) => drop(self.unread.drain(..skip)),
                Ok(Piece::NeedMore) | Err(_) => return,
            }
        }
    }

    /// Reads and drops the rest of a short body.
    async fn discard(
        &mut self,
        door: &Door,
        body: &mut BodyDecoder,
        deadline: Instant,
    ) -> io::Result<()> {
        let rest = async {
            while let Some(_dropped) = poll_fn(|cx| self.poll_piece(cx, door, body)).await? {}
            Ok::<(), PayloadError>(())
        };
        match timeout_at(deadline, rest).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn send_response(
        &mut self,
        door: &Door,
        exchange: &Exchange<'_>,
        response: HttpResponse,
        client: IpAddr,
    ) -> io::Result<()> {
        // `100 Continue` may not be sent completely.
        self.flush(door).await?;
        let (response, body) = response.into_parts();
        let size = body.size();
        // A stream without a length ends with the connection where chunks are unknown.
        self.closes |= matches!(size, BodySize::Stream) && exchange.minor_version == 0;
        let (body, stream) = match body.try_into_bytes() {
            Ok(body) => (body, None),
            Err(stream) => (Bytes::new(), Some(stream)),
        };
        {
            let scratch = &mut *door.scratch.borrow_mut();
            scratch.output.clear();
            door.write_head(exchange, &response, size, !self.closes, scratch);
            let body = if exchange.is_head() {
                Bytes::new()
            } else {
                body
            };
            self.set_unsent(&mut scratch.output, body);
        }
        self.share_memory(door, exchange.route, client);
        self.flush(door).await?;
        match stream.filter(|_| !exchange.is_head()) {
            Some(stream) => {
                let is_chunked = matches!(size, BodySize::Stream) && exchange.minor_version > 0;
                self.send_stream(door, stream, is_chunked, (exchange.route, client))
                    .await
            }
            None => Ok(()),
        }
    }

    /// Sends a body piece by piece: the next one is asked for when the client has taken the last one. The pace that a
    /// client must keep is one of all pieces together.
    async fn send_stream(
        &mut self,
        door: &Door,
        stream: BoxBody,
        is_chunked: bool,
        (route, client): (Route, IpAddr),
    ) -> io::Result<()> {
        let mut stream = pin!(stream);
        // The client's time, without that of making the pieces, and what it has accepted in it.
        let (mut taken, mut sent_bytes) = (Duration::ZERO, 0_u64);
        let pace = door.handles.settings.min_send_bytes_per_sec;
        while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            let piece = piece.map_err(|error| io::Error::other(error.to_string()))?;
            if piece.is_empty() {
                continue;
            }
            let mut frame = Vec::new();
            if is_chunked {
                frame = format!("{:x}\r\n", piece.len()).into_bytes();
            }
            let piece_bytes = piece.len() as u64;
            self.set_unsent(&mut frame, piece);
            self.share_memory(door, route, client);
            let earned = Duration::from_millis(sent_bytes.saturating_mul(1000) / pace);
            self.send_earlier_by(taken.saturating_sub(earned));
            let begun = Instant::now();
            self.flush(door).await?;
            taken += begun.elapsed();
            sent_bytes += piece_bytes;
            if is_chunked {
                self.set_unsent(&mut b"\r\n".to_vec(), Bytes::new());
                self.flush(door).await?;
            }
        }
        if is_chunked {
            self.set_unsent(&mut b"0\r\n\r\n".to_vec(), Bytes::new());
        }
        self.flush(door).await
    }
}

impl Door {
    /// Writes a response to the output, its body included.
    pub(super) fn write_whole(
        &self,
        exchange: &Exchange<'_>,
        response: HttpResponse,
        persists: bool,
        scratch: &mut Scratch,
    ) {
        let (response, body) = response.into_parts();
        let size = body.size();
        self.write_head(exchange, &response, size, persists, scratch);
        // Errors are whole; a stream has no place in the output.
        if let Ok(body) = body.try_into_bytes()
            && !exchange.is_head()
        {
            scratch.output.extend_from_slice(&body);
        }
    }

    /// Writes the head of a response: its framing is the door's business (RFC 9112 §6).
    fn write_head(
        &self,
        exchange: &Exchange<'_>,
        response: &HttpResponse<()>,
        size: BodySize,
        persists: bool,
        scratch: &mut Scratch,
    ) {
        let Scratch { output, date, .. } = scratch;
        let status = response.status();
        let reason = status.canonical_reason().unwrap_or("Unknown");
        write_pieces(output, &["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"]);
        let has_no_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut body_bytes = 0;
        match size {
            BodySize::None | BodySize::Sized(_) | BodySize::Stream if has_no_body => {}
            BodySize::None => write_field(output, "content-length", "0"),
            BodySize::Sized(bytes) => {
                write_field(output, "content-length", &bytes.to_string());
                body_bytes = if exchange.is_head() { 0 } else { bytes };
            }
            BodySize::Stream if exchange.minor_version == 0 => {}
            BodySize::Stream => write_field(output, "transfer-encoding", "chunked"),
        }
        for (name, value) in response.headers() {
            if [
                CACHE_CONTROL,
                CONNECTION,
                CONTENT_LENGTH,
                DATE,
                TRANSFER_ENCODING,
            ]
            .contains(name)
            {
                continue;
            }
            output.extend_from_slice(name.as_str().as_bytes());
            output.extend_from_slice(b": ");
            output.extend_from_slice(value.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
        // Without the field a cache may keep even an error for as long as it likes (RFC 9111 §4.2.2).
        let may_be_kept = exchange.route != Route::Admin;
        let policy = response.headers().get(CACHE_CONTROL);
        let policy = policy.filter(|_| may_be_kept).map(HeaderValue::as_bytes);
        output.extend_from_slice(b"cache-control: ");
        output.extend_from_slice(policy.unwrap_or(b"no-store"));
        output.extend_from_slice(b"\r\n");
        let outcome = Outcome {
            status: status.as_u16(),
            body_bytes,
            persists,
        };
        self.end_head(exchange, outcome, date, output);
    }
}

/// What is done with what the application did not read of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Discards {
    Nothing,
    /// It is short: it is read and dropped.
    Rest,
    /// It may be long or endless: the connection closes.
    Connection,
}
