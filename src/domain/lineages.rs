//! Which histories a database knows, and what a position of one of them means in its own.
//!
//! A lineage begins when the database is created and at every restore. Its own history is a chain: each lineage
//! continues the one before, and from its `first_seq` on the eval runs are its own. Beside the chain the database
//! knows lineages that it has left: it was restored from a copy that was made before they began. Of such a lineage
//! it has the eval runs up to `shared_through`, and none of the others.

use super::{
    position::{Lineage, Position},
    seq_cursor::SeqCursor,
};

/// So many lineages that it has left are known, the last ones: cursors of earlier ones are of another database.
const MAX_LEFT: usize = 256;

/// A lineage that a database knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownLineage {
    /// Its ordinal and id.
    pub lineage: Lineage,
    /// The first `seq` that was given in it.
    pub first_seq: i64,
    /// `None` if the database continues it. Otherwise the greatest `seq` up to which both have the same eval runs.
    pub shared_through: Option<i64>,
    /// Whether it began with a restore. Otherwise a process wrote for the first time.
    pub is_restore: bool,
}

/// A lineage that began so many seconds ago is known to every copy of the database that is merely behind.
const BEHIND_SECS: i64 = 3600;

/// The lineages that a database knows; the last one is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineages(Vec<KnownLineage>);

/// What a cursor cannot be resolved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Its lineage is not known: another database gave it.
    #[error("the cursor is of another database")]
    Unknown,
    /// It is of a time that this database has not reached yet.
    #[error("the cursor is ahead of this database")]
    Ahead,
}

impl Lineages {
    /// The lineages of a database, in any order. `None` if the last one is missing or was left: another program wrote
    /// them.
    pub fn new(mut known: Vec<KnownLineage>) -> Option<Self> {
        known.sort_unstable_by_key(|known| known.lineage.ordinal);
        let current = known.last()?;
        current.shared_through.is_none().then_some(Self(known))
    }

    /// Returns the lineage that numbers which are given now belong to.
    pub fn current(&self) -> Option<Lineage> {
        self.0.last().map(|known| known.lineage)
    }

    /// Returns all of them, the current one last.
    pub fn known(&self) -> &[KnownLineage] {
        &self.0
    }

    /// Returns up to which `seq` a client with this cursor has seen all eval runs of the database. `last_seq` is the
    /// greatest one that was ever given.
    ///
    /// `now` is the time in seconds since 1970.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub fn resolve(&self, cursor: SeqCursor, last_seq: i64, now: i64) -> Result<i64, Unresolved> {
        let SeqCursor::At(Position { lineage, number }) = cursor else {
            return Ok(0);
        };
        if self.0.iter().all(|known| known.lineage != lineage) {
            let greatest = self.current().map(|current| current.ordinal);
            let is_recent = i64::from(lineage.ordinal) > now - BEHIND_SECS;
            return Err(if greatest < Some(lineage.ordinal) && is_recent {
                Unresolved::Ahead
            } else {
                Unresolved::Unknown
            });
        }
        match self.bound_of(lineage) {
            Some(bound) => Ok(number.min(bound)),
            None if number > last_seq => Err(Unresolved::Ahead),
            None => Ok(number),
        }
    }

    /// The lineages of a copy of a database that takes the place of `live`, before a lineage begins there: its own, and
    /// those that `live` knows beside them, up to where both have the same eval runs. `last_seq` is the greatest one
    /// that was ever given in the copy.
    ///
    /// Both are chains that part at some lineage, so a lineage of `live` has no more in common with the copy than the
    /// chains have. Where it has (the copy is of a lineage that `live` had left), a client may get eval runs again that
    /// were away meanwhile; it misses none. Without a common lineage nothing is known of the other database.
    #[must_use]
    pub fn taking_place_of(mut self, live: &Self, last_seq: i64) -> Self {
        let chain = || self.0.iter().filter(|known| known.is_continued());
        let is_common = |known: &KnownLineage| chain().any(|own| own.lineage == known.lineage);
        let live_chain = || live.0.iter().filter(|known| known.is_continued());
        let Some(parted) = live_chain().rfind(|known| is_common(known)) else {
            return self;
        };
        let end = |lineages: &Self| lineages.bound_of(parted.lineage);
        let shared = end(&self).unwrap_or(last_seq);
        let shared = shared.min(end(live).unwrap_or(shared));
        let mut left: Vec<KnownLineage> = live.0.clone();
        // Without those that the copy knows itself, and those whose ordinal it has given to another one.
        left.retain(|known| {
            let mut own = self.0.iter().map(|own| own.lineage);
            own.all(|own| own.ordinal != known.lineage.ordinal && own.id != known.lineage.id)
        });
        for known in &mut left {
            let bound = live.bound_of(known.lineage);
            known.shared_through = Some(shared.min(bound.unwrap_or(shared)));
        }
        self.0.append(&mut left);
        self.0.sort_unstable_by_key(|known| known.lineage.ordinal);
        let count = self.0.iter().filter(|it| !it.is_continued()).count();
        let mut too_many = count.saturating_sub(MAX_LEFT);
        self.0.retain(|known| {
            let is_dropped = too_many > 0 && !known.is_continued();
            too_many -= usize::from(is_dropped);
            !is_dropped
        });
        self
    }

    /// Returns up to which `seq` a lineage has the same eval runs as the database; `None` if that is not limited,
    /// because it is the current one.
    fn bound_of(&self, lineage: Lineage) -> Option<i64> {
        let at = self.0.iter().position(|known| known.lineage == lineage)?;
        // What the lineage has in common with the chain ends where a later one of the chain begins.
        let later = self.0[at + 1..].iter().filter(|known| known.is_continued());
        let bounds = later.map(|known| known.first_seq - 1);
        bounds.chain(self.0[at].shared_through).min()
    }

    /// Returns the lineage that began with the last restore, or with the database.
    pub fn last_restore(&self) -> Option<Lineage> {
        let chain = self.0.iter().filter(|known| known.is_continued());
        let restore = chain.clone().rfind(|known| known.is_restore);
        restore
            .or(chain.clone().next_back())
            .map(|known| known.lineage)
    }

    /// Returns the one cursor that stands for a position of the database: in the lineage in which the number was given,
    /// or in that of the last restore if it was given before. So the pages of old eval runs keep their addresses while
    /// processes come and go. A restore gives each position another cursor: no page that a cache has kept from before is
    /// on the way of a client that begins after it.
    pub fn canonical(&self, seq: i64) -> SeqCursor {
        let chain = self.0.iter().filter(|known| known.is_continued());
        let is_later = |known: &&KnownLineage| !known.is_restore && known.first_seq > seq;
        let given = chain.clone().rev().find(|known| !is_later(known));
        let given = given.or(chain.clone().next());
        given.map_or(SeqCursor::Start, |known| {
            SeqCursor::At(Position {
                lineage: known.lineage,
                number: seq,
            })
        })
    }
}

impl KnownLineage {
    fn is_continued(&self) -> bool {
        self.shared_through.is_none()
    }
}

#[cfg(test)]
mod tests;
