//! Parses the head of a request (RFC 9112 §2 to §7) and extracts what the door needs to know of it.

use std::mem::MaybeUninit;

use httparse::Header;
use smallvec::SmallVec;

use crate::http::error::ApiError;

/// The most header fields of a request; more get 431.
pub(super) const MAX_FIELDS: usize = 96;
/// The longest header section, whatever the configured limit is.
const MAX_HEADER_BYTES: usize = 128 * 1024;
/// The longest target, whatever the configured limit is: `http::Uri` takes no longer one.
const MAX_TARGET_BYTES: usize = 65_534;
/// Room in the request line beside the target: method, version and spaces.
const REQUEST_LINE_BYTES: usize = 64;

/// Storage for the parsed fields of one head.
pub(super) type Fields<'b> = [MaybeUninit<Header<'b>>; MAX_FIELDS];

/// How long a head may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) target_bytes: usize,
    pub(super) header_bytes: usize,
}

impl HeadLimits {
    fn target_bytes(&self) -> usize {
        self.target_bytes.min(MAX_TARGET_BYTES)
    }

    fn header_bytes(&self) -> usize {
        self.header_bytes.min(MAX_HEADER_BYTES)
    }

    /// Checks what has arrived of a head that is not complete.
    ///
    /// # Errors
    /// 414 if its request line, 431 if its header section is longer than the limits allow.
    pub(super) fn check_incomplete(&self, read: &[u8]) -> Result<(), ApiError> {
        let line_bytes = self.target_bytes() + REQUEST_LINE_BYTES;
        if read.len() > line_bytes && !read[..line_bytes].contains(&b'\n') {
            return Err(ApiError::UriTooLong);
        }
        if read.len() > line_bytes + self.header_bytes() {
            return Err(ApiError::HeaderTooLong);
        }
        Ok(())
    }
}

/// The body that follows a head (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// `Content-Length`, or 0 without one.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A complete and well-formed head. Borrows from the bytes that were read.
#[derive(Debug)]
pub(in crate::http) struct Head<'h, 'b> {
    pub(super) method: &'b str,
    pub(super) target: &'b str,
    /// 0 or 1, of HTTP/1.x.
    pub(super) minor_version: u8,
    pub(super) fields: &'h [Header<'b>],
    pub(super) framing: Framing,
    /// Whether the client wants the connection to persist (RFC 9112 §9.3).
    pub(super) persists: bool,
    /// `Expect: 100-continue` (RFC 9110 §10.1.1).
    pub(super) expects_continue: bool,
    /// Whether a field other than `If-None-Match` and `Accept-Encoding` may change the answer.
    pub(super) has_special_fields: bool,
    pub(super) if_none_match: Lines<'b>,
    pub(super) accept_encoding: Lines<'b>,
    pub(super) request_id: Option<&'b [u8]>,
}

/// The lines of one field, in order.
pub(super) type Lines<'b> = SmallVec<[&'b [u8]; 1]>;

impl<'h, 'b> Head<'h, 'b> {
    /// Parses the head at the beginning of `read`. Returns it with its length in bytes, or `None` if it
    /// has not arrived completely.
    ///
    /// # Errors
    /// 400 for a malformed head, 414 and 431 for one beyond the limits.
    pub(super) fn parse(
        read: &'b [u8],
        fields: &'h mut Fields<'b>,
        limits: HeadLimits,
    ) -> Result<Option<(Self, usize)>, ApiError> {
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(read, fields);
        let bytes = match parsed {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) => {
                limits.check_incomplete(read)?;
                return Ok(None);
            }
            Err(httparse::Error::TooManyHeaders) => return Err(ApiError::HeaderTooLong),
            Err(error) => {
                // Its parser stops at the first byte that is wrong, which may be far into a long line.
                limits.check_incomplete(read)?;
                return Err(ApiError::Malformed(reason(error)));
            }
        };
        let (Some(method), Some(target), Some(minor_version)) =
            (request.method, request.path, request.version)
        else {
            return Err(ApiError::Malformed("the request line is incomplete"));
        };
        if target.len() > limits.target_bytes() {
            return Err(ApiError::UriTooLong);
        }
        // It never belongs to a target (RFC 9112 §3.2), and what follows it would be ignored.
        if target.contains('#') {
            return Err(ApiError::Malformed("the target has a fragment"));
        }
        let line_and_end = method.len() + target.len() + "  HTTP/1.1\r\n\r\n".len();
        if bytes.saturating_sub(line_and_end) > limits.header_bytes() {
            return Err(ApiError::HeaderTooLong);
        }
        let head = Facts::of(request.headers, minor_version)?.into_head(
            method,
            target,
            minor_version,
            request.headers,
        )?;
        Ok(Some((head, bytes)))
    }

    /// The lines of a field, by its name in lower case.
    pub(in crate::http) fn lines(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        lines(self.fields, name)
    }
}

