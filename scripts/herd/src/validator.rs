//! A client that walks a feed by its cursor (WIRE.md, leaderboard/recent).

use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Uri, header::ACCEPT_ENCODING};
use tokio::time::Instant;

use crate::{
    answer::{Answer, Failed},
    exchange::Exchange,
    news::Seen,
    page::{Page, decoded},
    plan::Validators,
    response::Keep,
};

/// A validator.
pub(super) struct Validator {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The plan of all validators.
    pub plan: Rc<Validators>,
    /// What it has seen of what was written.
    pub seen: Seen,
}

/// The last row that was read.
#[derive(Debug, Clone)]
struct Cursor {
    ran_at: String,
    id: String,
}

impl Validator {
    /// Reads the feed up to its end at each of these times.
    pub(super) async fn run(mut self, due: impl Iterator<Item = Instant>) {
        let mut cursor = Cursor {
            ran_at: self.plan.since.clone(),
            id: String::new(),
        };
        for due in due {
            self.exchange.timer.until(due).await;
            self.seen.asks(Instant::now());
            self.pull(due, &mut cursor).await;
        }
    }

    /// Reads page by page. A failed page ends the pull; the next pull continues from there.
    async fn pull(&self, due: Instant, cursor: &mut Cursor) {
        let mut due = due;
        loop {
            let Some(url) = self.page_url(cursor) else {
                return;
            };
            let origin = &self.plan.target.origin;
            let request = || {
                let mut request = origin.request(Method::GET, url.clone(), Bytes::new());
                if let Some(codings) = &self.plan.accept_encoding {
                    let fields = request.headers_mut();
                    fields.insert(ACCEPT_ENCODING, codings.clone());
                }
                request
            };
            let read = |answer: &Answer| self.read(answer, cursor);
            let page = self
                .exchange
                .poll_and_read(due, origin, Keep::Body, request, read);
            let Some((_, rows)) = page.await else {
                return;
            };
            if rows < self.plan.limit as usize {
                return;
            }
            due = Instant::now();
            if due >= self.exchange.limits.end {
                return;
            }
        }
    }

    /// Returns the number of rows of the page and moves the cursor to the last one.
    ///
    /// # Errors
    /// If the body is not a page, or too long.
    fn read(&self, answer: &Answer, cursor: &mut Cursor) -> Result<usize, Failed> {
        let body = decoded(answer)?;
        let page = Page::parse(&body)?;
        if let Some(last) = page.items.last() {
            *cursor = Cursor {
                ran_at: last.ran_at.to_string(),
                id: last.id.to_string(),
            };
        }
        let rows = page.items.len();
        let mut tally = self.exchange.tally.borrow_mut();
        tally.rows(rows as u64);
        tally.news(&self.seen.rows(&page.items, Instant::now()));
        Ok(rows)
    }

    fn page_url(&self, cursor: &Cursor) -> Option<Uri> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("since_ran_at", &cursor.ran_at)
            .append_pair("since_id", &cursor.id)
            .append_pair("limit", &self.plan.limit.to_string())
            .finish();
        // Encoded pairs after a valid URL are a valid URL.
        format!("{}?{query}", self.plan.target.url).parse().ok()
    }
}
