//! The walk over the feed of an upstream without `since_seq`: which page to ask for next. Pure.
//!
//! Each poll begins some time before the newest eval run that is known, because others may be committed below it. The
//! beginning moves on in steps, so that the same pages are asked for, with their entity-tags: if nothing has changed,
//! each of them is a 304.

use std::time::Duration;

use crate::domain::cursor::{Cursor, Seen};

/// Pages whose tags are remembered. A longer walk forgets those before.
const MAX_PAGES: usize = 64;

/// The pages from the beginning to the end of the feed.
#[derive(Debug)]
pub(super) struct Walk {
    overlap: Duration,
    pages: Vec<Page>,
    at: usize,
}

#[derive(Debug)]
struct Page {
    after: Cursor,
    tag: Option<String>,
    next: Option<Cursor>,
}

impl Page {
    fn new(after: Cursor) -> Self {
        Self {
            after,
            tag: None,
            next: None,
        }
    }
}

impl Walk {
    /// A walk that has not begun.
    pub(super) fn new(overlap: Duration) -> Self {
        Self {
            overlap,
            pages: Vec::new(),
            at: 0,
        }
    }

    /// Begins a poll. `newest` is the last eval run that is known, `first` a place before all of them.
    pub(super) fn begin(&mut self, newest: Option<&Cursor>, first: &Cursor) {
        let begin = match newest {
            Some(newest) if self.overlap.is_zero() => newest.clone(),
            Some(newest) => Cursor {
                ran_at: newest.ran_at.before(self.overlap),
                seen: Seen::All,
            },
            None => first.clone(),
        };
        let begin = begin.max(first.clone());
        if self.pages.first().is_none_or(|page| page.after != begin) {
            self.pages = vec![Page::new(begin)];
        }
        self.at = 0;
    }

    /// Returns the place to ask from, and the tag of the answer that is known.
    pub(super) fn ask(&self) -> Option<(&Cursor, Option<&str>)> {
        let page = self.pages.get(self.at)?;
        Some((&page.after, page.tag.as_deref()))
    }

    /// Notes a 304. Returns whether another page follows.
    pub(super) fn not_modified(&mut self) -> bool {
        let next = self.pages.get(self.at).and_then(|page| page.next.clone());
        self.go_on(next)
    }

    /// Notes a page that was stored. Returns whether another page follows.
    pub(super) fn stored(&mut self, tag: Option<String>, next: Option<Cursor>) -> bool {
        if let Some(page) = self.pages.get_mut(self.at) {
            page.tag = tag;
            page.next.clone_from(&next);
        }
        self.go_on(next)
    }

    fn go_on(&mut self, next: Option<Cursor>) -> bool {
        let Some(next) = next else {
            return false;
        };
        self.at += 1;
        if self
            .pages
            .get(self.at)
            .is_none_or(|page| page.after != next)
        {
            self.pages.truncate(self.at);
            self.pages.push(Page::new(next));
        }
        if self.pages.len() > MAX_PAGES {
            self.pages.drain(..self.at);
            self.at = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    fn at(time: &str, id: &str) -> Cursor {
        Cursor::tuple(&format!("2026-06-07T{time}Z"), Some(id)).unwrap()
    }

    fn asked(walk: &Walk) -> (String, Option<&str>) {
        let (after, tag) = walk.ask().unwrap();
        (after.ran_at.to_string(), tag)
    }

    #[test]
    fn a_poll_asks_for_the_same_pages_until_the_feed_has_moved_on() {
        let mut walk = Walk::new(Duration::from_secs(600));
        let first = at("00:00:00", "");
        walk.begin(None, &first);
        assert_eq!(asked(&walk), ("2026-06-07T00:00:00.000Z".to_owned(), None));
        assert!(walk.stored(Some("a".to_owned()), Some(at("01:00:00", "x"))));
        assert!(!walk.stored(Some("b".to_owned()), None));
        // The beginning is a multiple of the overlap, and at least as long ago.
        for newest in ["01:17:00", "01:19:59.999"] {
            walk.begin(Some(&at(newest, "y")), &first);
            assert_eq!(asked(&walk).0, "2026-06-07T01:00:00.000Z", "{newest}");
        }
        assert!(walk.stored(Some("c".to_owned()), Some(at("01:10:00", "x"))));
        assert!(!walk.stored(Some("d".to_owned()), None));
        walk.begin(Some(&at("01:18:00", "y")), &first);
        assert_eq!(asked(&walk).1, Some("c"));
        assert!(walk.not_modified());
        assert_eq!(
            asked(&walk),
            ("2026-06-07T01:10:00.000Z".to_owned(), Some("d"))
        );
        assert!(!walk.not_modified());
        // A page that ends elsewhere makes what followed it unknown.
        walk.begin(Some(&at("01:18:00", "y")), &first);
        assert!(walk.stored(Some("e".to_owned()), Some(at("01:09:00", "x"))));
        assert_eq!(asked(&walk), ("2026-06-07T01:09:00.000Z".to_owned(), None));
        walk.begin(Some(&at("01:20:00", "y")), &first);
        assert_eq!(asked(&walk), ("2026-06-07T01:10:00.000Z".to_owned(), None));
    }

    #[test]
    fn a_long_walk_remembers_few_pages() {
        let mut walk = Walk::new(Duration::ZERO);
        walk.begin(None, &at("00:00:00", ""));
        for number in 0..10_000 {
            assert!(walk.stored(None, Some(at("01:00:00", &format!("{number:05}")))));
            assert!(walk.pages.len() <= MAX_PAGES);
            assert_eq!(walk.ask().unwrap().0.id(), Some(&*format!("{number:05}")));
        }
    }
}