/// The lines of a field, by its name in lower case.
fn lines<'b>(fields: &[Header<'b>], name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
    let named = |field: &&Header<'b>| field.name.eq_ignore_ascii_case(name);
    fields.iter().filter(named).map(|field| field.value)
}

/// What the fields say, gathered in one pass.
#[derive(Debug, Default)]
struct Facts<'b> {
    hosts: u8,
    content_length: Option<u64>,
    chunked: bool,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
    has_special_fields: bool,
    if_none_match: Lines<'b>,
    accept_encoding: Lines<'b>,
    request_id: Option<&'b [u8]>,
}

impl<'b> Facts<'b> {
    fn of(fields: &[Header<'b>], minor_version: u8) -> Result<Self, ApiError> {
        let mut facts = Self::default();
        for field in fields {
            facts.add(field, minor_version)?;
        }
        Ok(facts)
    }

    fn add(&mut self, field: &Header<'b>, minor_version: u8) -> Result<(), ApiError> {
        let value = field.value;
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // By length first: most names differ in it, and are not compared.
        match field.name.len() {
            2 if is("te") => self.has_special_fields = true,
            4 if is("host") => {
                if !is_host(value) {
                    return Err(ApiError::Malformed("the Host field is invalid"));
                }
                self.hosts = self.hosts.saturating_add(1);
            }
            5 if is("range") => self.has_special_fields = true,
            6 if is("expect") => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
                self.has_special_fields = true;
            }
            7 if is("upgrade") || is("trailer") => self.has_special_fields = true,
            8 if is("if-match") => self.has_special_fields = true,
            10 if is("connection") => {
                for option in value.split(|byte| *byte == b',') {
                    let option = option.trim_ascii();
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            12 if is("x-request-id") => self.request_id = self.request_id.or(Some(value)),
            13 if is("if-none-match") => self.if_none_match.push(value),
            14 if is("content-length") => {
                let length = parse_length(value)
                    .filter(|length| self.content_length.is_none_or(|known| known == *length));
                let invalid = ApiError::Malformed("the Content-Length field is invalid");
                self.content_length = Some(length.ok_or(invalid)?);
            }
            15 if is("accept-encoding") => self.accept_encoding.push(value),
            17 if is("transfer-encoding") => {
                // Nothing but `chunked`, once, and not beside HTTP/1.0 (RFC 9112 §6.1).
                let known = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                if !known || self.chunked || minor_version == 0 {
                    let reason = "only Transfer-Encoding: chunked is supported";
                    return Err(ApiError::Malformed(reason));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn into_head<'h>(
        self,
        method: &'b str,
        target: &'b str,
        minor_version: u8,
        fields: &'h [Header<'b>],
    ) -> Result<Head<'h, 'b>, ApiError> {
        // RFC 9112 §3.2: exactly one, except that HTTP/1.0 may have none.
        if self.hosts > 1 || (self.hosts == 0 && minor_version == 1) {
            return Err(ApiError::Malformed("exactly one Host field is required"));
        }
        let framing = match (self.chunked, self.content_length) {
            // May be an attempt to smuggle a request past a proxy (RFC 9112 §6.1).
            (true, Some(_)) => {
                let reason = "Content-Length and Transfer-Encoding exclude each other";
                return Err(ApiError::Malformed(reason));
            }
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(Head {
            method,
            target,
            minor_version,
            fields,
            framing,
            persists: !self.closes && (minor_version == 1 || self.keeps_alive),
            expects_continue: self.expects_continue && minor_version == 1,
            has_special_fields: self.has_special_fields,
            if_none_match: self.if_none_match,
            accept_encoding: self.accept_encoding,
            request_id: self.request_id,
        })
    }
}

fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field name is invalid",
        httparse::Error::HeaderValue => "a field value is invalid",
        httparse::Error::NewLine => "a line end is invalid",
        httparse::Error::Version => "the HTTP version is not supported",
        httparse::Error::Status | httparse::Error::Token | httparse::Error::TooManyHeaders => {
            "the request line is invalid"
        }
    }
}

/// Parses decimal digits and nothing else (RFC 9110 §8.6).
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value.trim_ascii()).ok()?;
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| only_digits)
}

