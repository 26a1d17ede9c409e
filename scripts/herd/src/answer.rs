//! A complete response, and whether it counts as an answer.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, StatusCode,
    header::{CONNECTION, CONTENT_ENCODING, DATE, ETAG, HeaderValue, LINK, LOCATION, RETRY_AFTER},
};

use crate::failures::Reason;

/// The longest Retry-After that is believed, which is also the longest run.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// A complete response.
#[derive(Debug)]
pub(super) struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Entity-tag.
    pub etag: Option<HeaderValue>,
    /// Content-Encoding.
    pub content_encoding: Option<HeaderValue>,
    /// Retry-After, at most a day.
    pub retry_after: Option<Duration>,
    /// Link (RFC 8288).
    pub link: Option<HeaderValue>,
    /// Location of a redirect.
    pub location: Option<HeaderValue>,
    /// Whether the server says that it closes the connection.
    pub closes: bool,
    /// Length of the body.
    pub bytes: u64,
    /// The body, if it was to be kept; else empty.
    pub body: Vec<u8>,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// What kind of failure it is.
    pub reason: Reason,
    /// The cause in words.
    pub detail: String,
    /// Retry-After of the response, if there was one.
    pub retry_after: Option<Duration>,
}

impl Failed {
    /// A failure without a complete response.
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            retry_after: None,
        }
    }
}

impl Answer {
    /// Reads the head of a response.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let field = |name| headers.get(name).cloned();
        Self {
            status,
            etag: field(ETAG),
            content_encoding: field(CONTENT_ENCODING),
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| retry_after(value, headers.get(DATE))),
            link: field(LINK),
            location: field(LOCATION).filter(|_| status.is_redirection()),
            closes: headers.get_all(CONNECTION).iter().any(names_close),
            bytes: 0,
            body: Vec::new(),
        }
    }

    /// Returns the failure, unless the response counts as an answer: 2xx, or 304 to a conditional request.
    pub(super) fn failure(&self, conditional: bool) -> Option<Failed> {
        let not_modified = conditional && self.status == StatusCode::NOT_MODIFIED;
        if self.status.is_success() || not_modified {
            return None;
        }
        // Its query may repeat secrets under any name.
        let location = self.location.as_ref().map_or(String::new(), |location| {
            let location = location.as_bytes().escape_ascii().to_string();
            match location.split_once(['?', '#']) {
                Some((before, _)) => format!(", Location: {before}?…"),
                None => format!(", Location: {location}"),
            }
        });
        Some(Failed {
            reason: Reason::Status(self.status.as_u16()),
            detail: format!("{}{location}", self.status),
            retry_after: self.retry_after,
        })
    }
}

/// Parses Retry-After (RFC 9110 §10.2.3): seconds, or a date, which is compared with the server's own clock if the
/// response has a Date.
fn retry_after(value: &HeaderValue, date: Option<&HeaderValue>) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let told = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse()
            .map_or(LONGEST_RETRY_AFTER, Duration::from_secs)
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let now = date.unwrap_or_else(SystemTime::now);
        at.duration_since(now).unwrap_or_default()
    };
    Some(told.min(LONGEST_RETRY_AFTER))
}

/// Returns whether a Connection field has the option `close` (RFC 9112 §9.6).
fn names_close(value: &HeaderValue) -> bool {
    let mut options = value.as_bytes().split(|byte| *byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    fn wait(fields: &[(&'static str, &str)]) -> Option<u64> {
        let fields = fields.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (http::HeaderName::from_static(name), value)
        });
        let answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE, &fields.collect());
        answer.retry_after.map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let later = "Sunday, 06-Nov-94 08:50:07 GMT";
        for (value, seconds) in [
            ("0", Some(0)),
            (" 17 ", Some(17)),
            ("99999999999999999999999", Some(86_400)),
            ("18446744073709551615", Some(86_400)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            // Long ago.
            (date, Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400)),
        ] {
            assert_eq!(wait(&[("retry-after", value)]), seconds, "{value}");
        }
        assert_eq!(wait(&[("retry-after", later), ("date", date)]), Some(30));
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn close_is_found_among_other_options_in_any_case() {
        let closes = |value: &'static str| names_close(&HeaderValue::from_static(value));
        assert!(closes("close") && closes("Upgrade, CLOSE") && closes("close , te"));
        assert!(!closes("keep-alive") && !closes("closed") && !closes(""));
    }
}
