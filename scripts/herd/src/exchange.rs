//! One poll: requests until a response, a final failure or the end of the run.

use std::{cell::RefCell, net::IpAddr, rc::Rc, time::Duration};

use awc::{
    Client, Connector, SendClientRequest,
    http::{
        Version,
        header::{
            CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue, LINK, RETRY_AFTER,
            TRANSFER_ENCODING,
        },
    },
};
use fastrand::Rng;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use crate::{
    limits::Limits, plan::RequestPolicy, retry::Failure, tally::Tally, timer::Timer, transport,
};

/// How a request ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With a complete response.
    Answer(Answer),
    /// With a timeout.
    TimedOut,
    /// With a failed or lost connection, also in the middle of a body, and the reason.
    Broken(String),
}

/// A complete response.
#[derive(Debug)]
pub(super) struct Answer {
    /// Status code.
    pub status: u16,
    /// Entity-tag.
    pub etag: Option<HeaderValue>,
    /// Content-Encoding.
    pub content_encoding: Option<HeaderValue>,
    /// Retry-After, if it is in seconds.
    pub retry_after: Option<Duration>,
    /// Link (RFC 8288).
    pub link: Option<HeaderValue>,
    /// Whether the server closes the connection.
    pub closes: bool,
    /// Length of the body.
    pub bytes: u64,
    /// The body, if it was to be kept; else empty.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the failure after which a client retries: 429 or 5xx.
    pub(super) fn failure(&self) -> Option<Failure> {
        (self.status == 429 || self.status >= 500).then_some(Failure::Refused {
            retry_after: self.retry_after,
        })
    }

    /// Returns whether the status is 2xx or 304.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.status, 200..=299 | 304)
    }
}

/// The state with which one client sends its requests.
pub(super) struct Exchange {
    /// HTTP client with its connections.
    pub client: Client,
    /// Counters.
    pub tally: Rc<RefCell<Tally>>,
    /// Timeout and retries.
    pub policy: RequestPolicy,
    /// Limits that all clients share.
    pub limits: Rc<Limits>,
    /// For waits.
    pub timer: Timer,
    /// Random numbers for waits.
    pub rng: RefCell<Rng>,
}

/// Makes an HTTP client with its own connections, as each real client has. They come from the address `from`.
pub(super) fn client(from: Option<IpAddr>) -> Client {
    let keep = Duration::from_secs(75);
    let mut connector = Connector::new()
        .connector(transport::connector())
        .limit(0)
        .conn_keep_alive(keep)
        .conn_lifetime(Duration::from_secs(86_400));
    if let Some(from) = from {
        connector = connector.local_address(from);
    }
    // The timeout covers the complete response and is set by the caller.
    Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .finish()
}

impl Exchange {
    /// Sends the request until it gets 2xx or 304, or until the policy allows no further retry, and
    /// counts all attempts. Returns `None` if the poll failed.
    pub(super) async fn poll(
        &self,
        due: Instant,
        keep_body: bool,
        request: impl Fn(&Client) -> SendClientRequest,
    ) -> Option<Answer> {
        self.tally.borrow_mut().started(due, Instant::now());
        let answer = self.until_answered(keep_body, request).await;
        let mut tally = self.tally.borrow_mut();
        match &answer {
            Some(_) => tally.answered(due, Instant::now()),
            None => tally.failed(due),
        }
        answer
    }

    async fn until_answered(
        &self,
        keep_body: bool,
        request: impl Fn(&Client) -> SendClientRequest,
    ) -> Option<Answer> {
        for retries in 0.. {
            let failure = match self.attempt(keep_body, request(&self.client)).await? {
                Ended::Answer(answer) => match answer.failure() {
                    None => return answer.is_good().then_some(answer),
                    Some(failure) => failure,
                },
                Ended::TimedOut => Failure::TimedOut,
                Ended::Broken(_) => Failure::Broken,
            };
            let wait = self
                .policy
                .retry
                .wait(failure, retries, &mut self.rng.borrow_mut())?;
            let at = Instant::now() + wait;
            if at >= self.limits.end {
                return None;
            }
            self.timer.until(at).await;
            self.tally.borrow_mut().retried(failure);
        }
        None
    }

    /// Sends one request. Returns `None` if no connection was free within a timeout after the end of the run.
    async fn attempt(&self, keep_body: bool, request: SendClientRequest) -> Option<Ended> {
        let room = async {
            let permit = self.limits.connections.acquire().await;
            self.limits.pace(&self.timer).await;
            permit
        };
        let _permit = timeout_at(self.limits.end + self.policy.timeout, room)
            .await
            .ok()?
            .ok()?;
        let sent = Instant::now();
        self.tally.borrow_mut().sent(sent);
        let ended = complete_answer(request, keep_body);
        let ended = match timeout_at(sent + self.policy.timeout, ended).await {
            Ok(Ok(answer)) => Ended::Answer(answer),
            Ok(Err(reason)) => Ended::Broken(reason),
            Err(_) => Ended::TimedOut,
        };
        self.tally.borrow_mut().ended(sent, Instant::now(), &ended);
        Some(ended)
    }
}

/// Reads the whole response.
///
/// # Errors
/// If the connection fails or ends before the end of the body (RFC 9112 §8). A body of HTTP/1.1 that only the end of the
/// connection ends cannot be read.
async fn complete_answer(request: SendClientRequest, keep_body: bool) -> Result<Answer, String> {
    let mut response = request.await.map_err(|error| error.to_string())?;
    let headers = response.headers();
    let is_framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let ends_with_connection = !is_framed && response.version() == Version::HTTP_10;
    let has_no_body = matches!(response.status().as_u16(), 204 | 304);
    if !(is_framed || ends_with_connection || has_no_body) {
        return Err("neither Content-Length nor Transfer-Encoding".to_owned());
    }
    let mut answer = Answer {
        status: response.status().as_u16(),
        etag: headers.get(ETAG).cloned(),
        content_encoding: headers.get(CONTENT_ENCODING).cloned(),
        retry_after: headers.get(RETRY_AFTER).and_then(seconds),
        link: headers.get(LINK).cloned(),
        closes: headers
            .get(CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close")),
        bytes: 0,
        body: Vec::new(),
    };
    while let Some(chunk) = response.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) if ends_with_connection && transport::is_end(&error) => break,
            Err(error) if transport::is_end(&error) => {
                return Err("the connection ended in the middle of a body".to_owned());
            }
            Err(error) => return Err(error.to_string()),
        };
        answer.bytes += chunk.len() as u64;
        if keep_body {
            answer.body.extend_from_slice(&chunk);
        }
    }
    Ok(answer)
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
