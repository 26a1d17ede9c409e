//! A page, and how it is read: the stored bytes of its rows joined, and the cursor after it (WIRE.md).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    FeedError,
    key::{After, PageKey},
};
use crate::{
    answer::{CachePolicy, Representation},
    domain::{
        cursor::{Cursor, PageLimit},
        feed_detail::FeedDetail,
        feed_envelope,
        ran_at::RanAt,
        seq_cursor::SeqCursor,
    },
    outgoing::ByteBudget,
    store::{FeedStamp, KeptFrom, Store},
};

/// Pages longer than this are read one at a time: a thousand rows of the greatest length have 64 MiB.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// A page that has been read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its bytes.
    pub representation: Arc<Representation>,
    /// How many rows it has.
    pub rows: usize,
    /// Whether it has as many rows as were asked for.
    pub is_full: bool,
    /// The cursor after it, if it is in the order of commits.
    pub next: Option<SeqCursor>,
    /// From where on all eval runs are kept, if some after its cursor were removed: the value of `Kept-From`.
    pub kept_from: Option<Arc<str>>,
    /// The sort key of its last row, if it is full and in the order of (ran_at, id).
    pub(super) last: Option<Arc<Cursor>>,
    /// The feed that was read.
    pub(super) stamp: FeedStamp,
}

/// Reads pages, and charges their bytes to a budget.
pub(super) struct PageReader<'a> {
    pub(super) store: &'a Store,
    pub(super) deadline: Instant,
    pub(super) budget: &'a ByteBudget,
    /// A read that finds its page large waits for it until no other large one is being read.
    pub(super) large_page: &'a Mutex<()>,
}

impl PageReader<'_> {
    /// Reads a page. The rows are joined as they are stored, and never parsed.
    ///
    /// # Errors
    /// [`FeedError`]: of the database, of a row, of the cursor.
    pub(super) fn read(&self, key: &PageKey) -> Result<Page, FeedError> {
        match &key.after {
            After::Place(cursor) => self.by_place(cursor, key.until.as_ref(), key.limit),
            After::Seq(cursor) => self.by_seq(*cursor, key.limit, key.is_detailed),
        }
    }

    fn by_place(
        &self,
        cursor: &Cursor,
        until: Option<&RanAt>,
        limit: PageLimit,
    ) -> Result<Page, FeedError> {
        let mut rows = Rows::new(self.large_page);
        let mut add = |row: &[u8]| rows.add(row);
        let end = self
            .store
            .feed_page(cursor, until, limit, self.deadline, &mut add)?;
        let last = match end.next {
            Some(row) => Some(Cursor::of_row(&row.ran_at, row.id).map_err(|_| FeedError::Time)?),
            None => None,
        };
        let mut body = rows.body;
        body.extend(feed_envelope::end(
            last.as_ref(),
            end.stamp.merkle_epoch_latest,
        )?);
        Ok(Page {
            representation: Arc::new(Representation::without_brotli(self.budget.charge(body))),
            rows: end.rows,
            is_full: last.is_some(),
            next: None,
            kept_from: None,
            last: last.map(Arc::new),
            stamp: end.stamp,
        })
    }

    fn by_seq(
        &self,
        cursor: SeqCursor,
        limit: PageLimit,
        is_detailed: bool,
    ) -> Result<Page, FeedError> {
        let mut rows = Rows::new(self.large_page);
        let mut add = |row: &[u8]| rows.add(row);
        let end = self
            .store
            .feed_page_by_seq(cursor, limit, self.deadline, &mut add)?;
        let is_full = end.rows == limit.rows();
        let policy = match cursor {
            // The lineages may change at any time.
            _ if !is_full || is_detailed => CachePolicy::Brief,
            // Of an earlier lineage, or the first page of any database: a restore may change it.
            _ if !cursor.is_of_lineage_of(end.next) => CachePolicy::Momentary,
            SeqCursor::Start | SeqCursor::At(_) => CachePolicy::Immutable,
        };
        let mut body = rows.body;
        if is_detailed {
            let detail = FeedDetail {
                next: end.next,
                seqs: end.seqs,
                lineages: end.lineages,
                merkle_epoch_latest: end.stamp.merkle_epoch_latest,
            };
            body.extend(detail.end()?);
        } else {
            body.extend(feed_envelope::end_by_seq(end.next));
        }
        let representation = Representation::without_brotli(self.budget.charge(body));
        Ok(Page {
            representation: Arc::new(representation.with_cache_policy(policy)),
            rows: end.rows,
            is_full,
            next: Some(end.next),
            kept_from: end.kept_from.map(|kept| {
                let KeptFrom { cursor, ran_at } = kept;
                format!("\"{cursor}\";ran-at=\"{ran_at}\"").into()
            }),
            last: None,
            stamp: end.stamp,
        })
    }
}

/// The rows of a page that is being read.
struct Rows<'a> {
    body: Vec<u8>,
    large_page: &'a Mutex<()>,
    turn: Option<MutexGuard<'a, ()>>,
}

impl<'a> Rows<'a> {
    fn new(large_page: &'a Mutex<()>) -> Self {
        Self {
            body: feed_envelope::BEGIN.to_vec(),
            large_page,
            turn: None,
        }
    }

    fn add(&mut self, row: &[u8]) {
        if self.body.len() > feed_envelope::BEGIN.len() {
            self.body.push(feed_envelope::SEPARATOR);
        }
        if self.turn.is_none() && self.body.len() + row.len() > LARGE_BYTES {
            let turn = self.large_page.lock();
            self.turn = Some(turn.unwrap_or_else(PoisonError::into_inner));
        }
        self.body.extend_from_slice(row);
    }
}
