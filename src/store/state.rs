//! What readers find: the board, the feed and their versions, the ends of pages.

use crate::domain::{
    challenge::Challenge,
    cursor::Cursor,
    lineages::{Lineages, Unresolved},
    position::Lineage,
    seq_cursor::SeqCursor,
};

use super::StoreError;

/// A state of the board or of the feed. Every change draws a new one, by whichever program: equal versions mean
/// equal contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The number of changes; an eval run that is inserted counts as one.
    pub count: i64,
    /// Random, drawn by the last change: after a restore the count may be one that was there before.
    pub change_id: i64,
}

/// A state of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoardStamp {
    /// Its version.
    pub version: Version,
    /// The lineage that the count of changes belongs to.
    pub lineage: Lineage,
}

impl BoardStamp {
    /// Returns whether this is `other`, or a later state.
    pub fn shows(&self, other: &Self) -> bool {
        let is_later = if self.lineage == other.lineage {
            self.version.count > other.version.count
        } else {
            self.lineage.ordinal > other.lineage.ordinal
        };
        is_later || self.version == other.version
    }
}

/// The board at one moment.
#[derive(Debug)]
pub struct Board {
    /// Its state.
    pub stamp: BoardStamp,
    /// The published challenges, in the board's order.
    pub challenges: Vec<Challenge>,
}

/// A state of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedStamp {
    /// The version of the eval runs and the epochs.
    pub version: Version,
    /// The greatest epoch stored.
    pub merkle_epoch_latest: Option<i64>,
    /// The cursor after the last published row, in the order of commits.
    pub end: SeqCursor,
    /// The lineage that numbers which are given now belong to.
    pub lineage: Lineage,
    /// The greatest `seq` that was ever given.
    pub last_seq: i64,
    /// Tells the row with that `seq` from others, in a database that may be put back in place by other programs.
    pub last_row: u64,
}

impl FeedStamp {
    /// Returns whether the feed went from this state to `later` by inserting the `rows` eval runs that have a greater
    /// `seq`, published or not, and by nothing else.
    pub(crate) fn is_followed_by(&self, later: &Self, rows: i64) -> bool {
        self.lineage == later.lineage
            && self.merkle_epoch_latest == later.merkle_epoch_latest
            && later.version.count - self.version.count == rows
            && (rows > 0 || self.version == later.version)
    }

    /// Returns whether the feed may have gone from this state to `other`, or back, by nothing but inserted rows. Rolled
    /// back transactions leave gaps in `seq`.
    pub(crate) fn may_differ_by_rows_only(&self, other: &Self) -> bool {
        let changes = other.version.count - self.version.count;
        self.lineage == other.lineage
            && self.merkle_epoch_latest == other.merkle_epoch_latest
            && (changes < 0
                || changes <= other.last_seq - self.last_seq && self.version != other.version
                || self.version == other.version)
    }
}

/// What happened to the feed since a state that is known.
#[derive(Debug)]
pub struct Since {
    /// The feed now.
    pub stamp: FeedStamp,
    /// The sort keys of the published rows that were inserted since. `None` if anything else may have changed, or if
    /// they are too many.
    pub inserted: Option<Vec<Cursor>>,
}

/// The most rows that are followed one by one; behind more of them, all pages are read anew.
pub(super) const MAX_FOLLOWED: i64 = 10_000;

/// The state of the database at one poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseState {
    /// The state of the board.
    pub board: BoardStamp,
    /// The state of the feed.
    pub feed: FeedStamp,
    /// The lineage that began with the last restore, or with the database.
    pub restored: Lineage,
    /// When the newest published eval run ran, in seconds since 1970.
    pub newest_run_secs: Option<i64>,
}

/// The size of a database, and of the disk that it is on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatabaseSize {
    /// Bytes of the database, without its write-ahead log.
    pub database_bytes: u64,
    /// Its disk; `None` if that is the disk of another machine.
    pub disk: Option<DiskSpace>,
}

/// The space of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes of the whole disk.
    pub bytes: u64,
}

impl DiskSpace {
    /// A disk with less free space counts as full: not even an empty write-ahead log can be created.
    pub const FULL_BYTES: u64 = 1024 * 1024;
}

/// The sort key of a page's last row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRow {
    /// In the stored form.
    pub ran_at: String,
    /// The row's id.
    pub id: String,
}

/// The end of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageEnd {
    /// The last row of a full page; `None` if the feed ended first.
    pub next: Option<LastRow>,
    /// How many rows it has.
    pub rows: usize,
    /// The feed that was read.
    pub stamp: FeedStamp,
}

/// What `prune` has removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Eval runs that ran before this time may be missing. In the stored form.
    pub before: String,
    /// The greatest `seq` of those that were removed.
    pub through_seq: i64,
}

/// From where on all eval runs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFrom {
    /// No eval run after this cursor was removed.
    pub cursor: SeqCursor,
    /// No eval run of this time or a later one was removed. In the stored form.
    pub ran_at: String,
}

/// The end of a page in the order of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeqPageEnd {
    /// The cursor after it.
    pub next: SeqCursor,
    /// How many rows it has.
    pub rows: usize,
    /// The `seq` of each of them.
    pub seqs: Vec<i64>,
    /// The lineages that the database knows.
    pub lineages: Lineages,
    /// The feed that was read.
    pub stamp: FeedStamp,
    /// If eval runs after the cursor of the request were removed.
    pub kept_from: Option<KeptFrom>,
}

impl Pruned {
    /// Returns from where on all eval runs are kept, if some after `position` were removed.
    pub(super) fn after(self, position: i64, lineages: &Lineages) -> Option<KeptFrom> {
        (position < self.through_seq).then(|| KeptFrom {
            cursor: lineages.canonical(self.through_seq),
            ran_at: self.before,
        })
    }
}

/// Why there is no page in the order of commits.
#[derive(Debug, thiserror::Error)]
pub enum SeqPageError {
    /// The database cannot resolve the cursor.
    #[error(transparent)]
    Cursor(#[from] Unresolved),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for SeqPageError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The numbers of connections of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// Connections that are open.
    pub connections: u32,
    /// Open connections that are idle.
    pub idle: u32,
}
