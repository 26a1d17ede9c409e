//! Requests to the server that is checked, within bounds of time and bytes.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    report::{Finding, fails},
    settings::Settings,
};
use crate::fetch::{self, Ask, FetchError, Fetched, Fetcher};

/// The longest body: 1,000 rows of 64 KiB each, and what stands around them.
pub(super) const MAX_BODY_BYTES: u64 = 72 << 20;
/// All bodies together.
const MAX_TOTAL_BYTES: u64 = 1 << 30;
/// How often a request that is refused by a rate limit is repeated.
const MAX_RETRIES: u32 = 3;
/// The longest pause that `Retry-After` may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// The pause before answers of caches are compared again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often answers that differ are compared again with newer ones.
const MAX_COMPARISONS: u32 = 4;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("{asked}: {error}")]
    Fetch { asked: String, error: FetchError },
    #[error("not tried: the checks have taken {} s (--total-timeout)", .0.as_secs())]
    TimeIsOver(Duration),
    #[error("not tried: the server has sent {MAX_TOTAL_BYTES} bytes")]
    TooManyBytes,
}

/// The server, and what has been spent on it.
#[derive(Debug)]
pub(super) struct Session {
    fetcher: Fetcher,
    /// The URL without a slash at its end.
    base: String,
    /// The URL up to its path.
    origin: String,
    timeout: Duration,
    total_timeout: Duration,
    ends_at: Instant,
    /// How long it may still wait for caches.
    stale_left: Duration,
    requests: u64,
    body_bytes: u64,
}

impl Session {
    /// Reads the URL.
    ///
    /// # Errors
    /// [`FetchError::Invalid`].
    pub(super) fn new(
        url: &str,
        fetcher: Fetcher,
        settings: &Settings,
    ) -> Result<Self, FetchError> {
        let parsed = fetch::uri(url)?;
        if parsed.query().is_some() || url.contains('#') {
            return Err(FetchError::Invalid(format!("{url:?}: must have no query")));
        }
        let base = url.trim_end_matches('/').to_owned();
        let origin = base[..base.len() - parsed.path().trim_end_matches('/').len()].to_owned();
        Ok(Self {
            fetcher,
            base,
            origin,
            timeout: settings.timeout,
            total_timeout: settings.total_timeout,
            ends_at: Instant::now() + settings.total_timeout,
            stale_left: settings.max_stale,
            requests: 0,
            body_bytes: 0,
        })
    }

    /// Returns whether the URL has no path.
    pub(super) fn is_at_root(&self) -> bool {
        self.base == self.origin
    }

    /// Returns how many requests were sent, and how many bytes of bodies came.
    pub(super) fn spent(&self) -> (u64, u64) {
        (self.requests, self.body_bytes)
    }

    /// Sends a first request. Any answer will do. Returns its status.
    pub(super) fn reach(&mut self, path: &str) -> Result<u16, Finding> {
        match self.get(path, &[]) {
            Ok(answer) => Ok(answer.status),
            // A body without an end is the matter of its own check.
            Err(SessionError::Fetch {
                error: FetchError::TooLong(_),
                ..
            }) => Ok(200),
            Err(error) => fails(error.to_string()),
        }
    }

    /// Sends a GET to a path of the contract.
    pub(super) fn get(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Fetched, SessionError> {
        self.send("GET", path, fields)
    }

    /// Sends a GET to a path that the server has given.
    pub(super) fn get_link(&mut self, path: &str) -> Result<Fetched, SessionError> {
        let url = format!("{}{path}", self.origin);
        self.send_to("GET", &url, path, &[])
    }

    /// Sends a request without a body. Waits and repeats it if it is refused by a rate limit.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Fetched, SessionError> {
        let url = format!("{}{path}", self.base);
        self.send_to(method, &url, path, fields)
    }

    fn send_to(
        &mut self,
        method: &str,
        url: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Fetched, SessionError> {
        let mut retries = 0;
        loop {
            let time_left = self.ends_at.saturating_duration_since(Instant::now());
            if time_left.is_zero() {
                return Err(SessionError::TimeIsOver(self.total_timeout));
            }
            if self.body_bytes >= MAX_TOTAL_BYTES {
                return Err(SessionError::TooManyBytes);
            }
            self.requests += 1;
            let asked = self.fetcher.ask(Ask {
                method,
                url,
                fields,
                timeout: self.timeout.min(time_left),
                max_body_bytes: MAX_BODY_BYTES,
            });
            let answer = asked.map_err(|error| {
                if matches!(error, FetchError::TooLong(_)) {
                    self.body_bytes += MAX_BODY_BYTES;
                }
                SessionError::Fetch {
                    asked: format!("{method} {path}"),
                    error,
                }
            })?;
            self.body_bytes += answer.body.len() as u64;
            let pause = answer.field("retry-after").and_then(|it| it.parse().ok());
            let pause = Duration::from_secs(pause.unwrap_or(1));
            if answer.status != 429 || retries == MAX_RETRIES || pause > MAX_PAUSE.min(time_left) {
                return Ok(answer);
            }
            retries += 1;
            thread::sleep(pause);
        }
    }

    /// Waits a second for caches whose answers differ in age. Returns false if it has waited long enough.
    pub(super) fn pause(&mut self) -> bool {
        let pause = self.stale_left.min(PAUSE);
        thread::sleep(pause);
        self.stale_left -= pause;
        !pause.is_zero()
    }

    /// Compares further answers with the 200 of a path. If they disagree, the server may have changed between two of
    /// them, or two servers or caches may answer in turn: then they are compared again with the present 200. `compare`
    /// gets the 200 without a content coding.
    pub(super) fn steadily<T>(
        &mut self,
        path: &str,
        first: &Fetched,
        mut compare: impl FnMut(&mut Self, &Fetched) -> Result<T, Finding>,
    ) -> Result<T, Finding> {
        let mut present = first.clone();
        let mut same = 0;
        for comparisons in 1.. {
            let (seen, may_be_stale) = match compare(self, &present) {
                Err(Finding::Fails(seen)) => (seen, false),
                Err(Finding::Differs(seen)) => (seen, true),
                settled => return settled,
            };
            let again = self.get(path, &[])?;
            let is_same = again.body == present.body && again.status == present.status;
            same += u32::from(is_same);
            let is_settled = same >= 2 || comparisons >= MAX_COMPARISONS;
            if is_settled && !(may_be_stale && self.pause()) {
                return fails(seen);
            }
            present = again;
        }
        fails("the answers never agree")
    }
}

/// Returns the beginning of a body, for a message.
pub(super) fn excerpt(body: &[u8]) -> String {
    const MAX_CHARS: usize = 80;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_CHARS)]);
    let mut excerpt: String = text.chars().take(MAX_CHARS).collect();
    if body.len() > excerpt.len() {
        excerpt.push('…');
    }
    excerpt
}
