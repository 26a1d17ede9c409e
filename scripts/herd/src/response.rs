//! Reading a response to its end, and what its connection failed with if it has none.

use std::{error::Error, io};

use http::{Response, Version, header::CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::{
    answer::{Answer, Failed},
    course::{Course, Phase},
    failures::Reason,
    tls, transport,
};

/// Maximum length of a body that is kept, encoded and decoded. A thousand rows of the feed have a few megabytes.
pub(super) const MAX_KEPT_BYTES: u64 = 32 * 1024 * 1024;

/// Whether a body is kept or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The body is kept.
    Body,
    /// Each piece is dropped as it comes.
    Nothing,
}

/// Reads the body to its end, and notes how far it has come.
///
/// # Errors
/// If the connection fails or ends before the end of the body (RFC 9112 §8), or if the body is too long to be kept.
pub(super) async fn read(
    response: Response<Incoming>,
    keep: Keep,
    course: &Course,
) -> Result<Answer, Failed> {
    course.enter(Phase::Body);
    let mut answer = Answer::new(response.status(), response.headers());
    let is_http2 = response.version() == Version::HTTP_2;
    let has_length = response.headers().contains_key(CONTENT_LENGTH);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match is_http2 && is_refused_here(&error) {
            true if has_length => Failed::new(
                Reason::Truncated,
                "a body of another length than Content-Length says",
            ),
            true | false => in_body(failure(&error, Reason::Truncated)),
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        answer.bytes += data.len() as u64;
        course.received(data.len() as u64);
        if keep == Keep::Body {
            if answer.bytes > MAX_KEPT_BYTES {
                return Err(too_large());
            }
            answer.body.extend_from_slice(data);
        }
    }
    // hyper takes a reset without an error for the end, wherever it comes.
    if is_http2 && !body.is_end_stream() {
        let detail = "the stream was reset before the end of the body";
        return Err(Failed::new(Reason::Truncated, detail));
    }
    Ok(answer)
}

/// Returns the failure for a body that is too long to be kept.
pub(super) fn too_large() -> Failed {
    let detail = format!("a body of more than {MAX_KEPT_BYTES} bytes");
    Failed::new(Reason::TooLarge, detail)
}

/// Returns a failure after the head of a response: a body that ends too soon is truncated, whatever ended it.
fn in_body(mut failed: Failed) -> Failed {
    if matches!(failed.reason, Reason::Reset | Reason::RefusedStream) {
        failed.reason = Reason::Truncated;
    }
    failed
}

/// Returns whether this program has ended the stream for a violation of HTTP/2. Among the few are a body of another length
/// than its Content-Length, and a Content-Length without a body (RFC 9113 §8.1.1).
pub(super) fn is_refused_here(error: &hyper::Error) -> bool {
    let error = cause::<h2::Error>(error).filter(|error| error.is_reset() && error.is_library());
    error.is_some_and(|error| error.reason() == Some(h2::Reason::PROTOCOL_ERROR))
}

/// Returns what a connection failed with. `ended` is the reason if it has just ended.
pub(super) fn failure(error: &hyper::Error, ended: Reason) -> Failed {
    let mut detail = in_full(error);
    if let Some(code) = cause::<h2::Error>(error).and_then(h2::Error::reason) {
        detail = format!("{detail} ({code:?})");
    }
    if error.is_parse_too_large() {
        // hyper does not say which.
        let detail =
            "a head of more than 100 fields or 400 kB, or a Content-Length of more than 2^64 - 3";
        return Failed::new(Reason::TooLarge, detail);
    }
    if error.is_parse() {
        return Failed::new(Reason::Malformed, detail);
    }
    let reason = match (cause::<io::Error>(error), cause::<h2::Error>(error)) {
        (Some(error), _) => of_stream(error, ended),
        (None, Some(error)) => of_http2(error, ended),
        (None, None) => ended,
    };
    Failed::new(reason, detail)
}

fn of_stream(error: &io::Error, ended: Reason) -> Reason {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    // The second one is what h2 has for the end of the connection.
    if matches!(kind, Kind::UnexpectedEof | Kind::BrokenPipe) {
        return ended;
    }
    // A chunk of HTTP/1.1.
    if matches!(kind, Kind::InvalidInput | Kind::InvalidData) && !tls::is_cause(error) {
        return Reason::Malformed;
    }
    transport::failure(error, ended).reason
}

/// Returns the reason of an error of HTTP/2: the server has ended the stream or the connection, or it has sent something
/// that is not HTTP/2.
fn of_http2(error: &h2::Error, ended: Reason) -> Reason {
    match error.get_io() {
        Some(error) => of_stream(error, ended),
        None if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => ended,
        None if error.is_remote() => match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) if error.is_reset() => Reason::RefusedStream,
            Some(_) | None => Reason::Reset,
        },
        None => Reason::Malformed,
    }
}

/// Returns whether a server of HTTP/2 ends the connection in an orderly way, with a stream before that of the request as
/// the last: it has not processed the request (RFC 9113 §6.8). It has not either if it refuses the stream, which is how
/// servers shed load: the policy of the client decides about that.
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    // Streams up to the last one do not get this error.
    cause::<h2::Error>(error).is_some_and(|error| {
        error.is_remote() && error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// Returns the first cause of this type.
fn cause<T: Error + 'static>(error: &hyper::Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// Joins an error and its causes.
fn in_full(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
