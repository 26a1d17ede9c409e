//! Which requests are usual.

use crate::http::routes::{BOARD_PATH, PREFIX};

/// More than what a client or a proxy usually sends.
const MAX_FIELDS: usize = 24;

/// Fields that say nothing which matters to the board. Any other one is not usual, those among them
/// that frame a body, ask for another protocol, or want something of the server.
const IDLE_FIELDS: [&str; 23] = [
    "accept",
    "accept-language",
    "cache-control",
    "cookie",
    "date",
    "dnt",
    "forwarded",
    "host",
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

/// A GET or HEAD of the board over HTTP/1.1, on a connection that goes on.
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
        let mut usual = Self {
            is_head,
            accept_encoding: None,
            if_none_match: None,
        };
        for field in request.headers {
            usual.note(field.name, field.value)?;
        }
        Some((usual, bytes))
    }

    fn note(&mut self, name: &str, value: &'a [u8]) -> Option<()> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let line = if is("accept-encoding") {
            &mut self.accept_encoding
        } else if is("if-none-match") {
            &mut self.if_none_match
        } else if is("connection") {
            return value.eq_ignore_ascii_case(b"keep-alive").then_some(());
        } else {
            return IDLE_FIELDS.iter().any(|known| is(known)).then_some(());
        };
        line.replace(value).is_none().then_some(())
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
