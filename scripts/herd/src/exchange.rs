//! One poll: requests until an answer, or until there is no point any more.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use awc::{
    Client, Connector, SendClientRequest,
    http::header::{CONTENT_ENCODING, ETAG, HeaderValue, RETRY_AFTER},
};
use fastrand::Rng;
use futures_util::StreamExt as _;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{plan::Manners, retry::Failure, tally::Tally};

/// How a request ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With a whole answer.
    Answer(Answer),
    /// Without one, in time.
    TimedOut,
    /// Without a connection, or in the middle of it.
    Broken(String),
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub status: u16,
    /// Its entity-tag.
    pub etag: Option<HeaderValue>,
    /// The coding of its body.
    pub content_encoding: Option<HeaderValue>,
    /// What Retry-After says, where it says it in seconds.
    pub retry_after: Option<Duration>,
    /// Of its body.
    pub bytes: u64,
    /// Its body, where it was asked for.
    pub body: Vec<u8>,
}

impl Answer {
    /// Why a client would not be content with it and ask again.
    pub(super) fn failure(&self) -> Option<Failure> {
        (self.status == 429 || self.status >= 500).then_some(Failure::Refused {
            retry_after: self.retry_after,
        })
    }

    /// Whether it is what was asked for: 2xx or 304.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.status, 200..=299 | 304)
    }
}

/// What all clients of a run together may do.
#[derive(Debug)]
pub(super) struct Bounds {
    connections: Semaphore,
    /// Between two requests at the greatest rate.
    gap: Duration,
    /// When the next request would go out at that rate, had all before it.
    next: Cell<Instant>,
    /// When polls stop coming in: no retry begins after it.
    pub end: Instant,
}

/// How much of a rate may be used at once.
const BURST: Duration = Duration::from_secs(1);

impl Bounds {
    /// At most so many requests at once, and so many a second, until `end`.
    pub(super) fn new(connections: u32, rate: u32, began: Instant, end: Instant) -> Self {
        Self {
            connections: Semaphore::new(connections as usize),
            gap: Duration::from_secs(1) / rate,
            next: Cell::new(began),
            end,
        }
    }

    /// Waits until the rate allows another request: a leaky bucket of a second.
    async fn pace(&self) {
        let now = Instant::now();
        let next = self.next.get().max(now.checked_sub(BURST).unwrap_or(now));
        self.next.set(next + self.gap);
        if next > now {
            sleep_until(next).await;
        }
    }
}

/// What one client sends its requests with.
pub(super) struct Exchange {
    /// Its connections.
    pub client: Client,
    /// Where it is counted.
    pub tally: Rc<RefCell<Tally>>,
    /// How it behaves.
    pub manners: Manners,
    /// What it must share.
    pub bounds: Rc<Bounds>,
    /// Its random numbers.
    pub rng: RefCell<Rng>,
}

/// A client with connections of its own, as every real one has.
pub(super) fn client() -> Client {
    let keep = Duration::from_secs(75);
    let connector = Connector::new()
        .limit(0)
        .conn_keep_alive(keep)
        .conn_lifetime(Duration::from_secs(86_400));
    // The time-out of a poll is for the whole of it, and set around it.
    Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .finish()
}

impl Exchange {
    /// Sends what `request` makes until it is answered with 2xx or 304, as far as the client's
    /// manners go; counts all of it. None: the poll failed.
    pub(super) async fn poll(
        &self,
        due: Instant,
        keep_body: bool,
        request: impl Fn(&Client) -> SendClientRequest,
    ) -> Option<Answer> {
        self.tally.borrow_mut().taken_up(due, Instant::now());
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
                .manners
                .retry
                .wait(failure, retries, &mut self.rng.borrow_mut())?;
            let at = Instant::now() + wait;
            if at >= self.bounds.end {
                return None;
            }
            sleep_until(at).await;
            self.tally.borrow_mut().retried(failure);
        }
        None
    }

    /// None: there was no room for it, a time-out after the end of the run neither.
    async fn attempt(&self, keep_body: bool, request: SendClientRequest) -> Option<Ended> {
        let room = async {
            let permit = self.bounds.connections.acquire().await;
            self.bounds.pace().await;
            permit
        };
        let _permit = timeout_at(self.bounds.end + self.manners.timeout, room)
            .await
            .ok()?
            .ok()?;
        let sent = Instant::now();
        self.tally.borrow_mut().sent(sent);
        let ended = whole_answer(request, keep_body);
        let ended = match timeout_at(sent + self.manners.timeout, ended).await {
            Ok(Ok(answer)) => Ended::Answer(answer),
            Ok(Err(reason)) => Ended::Broken(reason),
            Err(_) => Ended::TimedOut,
        };
        self.tally.borrow_mut().ended(sent, Instant::now(), &ended);
        Some(ended)
    }
}

async fn whole_answer(request: SendClientRequest, keep_body: bool) -> Result<Answer, String> {
    let mut response = request.await.map_err(|error| error.to_string())?;
    let headers = response.headers();
    let mut answer = Answer {
        status: response.status().as_u16(),
        etag: headers.get(ETAG).cloned(),
        content_encoding: headers.get(CONTENT_ENCODING).cloned(),
        retry_after: headers.get(RETRY_AFTER).and_then(seconds),
        bytes: 0,
        body: Vec::new(),
    };
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
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
