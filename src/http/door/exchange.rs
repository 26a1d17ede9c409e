//! A request from its head to the end of its answer's head: limits, identity, counts and the access log,
//! in one place for all requests.

use std::{
    borrow::Cow,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{Door, head::Head};
use crate::{
    http::{
        client_address::client_address, date::DateLine, error::ApiError, routes::classify,
        settings::AccessLog,
    },
    metrics::requests::Route,
};

/// Longer request ids are neither echoed nor logged.
const MAX_ID_BYTES: usize = 128;
/// Response fields that scripts of other origins may read, beside those that they always may
/// (Fetch standard, CORS-safelisted response-header name).
const EXPOSED_FIELDS: &str = "etag, link, retry-after, age, allow, accept-ranges, content-range, cache-status, date, kept-from, server-timing, x-request-id";

/// What is known of a request until its answer is written.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) route: Route,
    pub(super) method: Cow<'a, str>,
    /// Without the query, which may hold what is meant for nobody else.
    path: Cow<'a, str>,
    pub(super) minor_version: u8,
    /// Whether the client wants the connection to persist.
    pub(super) persists: bool,
    begun: Instant,
    /// How long it waited before that for a change, if it did.
    pub(super) waited: Option<Duration>,
    /// The client's `X-Request-Id`, if it is fit for a log.
    id: Option<Cow<'a, str>>,
    client: Option<IpAddr>,
}

impl<'a> Exchange<'a> {
    /// Begins an exchange. `peer` is the other end of the connection.
    pub(super) fn begin(door: &Door, head: &Head<'_, 'a>, peer: IpAddr, begun: Instant) -> Self {
        let path = path_of(head.target);
        let settings = &door.handles.settings;
        let asks_for_address =
            door.handles.rate_limit.is_some() || settings.access_log == AccessLog::All;
        let client = asks_for_address.then(|| client_address(peer, head, settings));
        Self {
            route: classify(path),
            method: Cow::Borrowed(head.method),
            path: Cow::Borrowed(path),
            minor_version: head.minor_version,
            persists: head.persists,
            begun,
            waited: None,
            id: head.request_id.and_then(fit_id).map(Cow::Borrowed),
            client,
        }
    }

    /// The exchange of a request whose head could not be read.
    pub(super) fn unreadable(peer: IpAddr, begun: Instant) -> Exchange<'static> {
        Exchange {
            route: Route::None,
            method: Cow::Borrowed("-"),
            path: Cow::Borrowed("-"),
            minor_version: 1,
            persists: false,
            begun,
            waited: None,
            id: None,
            client: Some(peer),
        }
    }

    /// Returns the client that the request comes from.
    pub(super) fn client(&self, door: &Door, head: &Head<'_, '_>, peer: IpAddr) -> IpAddr {
        let found = || client_address(peer, head, &door.handles.settings);
        self.client.unwrap_or_else(found)
    }

    /// The same, independent of the bytes that were read.
    pub(super) fn into_owned(self, client: IpAddr) -> Exchange<'static> {
        Exchange {
            route: self.route,
            method: Cow::Owned(self.method.into_owned()),
            path: Cow::Owned(self.path.into_owned()),
            minor_version: self.minor_version,
            persists: self.persists,
            begun: self.begun,
            waited: self.waited,
            id: self.id.map(|id| Cow::Owned(id.into_owned())),
            client: Some(client),
        }
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Counts the request against its client's rate limit. Health checks are exempt: a balancer must
    /// not take a busy client for a dead server.
    ///
    /// # Errors
    /// 429.
    pub(super) fn admit(&self, door: &Door) -> Result<(), ApiError> {
        match (&door.handles.rate_limit, self.client) {
            (Some(rate_limit), Some(client)) if self.route != Route::Health => rate_limit
                .admit(client)
                .map_err(|retry_after| ApiError::TooManyRequests { retry_after }),
            _ => Ok(()),
        }
    }
}

/// What the end of a head depends on beside the exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) status: u16,
    /// Bytes of the body that are sent.
    pub(super) body_bytes: u64,
    /// Whether the connection persists after this answer.
    pub(super) persists: bool,
}