/// Whether the value is `uri-host [ ":" port ]` (RFC 9110 §7.2), which may be empty.
fn is_host(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let (is_valid_name, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let literal = |byte: &u8| byte.is_ascii_alphanumeric() || b":.".contains(byte);
            (end > 0 && rest[..end].iter().all(literal), &rest[end + 1..])
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':');
            let (name, port) = value.split_at(end.unwrap_or(value.len()));
            // reg-name = *( unreserved / pct-encoded / sub-delims ) (RFC 3986 §3.2.2)
            let allowed =
                |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
            (name.iter().all(allowed), port)
        }
    };
    is_valid_name
        && match port {
            [] => true,
            [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        target_bytes: 100,
        header_bytes: 1000,
    };

    fn parse(text: &str) -> Result<Option<(Framing, bool, usize)>, u16> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        match Head::parse(text.as_bytes(), &mut fields, LIMITS) {
            Ok(parsed) => Ok(parsed.map(|(head, bytes)| (head.framing, head.persists, bytes))),
            Err(error) => Err(actix_web::ResponseError::status_code(&error).as_u16()),
        }
    }

    #[test]
    fn a_body_is_framed_by_one_valid_length_or_chunked() {
        let with = |fields: &str| parse(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let framing = |fields: &str| with(fields).map(|parsed| parsed.unwrap().0);
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 7\r\n"), Ok(Framing::Length(7)));
        assert_eq!(
            framing("content-length: 7\r\nContent-Length: 7\r\n"),
            Ok(Framing::Length(7))
        );
        assert_eq!(
            framing("Transfer-Encoding: Chunked\r\n"),
            Ok(Framing::Chunked)
        );
        for invalid in [
            "Content-Length: 7\r\nContent-Length: 8\r\n",
            "Content-Length: 7, 7\r\n",
            "Content-Length: +7\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        ] {
            assert_eq!(with(invalid), Err(400), "{invalid}");
        }
    }

    #[test]
    fn exactly_one_valid_host_is_required() {
        let with = |fields: &str| parse(&format!("GET / HTTP/1.1\r\n{fields}\r\n"));
        for valid in ["x", "x:80", "", "[::1]:80", "a.b_c%20", "x:"] {
            assert!(with(&format!("Host: {valid}\r\n")).is_ok(), "{valid}");
        }
        for invalid in [
            "a b", "x/y", "x:y", "[::1", "[]", "[::1]x", "a@b", "x,\"y\"",
        ] {
            assert_eq!(with(&format!("Host: {invalid}\r\n")), Err(400), "{invalid}");
        }
        assert_eq!(with(""), Err(400));
        assert_eq!(with("Host: x\r\nHost: x\r\n"), Err(400));
        assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        let persists = |text: &str| parse(text).unwrap().unwrap().1;
        assert!(persists("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(persists(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, x\r\n\r\n"
        ));
        assert!(!persists(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n"
        ));
        assert!(!persists("GET / HTTP/1.0\r\n\r\n"));
        assert!(persists("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn a_head_beyond_the_limits_is_refused_complete_or_not() {
        let long = |bytes: usize| "a".repeat(bytes);
        assert_eq!(
            parse(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(100))),
            Err(414)
        );
        assert_eq!(parse(&format!("GET /{}", long(200))), Err(414));
        assert_eq!(
            parse(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", long(1200))),
            Err(431)
        );
        assert_eq!(
            parse(&format!(
                "GET / HTTP/1.1\r\nHost: x\r\n{}: a\r\n\r\n",
                long(1000)
            )),
            Err(431)
        );
        assert_eq!(
            parse(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(97))),
            Err(431)
        );
        assert_eq!(parse("GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
        assert_eq!(parse("\x16\x03\x01"), Err(400));
        assert_eq!(parse("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Err(400));
    }
}
