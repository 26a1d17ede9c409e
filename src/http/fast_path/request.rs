//! Which requests are usual.

use crate::http::routes::{BOARD_PATH, PREFIX};

/// More than what a client or a proxy usually sends.
const MAX_FIELDS: usize = 24;

/// Fields that say nothing which matters to the board. Any other one is not usual, those among them
/// that frame a body, ask for another protocol, or want something of the server.
const IDLE_FIELDS: [&str; 22] = [
    "accept",
    "accept-language",
    "cache-control",
    "cookie",
    "date",
    "dnt",
    "forwarded",
    "if-modified-since",
    "origin",
    "pragma",
    "priority",
    "referer",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "traceparent",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// A GET or HEAD of the board over HTTP/1.1, without a body, on a connection that goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usual<'a> {
    /// HEAD.
    pub(super) is_head: bool,
    /// The only line of `Accept-Encoding`.
    pub(super) accept_encoding: Option<&'a [u8]>,
    /// The only line of `If-None-Match`.
    pub(super) if_none_match: Option<&'a [u8]>,
}

impl<'a> Usual<'a> {
    /// The request at the beginning of `read`, and its length in bytes. None where that is not usual, is
    /// none at all, or has not arrived to its end.
    pub(super) fn parse(read: &'a [u8]) -> Option<(Self, usize)> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(bytes) = request.parse(read).ok()? else {
            return None;
        };
        let is_head = match request.method? {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        };
        if request.version? != 1 || !is_board(request.path?) {
            return None;
        }
        let (mut host, mut length) = (None, None);
        let (mut accept_encoding, mut if_none_match) = (None, None);
        for field in request.headers {
            let is = |known: &str| field.name.eq_ignore_ascii_case(known);
            let only_line = if is("host") {
                &mut host
            } else if is("accept-encoding") {
                &mut accept_encoding
            } else if is("if-none-match") {
                &mut if_none_match
            } else if is("content-length") && field.value == b"0" {
                &mut length
            } else if is("connection") && field.value.eq_ignore_ascii_case(b"keep-alive")
                || IDLE_FIELDS.iter().any(|known| is(known))
            {
                continue;
            } else {
                return None;
            };
            if only_line.replace(field.value).is_some() {
                return None;
            }
        }
        // One without, or with two, is to be refused (RFC 9112 §3.2).
        host?;
        let usual = Self {
            is_head,
            accept_encoding,
            if_none_match,
        };
        Some((usual, bytes))
    }
}

/// With or without the prefix, and with any query of plain characters: the board has no parameters.
fn is_board(target: &str) -> bool {
    let target = target.strip_prefix(PREFIX).unwrap_or(target);
    match target.strip_prefix(BOARD_PATH).map(str::as_bytes) {
        Some([]) => true,
        Some([b'?', query @ ..]) => query
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~=&%+".contains(byte)),
        Some(_) | None => false,
    }
}
