//! The tail: the newest rows of the feed, held in memory in the feed's order, where validators live. It is
//! read when the feed is pulled for the first time.
//!
//! A tail never changes. A newer one shares what it has in common with the older one: rows lie joined
//! in chunks, so that a page is a few copies of memory, and a new row copies one chunk.

use std::sync::Arc;

use crate::{
    domain::cursor::{Cursor, PageLimit},
    store::read::FeedStamp,
};

/// About what one commit copies.
const CHUNK_BYTES: usize = 32 * 1024;
/// What is set aside for a chunk: it may end with a comma too many.
const ROOM_BYTES: usize = CHUNK_BYTES + 1;
/// What a row takes beside its body: its place, twice a string.
const OVERHEAD_BYTES: usize = 160;

/// A published row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailRow {
    /// Where it stands in the feed.
    pub place: Cursor,
    /// Its stored bytes.
    pub body: Box<[u8]>,
}

/// How many chunks are kept to be written anew: what one commit takes.
const MAX_SPARES: usize = 4;

/// Chunks that nobody reads any more. An allocator gives back late, or never, what one thread took and
/// another lets go of: without these a full tail would take its size twice, as each row that comes takes
/// new memory while that of the row that goes stays where it was.
#[derive(Debug, Default)]
pub struct Spares {
    chunks: Vec<Chunk>,
    made: usize,
}

impl Spares {
    /// Takes what nobody but `old` has.
    pub fn reclaim(&mut self, old: Arc<Tail>) {
        let chunks = Arc::into_inner(old).map(|tail| tail.chunks);
        for mut chunk in chunks.into_iter().flatten().filter_map(Arc::into_inner) {
            if chunk.text.capacity() == ROOM_BYTES && self.chunks.len() < MAX_SPARES {
                chunk.text.clear();
                chunk.rows.clear();
                self.chunks.push(chunk);
            }
        }
    }

    /// How many chunks took new memory, as none was spare.
    pub fn made(&self) -> usize {
        self.made
    }

    fn take(&mut self) -> Chunk {
        self.chunks.pop().unwrap_or_else(|| {
            self.made += 1;
            Chunk::with_room()
        })
    }
}

/// Rows joined by commas.
#[derive(Debug)]
struct Chunk {
    text: Vec<u8>,
    rows: Vec<Mark>,
}

/// A row within a chunk.
#[derive(Debug, Clone)]
struct Mark {
    place: Cursor,
    /// Where its bytes begin and end.
    start: usize,
    end: usize,
}

/// Every row after its floor, as of [`Tail::stamp`].
#[derive(Debug)]
pub struct Tail {
    chunks: Vec<Arc<Chunk>>,
    weight_bytes: usize,
    floor: Option<Cursor>,
    stamp: FeedStamp,
}

/// The rows of one page, where they lie.
#[derive(Debug)]
pub struct Span<'a> {
    /// To be joined by commas.
    pub slices: Vec<&'a [u8]>,
    /// The last row's place, where the page is full.
    pub last: Option<&'a Cursor>,
}

impl Span<'_> {
    /// How long the rows are.
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }
}

impl Tail {
    /// No rows, of a feed that has none after `floor`; of one that has none at all where that is `None`.
    pub fn empty(floor: Option<Cursor>, stamp: FeedStamp) -> Self {
        Self {
            chunks: Vec::new(),
            weight_bytes: 0,
            floor,
            stamp,
        }
    }

    /// The state of the feed that it shows.
    pub fn stamp(&self) -> FeedStamp {
        self.stamp
    }

    /// What it takes, in bytes.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// This one with more rows, in any order, of which it may have some already; the oldest are let go
    /// until it weighs no more than `max_bytes`. Copies the chunks that the rows fall into.
    #[must_use]
    pub fn with(
        &self,
        mut rows: Vec<TailRow>,
        stamp: FeedStamp,
        max_bytes: usize,
        spares: &mut Spares,
    ) -> Self {
        rows.retain(|row| self.floor.as_ref().is_none_or(|floor| row.place > *floor));
        rows.sort_unstable_by(|a, b| a.place.cmp(&b.place));
        // Rows are immutable: one of the same place is the same row.
        rows.dedup_by(|a, b| a.place == b.place);
        let mut rows = rows.into_iter().peekable();
        let mut chunks = Vec::with_capacity(self.chunks.len() + 1);
        for (at, chunk) in self.chunks.iter().enumerate() {
            // The last chunk takes all that is left, the first one what comes before it, too.
            let next = self.chunks.get(at + 1).and_then(|next| next.first());
            let mut here = Vec::new();
            while let Some(row) = rows.next_if(|row| next.is_none_or(|next| row.place < *next)) {
                here.push(row);
            }
            if here.is_empty() {
                chunks.push(Arc::clone(chunk));
            } else {
                let more_to_come = next.is_none();
                let old = (chunk.text.as_slice(), chunk.rows.as_slice());
                Chunk::merged(old, here, more_to_come, &mut chunks, spares);
            }
        }
        Chunk::merged((&[], &[]), rows.collect(), true, &mut chunks, spares);
        let mut weight_bytes = chunks.iter().map(|chunk| chunk.weight_bytes()).sum();
        let mut gone = 0;
        let mut floor = self.floor.clone();
        for chunk in &chunks {
            if weight_bytes <= max_bytes {
                break;
            }
            weight_bytes -= chunk.weight_bytes();
            floor = chunk.rows.last().map(|row| row.place.clone());
            gone += 1;
        }
        chunks.drain(..gone);
        Self {
            chunks,
            weight_bytes,
            floor,
            stamp,
        }
    }

