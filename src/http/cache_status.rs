//! How an answer was come by (RFC 9211), for who asks the server to tell.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::header::{AGE, HeaderName, HeaderValue},
};

use crate::{cache::handle::Freshness, metrics::Source};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The board: out of the snapshot (RFC 9211 §2), and how long ago that was made (RFC 9111 §5.1). `Age`
/// counts against `max-age` on the way down: that is why all this is an option.
pub(super) fn of_board(response: &mut HttpResponse, freshness: Freshness) {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let status = if freshness.is_stale() {
        let stale_for = seconds(freshness.stale_for);
        format!("publisher; hit; ttl=-{stale_for}; detail=stale-while-revalidate")
    } else {
        format!("publisher; hit; ttl={}", seconds(freshness.fresh_for))
    };
    let headers = response.headers_mut();
    if let Ok(status) = HeaderValue::from_str(&status) {
        headers.insert(CACHE_STATUS, status);
    }
    headers.insert(AGE, HeaderValue::from(freshness.age.as_secs()));
}

/// A page of the feed. Those that are held are true, however old: they have no age.
pub(super) fn of_page(response: &mut HttpResponse, source: Source) {
    let status = HeaderValue::from_static(match source {
        Source::Hit => "publisher; hit",
        Source::Join => "publisher; fwd=uri-miss; collapsed",
        Source::Miss => "publisher; fwd=uri-miss; stored",
    });
    response.headers_mut().insert(CACHE_STATUS, status);
}
