//! A client that waits instead of polling: it follows `Link: <…>; rel="next"` (WIRE.md, Waiting).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    Method, StatusCode, Uri,
    header::{ACCEPT_ENCODING, HeaderValue, IF_NONE_MATCH},
};
use tokio::{task::yield_now, time::Instant};
use url::Url;

use crate::{
    answer::{Answer, Failed},
    exchange::Exchange,
    link,
    news::Seen,
    page::{Page, decoded},
    response::Keep,
    tally::Tally,
    target::{Origin, Outgoing},
    waits::Wait,
};

/// An answer without a change that comes sooner is followed by a pause of the same length.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What is at the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The board. It is asked with the last entity-tag, if `conditional`.
    Board {
        /// Whether it sends If-None-Match.
        conditional: bool,
    },
    /// The feed by `since_seq`.
    Feed,
}

/// A client that waits.
pub(super) struct Follower {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The server.
    pub origin: Arc<Origin>,
    /// The URL of its first request, and of the first one after an error that is not worth a retry.
    pub start: Rc<Url>,
    /// What is there.
    pub kind: Kind,
    /// Value of Accept-Encoding.
    pub accept_encoding: Option<HeaderValue>,
    /// What it has seen of what was written.
    pub seen: Seen,
}

impl Follower {
    /// Follows from `first` on until the end of the run. A wait that is open then is not due any more; a first request,
    /// which does not wait, has failed.
    pub(super) async fn run(mut self, first: Instant) {
        let end = self.exchange.limits.end;
        let timer = self.exchange.timer.clone();
        let asked = Cell::new(None);
        let answers = Cell::new(0);
        tokio::select! {
            biased;
            () = timer.until(end) => {}
            () = self.follow(first, &asked, &answers) => {}
        }
        let mut tally = self.exchange.tally.borrow_mut();
        match asked.get() {
            Some(due) if answers.get() == 0 => tally.failed(due),
            Some(due) => tally.cut_off(due),
            None => {}
        }
    }

    /// `asked` is the time of the request in flight, if there is one, `answers` the number of responses.
    async fn follow(&mut self, first: Instant, asked: &Cell<Option<Instant>>, answers: &Cell<u64>) {
        self.exchange.timer.until(first).await;
        let mut next = self.start.as_ref().clone();
        let mut etag = None;
        let mut closed = false;
        // Whether the last answer came at the end of a wait, so that the next wait is a whole one. One that begins
        // with a change in the middle of a slot lasts for the rest of the slot only, however short that is.
        let mut whole = false;
        loop {
            let sent = Instant::now();
            self.seen.asks(sent);
            asked.set(Some(sent));
            // A URL by the rules of browsers is also one by RFC 3986.
            let url: Uri = next.as_str().parse().unwrap_or_default();
            let request = self.request(url, etag.as_ref());
            let (kind, seen) = (self.kind, &mut self.seen);
            let tally = &self.exchange.tally;
            let read = |answer: &Answer| kind.read(answer, etag.as_ref(), seen, tally);
            let answer = self.exchange.poll_and_read(
                sent,
                &self.origin,
                Keep::Body,
                || request.clone(),
                read,
            );
            let answer = answer.await;
            asked.set(None);
            let Some((answer, changed)) = answer else {
                // 4xx, such as 410 of a cursor that the server does not know: starts again.
                next = self.start.as_ref().clone();
                etag = None;
                whole = false;
                let again = Instant::now() + AT_ONCE;
                self.exchange.timer.until(again).await;
                continue;
            };
            let now = Instant::now();
            let at_once = now - sent < AT_ONCE;
            answers.set(answers.get() + 1);
            let wait = match () {
                () if answers.get() == 1 => Wait::First,
                () if answer.retry_after.is_some() => Wait::Refused,
                () if changed => Wait::Changed,
                () if at_once && whole && !answer.closes => Wait::AtOnce,
                () => Wait::Unchanged,
            };
            whole = matches!(wait, Wait::Unchanged | Wait::AtOnce);
            let closes_first = answer.closes && !closed;
            closed |= answer.closes;
            let tally = &self.exchange.tally;
            tally
                .borrow_mut()
                .waited(wait, answers.get(), closes_first, now);
            let link = answer.link.as_ref().and_then(|link| link.to_str().ok());
            match link::next(&next, link.unwrap_or_default()) {
                Ok(url) => next = url,
                Err(reason) => {
                    log::debug!("herd: {next}: {reason}");
                    tally.borrow_mut().lost(&reason);
                }
            }
            if answer.etag.is_some() {
                etag = answer.etag;
            }
            // After the answers to the other clients: each client is a machine of its own, and does not delay them by its
            // next request.
            yield_now().await;
            let pause = Some(AT_ONCE).filter(|_| at_once && !changed);
            if let Some(pause) = pause.max(answer.retry_after) {
                self.exchange.timer.until(now + pause).await;
            }
        }
    }

    fn request(&self, url: Uri, etag: Option<&HeaderValue>) -> Outgoing {
        let mut request = self.origin.request(Method::GET, url, Bytes::new());
        let fields = request.headers_mut();
        if let Some(codings) = &self.accept_encoding {
            fields.insert(ACCEPT_ENCODING, codings.clone());
        }
        if let (Kind::Board { conditional: true }, Some(etag)) = (self.kind, etag) {
            fields.insert(IF_NONE_MATCH, etag.clone());
        }
        request
    }
}

impl Kind {
    /// Notes what is new in the answer; returns whether anything is.
    ///
    /// # Errors
    /// If the body is not a page of the feed.
    fn read(
        self,
        answer: &Answer,
        etag: Option<&HeaderValue>,
        seen: &mut Seen,
        tally: &RefCell<Tally>,
    ) -> Result<bool, Failed> {
        let now = Instant::now();
        match self {
            Self::Board { .. } if answer.status == StatusCode::NOT_MODIFIED => Ok(false),
            Self::Board { .. } => {
                tally.borrow_mut().news(&seen.board(answer, now));
                Ok(answer.etag.as_ref() != etag)
            }
            Self::Feed => {
                let body = decoded(answer)?;
                let page = Page::parse(&body)?;
                let mut tally = tally.borrow_mut();
                tally.rows(page.items.len() as u64);
                tally.news(&seen.rows(&page.items, now));
                Ok(!page.items.is_empty())
            }
        }
    }
}
