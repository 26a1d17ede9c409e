//! A client that walks a feed by its cursor (WIRE.md, leaderboard/recent).

use std::{
    borrow::Cow,
    io::{self, Read},
    rc::Rc,
};

use awc::{
    Client, SendClientRequest,
    http::{Uri, header::ACCEPT_ENCODING},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    exchange::{Answer, Exchange},
    plan::Validators,
};

/// The longest page that is read: one that is longer is none.
const MAX_PAGE_BYTES: u64 = 256 * 1024 * 1024;

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
            let request = |client: &Client| -> SendClientRequest {
                let mut request = client.get(url.clone());
                if let Some(codings) = &self.plan.accept_encoding {
                    request = request.insert_header((ACCEPT_ENCODING, codings.clone()));
                }
                request.send()
            };
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
        let read = decoded(answer);
        let page: Page<'_> = match read
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|body| serde_json::from_slice(body).map_err(|error| error.to_string()))
        {
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

/// The body as it was before it was coded.
fn decoded(answer: &Answer) -> io::Result<Cow<'_, [u8]>> {
    let coded = answer.body.as_slice();
    let coding = answer.content_encoding.as_ref();
    let reader: Box<dyn Read + '_> = match coding.map(|name| name.as_bytes()) {
        None | Some(b"identity") => return Ok(Cow::Borrowed(coded)),
        Some(b"gzip") => Box::new(flate2::read::GzDecoder::new(coded)),
        Some(b"zstd") => Box::new(zstd::Decoder::new(coded)?),
        Some(b"br") => Box::new(brotli::Decompressor::new(coded, 4096)),
        Some(_) => return Err(io::Error::other("a coding that was not asked for")),
    };
    let mut body = Vec::new();
    // A few bytes can stand for very many.
    reader.take(MAX_PAGE_BYTES).read_to_end(&mut body)?;
    Ok(Cow::Owned(body))
}