impl Door {
    /// Writes the fields that differ from answer to answer and the empty line behind them; counts and
    /// logs the answer.
    pub(super) fn end_head(
        &self,
        exchange: &Exchange<'_>,
        outcome: Outcome,
        date: &mut DateLine,
        output: &mut Vec<u8>,
    ) {
        let now = Instant::now();
        let took = now.saturating_duration_since(exchange.begun);
        let settings = &self.handles.settings;
        self.counters
            .answered(exchange.route, outcome.status, took, outcome.body_bytes);
        let has_failed = outcome.status >= 500;
        let is_logged = settings.access_log == AccessLog::All || has_failed;
        let made = || Cow::Owned(format!("{:016x}", fastrand::u64(..)));
        let id = exchange.id.clone().or_else(|| is_logged.then(made));
        if let Some(id) = id {
            if settings.access_log == AccessLog::All {
                exchange.log(outcome, took, &id);
            } else if has_failed {
                let kind = (exchange.route, outcome.status);
                if let Some(suppressed) = self.handles.logged_failures.admit(kind, now) {
                    if suppressed > 0 {
                        log::info!(target: "access", "suppressed {suppressed} lines like the next one");
                    }
                    exchange.log(outcome, took, &id);
                }
            }
            write_field(output, "x-request-id", &id);
        }
        if settings.server_timing {
            let timing = format!("app;dur={:.3}", took.as_secs_f64() * 1e3);
            write_field(output, "server-timing", &timing);
        }
        // A path that does not exist and a request that could not be read are the public's too.
        let is_unknown = matches!(exchange.route, Route::None | Route::Page);
        if settings.cors && (exchange.route.is_public() || is_unknown) {
            // On every answer, requested by another origin or not: a shared cache may give it to both.
            // `*` does not depend on `Origin`, which `Vary` therefore does not name.
            write_field(output, "access-control-allow-origin", "*");
            write_field(output, "access-control-expose-headers", EXPOSED_FIELDS);
        }
        match (outcome.persists, exchange.minor_version) {
            (false, _) => write_field(output, "connection", "close"),
            (true, 0) => write_field(output, "connection", "keep-alive"),
            (true, _) => {}
        }
        output.extend_from_slice(date.ending(&self.handles.date));
    }
}

impl Exchange<'_> {
    fn log(&self, outcome: Outcome, took: Duration, id: &str) {
        let waited_ms = self
            .waited
            .map(|waited| u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
        log::info!(
            target: "access",
            client = self.client.map(|client| client.to_string()).unwrap_or_default().as_str(),
            method = self.method.as_ref(),
            path = self.path.as_ref(),
            route = self.route.label(),
            status = outcome.status,
            body_bytes = outcome.body_bytes,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            waited_ms = waited_ms,
            request_id = id;
            "answered"
        );
    }
}

pub(super) fn write_field(output: &mut Vec<u8>, name: &str, value: &str) {
    write_pieces(output, &[name, ": ", value, "\r\n"]);
}

pub(super) fn write_pieces(output: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        output.extend_from_slice(piece.as_bytes());
    }
}

/// Returns the path of a target in origin-form or absolute-form (RFC 9112 §3.2), without the query.
fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |authority| &rest[authority..])
        }
        Some(_) | None => path,
    }
}

/// Returns the id if it is short and has only characters that are safe in a log.
fn fit_id(id: &[u8]) -> Option<&str> {
    let fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=~".contains(byte);
    let is_fit = (1..=MAX_ID_BYTES).contains(&id.len()) && id.iter().all(fit);
    std::str::from_utf8(id).ok().filter(|_| is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_in_origin_form_and_absolute_form() {
        for (target, path) in [
            ("/a/b?c=/d", "/a/b"),
            ("http://x:80/a?b", "/a"),
            ("https://x?a=/b", "/"),
            ("http://x", "/"),
            ("/a://b/c", "/a://b/c"),
            ("/a#b?c", "/a"),
            ("*", "*"),
            ("x:80", "x:80"),
            ("", ""),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
