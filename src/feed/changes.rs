//! What changes of the feed do to what is held of it: the tail is extended, pages are dropped.
//!
//! Whoever changes the tail holds one lock from before it looks at the database until the tail shows
//! what it saw, so that no two of them overtake each other. Readers of the tail take no lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use rusqlite::Connection;

use super::{
    FeedError,
    pages::Pages,
    tail::{Backwards, Spares, Tail, TailRow},
};
use crate::{
    domain::{
        cursor::Cursor,
        eval_run::{EvalRun, FIRST_PUBLISHED_SCHEMA_VERSION},
    },
    store::{
        StoreError,
        read::{self, FeedStamp, StoredRow},
    },
};

/// What is held of the feed; who writes rows tells it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FeedChanges(Arc<Held>);

#[derive(Debug)]
struct Held {
    pages: Mutex<Pages>,
    tail: ArcSwapOption<Tail>,
    /// 0: there is none.
    max_tail_bytes: usize,
    changing: Mutex<Spares>,
}

impl FeedChanges {
    pub(super) fn new(max_page_bytes: Option<usize>, max_tail_bytes: usize) -> Self {
        Self(Arc::new(Held {
            pages: Mutex::new(Pages::new(max_page_bytes)),
            tail: ArcSwapOption::empty(),
            max_tail_bytes,
            changing: Mutex::default(),
        }))
    }

    /// To be called once a transaction that writes has begun, before anything is read in it: nobody
    /// else changes what is held until what comes back is dropped. For blocking threads.
    pub fn writing(&self) -> Writing<'_> {
        Writing {
            changes: self,
            told: false,
            changing: lock(&self.0.changing),
        }
    }

    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        lock(&self.0.pages)
    }

    /// The newest rows, as far as they are held.
    pub(super) fn tail(&self) -> Option<Arc<Tail>> {
        self.0.tail.load_full()
    }

    /// Whether there should be a tail and is none.
    pub(super) fn lacks_tail(&self) -> bool {
        self.0.max_tail_bytes > 0 && self.0.tail.load().is_none()
    }

    /// Nothing that is held can be relied upon.
    pub(super) fn clear(&self) {
        self.0.tail.store(None);
        self.pages().clear();
    }

    /// Reads what the tail lacks: what others have inserted, or all of it where there is none or where
    /// it may be that of another file (`afresh`). Costs what is new, at most the tail's size. For
    /// blocking threads.
    pub(super) fn follow(&self, connection: &Connection, afresh: bool) -> Result<(), FeedError> {
        let mut spares = lock(&self.0.changing);
        if self.0.max_tail_bytes == 0 {
            return Ok(());
        }
        let known = self.tail().filter(|_| !afresh);
        let followed = self.followed(connection, known, &mut spares);
        // Without an answer nobody knows what it lacks.
        self.0.tail.store(followed.as_ref().ok().cloned());
        followed.map(drop)
    }

    fn followed(
        &self,
        connection: &Connection,
        known: Option<Arc<Tail>>,
        spares: &mut Spares,
    ) -> Result<Arc<Tail>, FeedError> {
        let transaction = connection
            .unchecked_transaction()
            .map_err(StoreError::from)?;
        let stamp = read::feed_stamp(&transaction)?;
        let max_bytes = self.0.max_tail_bytes;
        if let Some(tail) = known
            && tail.stamp().last_row <= stamp.last_row
        {
            if tail.stamp() == stamp {
                return Ok(tail);
            }
            let after = tail.stamp().last_row.unwrap_or(0);
            let (mut rows, mut bytes) = (Vec::new(), 0);
            let all = read::rows_since(&transaction, after, |row| {
                bytes += row.body.len();
                rows.push(held(&row)?);
                // More than fits anyway: the newest of them by time are what counts.
                Ok::<_, FeedError>(bytes <= max_bytes)
            })?;
            if all {
                return Ok(Arc::new(tail.with(rows, stamp, max_bytes, spares)));
            }
        }
        let mut newest = Backwards::default();
        let mut floor = None;
        read::newest_rows(&transaction, |row| {
            let row = held(&row)?;
            if newest.weight_bytes_with(&row) > max_bytes {
                floor = Some(row.place);
                return Ok::<_, FeedError>(false);
            }
            newest.push(row);
            Ok(true)
        })?;
        Ok(Arc::new(newest.tail(floor, stamp)))
    }
}

/// Rows are being written. Dropped before it was told how that went, it lets go of all that is held:
/// they may be stored, or not.
#[derive(Debug)]
pub struct Writing<'a> {
    changes: &'a FeedChanges,
    told: bool,
    changing: MutexGuard<'a, Spares>,
}

impl Writing<'_> {
    /// The rows are durable, some of which may have been there before; the feed was `before` and is
    /// `after`. To be called before anybody is told that they are stored.
    pub fn committed<'r>(
        mut self,
        before: FeedStamp,
        after: FeedStamp,
        rows: impl Iterator<Item = &'r EvalRun> + Clone,
    ) {
        let held = &self.changes.0;
        if let Some(tail) = self.changes.tail() {
            // Another process has written meanwhile: what, is for the next look to find out.
            let known = tail.stamp() == before;
            let published = |run: &&EvalRun| run.schema_version >= FIRST_PUBLISHED_SCHEMA_VERSION;
            let extended = known.then(|| {
                let rows = rows.clone().filter(published).map(|run| TailRow {
                    place: run.place(),
                    body: run.body.as_bytes().into(),
                });
                let (rows, max_bytes) = (rows.collect(), held.max_tail_bytes);
                Arc::new(tail.with(rows, after, max_bytes, &mut self.changing))
            });
            drop(tail);
            if let Some(old) = held.tail.swap(extended) {
                self.changing.reclaim(old);
            }
        }
        // After the tail: a page that is made of it from now on has the rows.
        let places: Vec<Cursor> = rows.map(EvalRun::place).collect();
        self.changes.pages().committed(before, after, &places);
        self.told = true;
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.changes.clear();
        }
    }
}

fn held(row: &StoredRow<'_>) -> Result<TailRow, FeedError> {
    let place = Cursor::tuple(row.ran_at, Some(row.id)).map_err(|_| FeedError::Time)?;
    Ok(TailRow {
        place,
        body: row.body.into(),
    })
}

/// Nothing under these locks panics half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
