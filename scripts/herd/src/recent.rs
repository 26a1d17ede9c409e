//! The last entries of what grows for the whole run.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use tokio::time::Instant;

/// Rows, changes of the board and boards, each, that are waited for. A shard takes some 100 bytes for a row: at most 10 MB.
pub(super) const MOST: usize = 100_000;

/// The last [`MOST`] entries of a map.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    all: HashMap<K, V>,
    /// The keys, in the order in which they were added.
    keys: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// No entries yet.
    pub(super) fn new() -> Self {
        Self {
            all: HashMap::new(),
            keys: VecDeque::new(),
        }
    }

    /// Returns the value of a key, unless it was forgotten.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.all.get(key)
    }

    /// Returns whether there are no entries.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds an entry, and forgets the oldest one if there are too many.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.all.insert(key.clone(), value).is_some() {
            return;
        }
        self.keys.push_back(key);
        if self.keys.len() > MOST
            && let Some(first) = self.keys.pop_front()
        {
            self.all.remove(&first);
        }
    }
}

/// When the changes of the board were sent, the last [`MOST`] of them; the first one of all has the number 1.
#[derive(Debug, Default)]
pub(super) struct Changes {
    dropped: usize,
    last: VecDeque<Instant>,
}

impl Changes {
    /// Returns the number of the last one.
    pub(super) fn count(&self) -> usize {
        self.dropped + self.last.len()
    }

    /// Adds the change with this number, which is the next one unless some were forgotten.
    pub(super) fn add(&mut self, number: usize, sent: Instant) {
        if number != self.count() + 1 {
            self.dropped = number.saturating_sub(1);
            self.last.clear();
        }
        self.last.push_back(sent);
        if self.last.len() > MOST {
            self.last.pop_front();
            self.dropped += 1;
        }
    }

    /// Returns when those after the number `seen` and up to `number` were sent.
    pub(super) fn between(&self, seen: usize, number: usize) -> impl Iterator<Item = &Instant> {
        let skipped = seen.saturating_sub(self.dropped);
        let end = number.saturating_sub(self.dropped);
        self.last.iter().take(end).skip(skipped)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_that_is_forgotten_is_not_counted_and_the_others_keep_their_numbers() {
        let now = Instant::now();
        let mut changes = Changes::default();
        for second in 0..MOST as u64 + 3 {
            changes.add(second as usize + 1, now + Duration::from_secs(second));
        }
        assert_eq!(changes.count(), MOST + 3);
        // Of the first five, three are forgotten.
        let sent: Vec<u64> = changes
            .between(0, 5)
            .map(|sent| (*sent - now).as_secs())
            .collect();
        assert_eq!(sent, [3, 4]);
        let last = changes.between(MOST + 2, MOST + 3).next().unwrap();
        assert_eq!((*last - now).as_secs(), MOST as u64 + 2);
    }

    #[test]
    fn an_entry_is_forgotten_when_there_are_too_many_after_it() {
        let mut recent = Recent::new();
        for key in 0..=MOST {
            recent.insert(key, key);
            // Once more changes nothing.
            recent.insert(key, key);
        }
        let both = (recent.all.len(), recent.keys.len());
        assert_eq!(both, (MOST, MOST));
        assert_eq!((recent.get(&0), recent.get(&1)), (None, Some(&1)));
    }
}
