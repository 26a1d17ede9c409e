//! A client that walks a feed by its cursor (WIRE.md, leaderboard/recent).

use std::{borrow::Cow, rc::Rc};

use awc::{Client, SendClientRequest, http::Uri};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::{
    exchange::{Answer, Exchange},
    plan::Validators,
};

/// One validator.
pub(super) struct Validator {
    /// What it pulls with.
    pub exchange: Exchange,
    /// What it asks for.
    pub plan: Rc<Validators>,
}

/// Up to where it has read.
#[derive(Debug, Clone)]
struct Cursor {
    ran_at: String,
    id: String,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    ran_at: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl Validator {
    /// Pulls at each of these times; a pull goes on to the end of the feed.
    pub(super) async fn live(self, due: Vec<Instant>) {
        let mut cursor = Cursor {
            ran_at: self.plan.since.to_string(),
            id: String::new(),
        };
        for due in due {
            sleep_until(due).await;
            self.pull(due, &mut cursor).await;
        }
    }

    /// Page by page. A page that fails ends the pull; the next one goes on from there.
    async fn pull(&self, due: Instant, cursor: &mut Cursor) {
        let mut due = due;
        loop {
            let Some(url) = self.page_url(cursor) else {
                return;
            };
            let request = |client: &Client| -> SendClientRequest { client.get(url.clone()).send() };
            let Some(answer) = self.exchange.poll(due, true, request).await else {
                return;
            };
            if self.read(&answer, cursor) < self.plan.limit as usize {
                return;
            }
            due = Instant::now();
            if due >= self.exchange.bounds.end {
                return;
            }
        }
    }

    /// Rows of the page; the cursor is set behind them.
    fn read(&self, answer: &Answer, cursor: &mut Cursor) -> usize {
        let page: Page<'_> = match serde_json::from_slice(&answer.body) {
            Ok(page) => page,
            Err(error) => {
                log::warn!("herd: a page that is none: {error}");
                return 0;
            }
        };
        if let Some(last) = page.items.last() {
            *cursor = Cursor {
                ran_at: last.ran_at.to_string(),
                id: last.id.to_string(),
            };
        }
        let rows = page.items.len();
        self.exchange.tally.borrow_mut().rows(rows as u64);
        rows
    }

    fn page_url(&self, cursor: &Cursor) -> Option<Uri> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("since_ran_at", &cursor.ran_at)
            .append_pair("since_id", &cursor.id)
            .append_pair("limit", &self.plan.limit.to_string())
            .finish();
        // A query of a valid URL and encoded pairs is valid.
        format!("{}?{query}", self.plan.url).parse().ok()
    }
}