    /// The up to `limit` rows after `cursor`; none where some of those are older than the tail. Costs
    /// two binary searches.
    pub fn page(&self, cursor: &Cursor, limit: PageLimit) -> Option<Span<'_>> {
        if self.floor.as_ref().is_some_and(|floor| cursor < floor) {
            return None;
        }
        let mut left = limit.rows();
        let mut slices = Vec::new();
        let mut last = None;
        let first = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last <= cursor));
        for chunk in &self.chunks[first..] {
            let from = chunk.rows.partition_point(|row| row.place <= *cursor);
            let rows = &chunk.rows[from..];
            let rows = &rows[..left.min(rows.len())];
            if let (Some(begin), Some(end)) = (rows.first(), rows.last()) {
                slices.push(&chunk.text[begin.start..end.end]);
                left -= rows.len();
                last = (left == 0).then_some(&end.place);
            }
            if left == 0 {
                break;
            }
        }
        Some(Span { slices, last })
    }
}

/// Makes a tail of rows that come from the newest one on back, as they are read: no more of them than a
/// chunk's are held twice.
#[derive(Debug, Default)]
pub struct Backwards {
    /// The newest first.
    chunks: Vec<Arc<Chunk>>,
    /// Of the next chunk, the newest first.
    rows: Vec<TailRow>,
    row_bytes: usize,
    weight_bytes: usize,
}

impl Backwards {
    /// What the tail would weigh with one more row.
    pub fn weight_bytes_with(&self, row: &TailRow) -> usize {
        // A comma stands beside it.
        self.weight_bytes + row.body.len() + 1 + OVERHEAD_BYTES
    }

    /// Adds a row that stands before all others.
    pub fn push(&mut self, row: TailRow) {
        // A comma stands before each but the first.
        let text_bytes = self.row_bytes + self.rows.len();
        if !self.rows.is_empty() && text_bytes + row.body.len() > CHUNK_BYTES {
            self.close_chunk();
        }
        self.weight_bytes = self.weight_bytes_with(&row);
        self.row_bytes += row.body.len();
        self.rows.push(row);
    }

    /// All of them, in a feed that has no other rows after `floor`; none at all where that is `None`.
    #[must_use]
    pub fn tail(mut self, floor: Option<Cursor>, stamp: FeedStamp) -> Tail {
        self.close_chunk();
        self.chunks.reverse();
        Tail {
            weight_bytes: self.chunks.iter().map(|chunk| chunk.weight_bytes()).sum(),
            chunks: self.chunks,
            floor,
            stamp,
        }
    }

    fn close_chunk(&mut self) {
        let mut chunk = Chunk::with_room();
        for row in self.rows.drain(..).rev() {
            chunk.push(row.place, &row.body);
        }
        self.row_bytes = 0;
        chunk.close(false, &mut self.chunks);
    }
}

impl Chunk {
    fn with_room() -> Self {
        Self {
            text: Vec::with_capacity(ROOM_BYTES),
            rows: Vec::new(),
        }
    }

    /// What was set aside for more is given back where it is much and nothing is to come.
    fn close(mut self, more_to_come: bool, chunks: &mut Vec<Arc<Self>>) {
        if !self.rows.is_empty() {
            if !more_to_come && self.text.len() < CHUNK_BYTES / 2 {
                self.text.shrink_to_fit();
            }
            self.rows.shrink_to_fit();
            chunks.push(Arc::new(self));
        }
    }

    fn first(&self) -> Option<&Cursor> {
        self.rows.first().map(|row| &row.place)
    }

    fn last(&self) -> Option<&Cursor> {
        self.rows.last().map(|row| &row.place)
    }

    fn weight_bytes(&self) -> usize {
        self.text.len() + self.rows.len() * OVERHEAD_BYTES
    }

    /// The rows of a chunk and `more`, which is sorted and has no row twice, in as many chunks as that
    /// takes; the last one keeps its room where there is `more_to_come`.
    fn merged(
        (text, rows): (&[u8], &[Mark]),
        more: Vec<TailRow>,
        more_to_come: bool,
        chunks: &mut Vec<Arc<Self>>,
        spares: &mut Spares,
    ) {
        if rows.is_empty() && more.is_empty() {
            return;
        }
        let mut open = spares.take();
        let mut push = |place: Cursor, body: &[u8]| {
            if !open.rows.is_empty() && open.text.len() + body.len() > CHUNK_BYTES {
                std::mem::replace(&mut open, spares.take()).close(false, chunks);
            }
            open.push(place, body);
        };
        let mut more = more.into_iter().peekable();
        for row in rows {
            while let Some(new) = more.next_if(|new| new.place < row.place) {
                push(new.place, &new.body);
            }
            more.next_if(|new| new.place == row.place);
            push(row.place.clone(), &text[row.start..row.end]);
        }
        for new in more {
            push(new.place, &new.body);
        }
        open.close(more_to_come, chunks);
    }

    fn push(&mut self, place: Cursor, body: &[u8]) {
        if !self.rows.is_empty() {
            self.text.push(b',');
        }
        let start = self.text.len();
        self.text.extend_from_slice(body);
        self.rows.push(Mark {
            place,
            start,
            end: self.text.len(),
        });
    }
}
