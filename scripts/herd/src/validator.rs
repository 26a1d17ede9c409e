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

/// Maximum length of a decoded page; a longer page is invalid.
const MAX_PAGE_BYTES: u64 = 256 * 1024 * 1024;

/// A validator.
pub(super) struct Validator {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The plan of all validators.
    pub plan: Rc<Validators>,
}

/// The last row that was read.
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
    /// Reads the feed up to its end at each of these times.
    pub(super) async fn run(self, due: Vec<Instant>) {
        let mut cursor = Cursor {
            ran_at: self.plan.since.to_string(),
            id: String::new(),
        };
        for due in due {
            sleep_until(due).await;
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
            if due >= self.exchange.limits.end {
                return;
            }
        }
    }

    /// Returns the number of rows of the page and moves the cursor to the last one.
    fn read(&self, answer: &Answer, cursor: &mut Cursor) -> usize {
        let read = decoded(answer);
        let page: Page<'_> = match read
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|body| serde_json::from_slice(body).map_err(|error| error.to_string()))
        {
            Ok(page) => page,
            Err(error) => {
                log::warn!("herd: invalid page: {error}");
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
        // Encoded pairs after a valid URL are a valid URL.
        format!("{}?{query}", self.plan.url).parse().ok()
    }
}

/// Decodes the body.
fn decoded(answer: &Answer) -> io::Result<Cow<'_, [u8]>> {
    let encoded = answer.body.as_slice();
    let coding = answer.content_encoding.as_ref();
    let reader: Box<dyn Read + '_> = match coding.map(|name| name.as_bytes()) {
        None | Some(b"identity") => return Ok(Cow::Borrowed(encoded)),
        Some(b"gzip") => Box::new(flate2::read::GzDecoder::new(encoded)),
        Some(b"zstd") => Box::new(zstd::Decoder::new(encoded)?),
        Some(b"br") => Box::new(brotli::Decompressor::new(encoded, 4096)),
        Some(_) => return Err(io::Error::other("a content coding that was not requested")),
    };
    let mut body = Vec::new();
    // A few bytes may decode to very many.
    reader.take(MAX_PAGE_BYTES).read_to_end(&mut body)?;
    Ok(Cow::Owned(body))
}
