//! Reading a response to its end, and what its connection failed with if it has none.

use std::{error::Error as _, io};

use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::{
    answer::{Answer, Failed},
    failures::Reason,
    transport,
};

/// Maximum length of a body that is kept.
const MAX_KEPT_BYTES: u64 = 64 * 1024 * 1024;

/// Whether a body is kept or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The body is kept.
    Body,
    /// Each piece is dropped as it comes.
    Nothing,
}

/// Reads the body to its end.
///
/// # Errors
/// If the connection fails or ends before the end of the body (RFC 9112 §8), or if the body is too long to be kept.
pub(super) async fn read(response: Response<Incoming>, keep: Keep) -> Result<Answer, Failed> {
    let mut answer = Answer::new(response.status(), response.headers());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure(&error, Reason::Truncated))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        answer.bytes += data.len() as u64;
        if keep == Keep::Body {
            if answer.bytes > MAX_KEPT_BYTES {
                let detail = format!("a body of more than {MAX_KEPT_BYTES} bytes");
                return Err(Failed::new(Reason::TooLarge, detail));
            }
            answer.body.extend_from_slice(data);
        }
    }
    Ok(answer)
}

/// Returns what a connection failed with. `ended` is the reason if it has just ended.
pub(super) fn failure(error: &hyper::Error, ended: Reason) -> Failed {
    let detail = in_full(error);
    if error.is_parse_too_large() {
        return Failed::new(Reason::TooLarge, detail);
    }
    if error.is_parse() {
        return Failed::new(Reason::Malformed, detail);
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => Failed::new(ended, detail),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                    Failed::new(Reason::Malformed, detail)
                }
                _ => Failed {
                    detail,
                    ..transport::failure(error, ended)
                },
            };
        }
        cause = error.source();
    }
    Failed::new(ended, detail)
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
