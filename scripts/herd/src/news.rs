//! What was written when, and what of it a client has not seen yet: the time from a write to each client.
//!
//! The time of a write is that at which its request was sent, so it includes the commit. A board that another
//! program has changed counts from the moment at which the first client sees it.
//!
//! Of a long run only the last [`MOST`] writes are waited for: what a client sees of an earlier one does not count. A client
//! would have to be that much behind.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cathedral_publisher::{demo::sample::Sample, domain::challenge::Challenge};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    answer::Answer,
    page::{Item, decoded},
    recent::{Changes, MOST, Recent},
};

/// The challenge by which this program changes a board.
pub(super) const CHALLENGE: &str = "herd";
/// Hex digits of an entity-tag that do not name the coding.
const DIGITS: usize = 16;

/// The writes of a run, of all shards. A shard takes the lock only when something was written that it has not read.
#[derive(Debug)]
pub(super) struct Writes {
    /// What the challenge of the first change by this program says, less one; `None` if it changes no board.
    before: Option<u64>,
    /// Number of the notes so far.
    noted: AtomicUsize,
    notes: Mutex<Notes>,
}

/// The last notes of a run.
#[derive(Debug, Default)]
struct Notes {
    /// Notes before the first of these.
    dropped: usize,
    last: VecDeque<Note>,
    /// Rows, changes and boards in them.
    writes: usize,
}

/// What was written.
#[derive(Debug, Clone)]
enum Note {
    /// The change of the board with this number, sent at this time.
    Change(usize, Instant),
    /// The number of the change that the board with this tag shows.
    Board(Vec<u8>, usize),
    /// Rows, by their ids, sent at this time.
    Rows(Vec<Arc<str>>, Instant),
}

impl Writes {
    /// No writes yet. `operates`: this program will change the board.
    pub(super) fn new(operates: bool) -> Self {
        // Greater than in an earlier run against the same database.
        let now = || u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
        Self {
            before: operates.then(now),
            noted: AtomicUsize::new(0),
            notes: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// Returns the number of the notes so far.
    fn count(&self) -> usize {
        self.dropped + self.last.len()
    }

    /// Returns the notes from this number on, as far as they are kept.
    fn since(&self, number: usize) -> impl Iterator<Item = &Note> {
        self.last.iter().skip(number.saturating_sub(self.dropped))
    }

    fn add(&mut self, note: Note) {
        self.writes += note.writes();
        self.last.push_back(note);
        while self.writes > MOST
            && self.last.len() > 1
            && let Some(first) = self.last.pop_front()
        {
            self.writes -= first.writes();
            self.dropped += 1;
        }
    }
}

impl Note {
    fn writes(&self) -> usize {
        match self {
            Self::Change(..) | Self::Board(..) => 1,
            Self::Rows(ids, _) => ids.len(),
        }
    }
}

/// The writes of a run, as far as a shard has read them.
#[derive(Debug)]
pub(super) struct News {
    writes: Arc<Writes>,
    /// How many notes were read.
    read: usize,
    changes: Changes,
    /// The number of the change that a board shows, by its entity-tag without the coding.
    boards: Recent<Vec<u8>, usize>,
    /// When each row was sent, by its id.
    rows: Recent<Arc<str>, Instant>,
}

/// What is needed of a board.
#[derive(Deserialize)]
struct Board {
    items: Vec<Shown>,
}

#[derive(Deserialize)]
struct Shown {
    challenge_id: String,
    num_vars: u64,
}

impl News {
    /// Nothing was read yet.
    pub(super) fn new(writes: Arc<Writes>) -> Self {
        Self {
            writes,
            read: 0,
            changes: Changes::default(),
            boards: Recent::new(),
            rows: Recent::new(),
        }
    }

    /// Returns the challenge that changes the board, and notes that it is sent now.
    pub(super) fn change(&mut self, now: Instant) -> Challenge {
        self.note(|news| vec![Note::Change(news.changes.count() + 1, now)]);
        let mut challenge = Sample::new(1).challenge(1);
        CHALLENGE.clone_into(&mut challenge.challenge_id);
        challenge.num_vars = self.writes.before.unwrap_or(0) + self.changes.count() as u64;
        challenge
    }

    /// Notes that these rows are sent now.
    pub(super) fn rows(&mut self, ids: Vec<String>, now: Instant) {
        let ids = ids.into_iter().map(Arc::from).collect();
        self.note(|_| vec![Note::Rows(ids, now)]);
    }

    /// Reads what was written.
    fn read(&mut self) {
        // A note is written before its request is sent, and so before any response that shows it.
        if self.read < self.writes.noted.load(Ordering::Acquire) {
            self.note(|_| Vec::new());
        }
    }

    /// Reads what was written, and adds what `add` returns then.
    fn note(&mut self, add: impl FnOnce(&Self) -> Vec<Note>) {
        let writes = Arc::clone(&self.writes);
        let mut notes = writes.lock();
        for note in notes.since(self.read) {
            self.learn(note);
        }
        for note in add(self) {
            self.learn(&note);
            notes.add(note);
        }
        self.read = notes.count();
        writes.noted.store(notes.count(), Ordering::Release);
    }

    fn learn(&mut self, note: &Note) {
        match note {
            Note::Change(number, at) => self.changes.add(*number, *at),
            Note::Board(tag, number) => self.boards.insert(tag.clone(), *number),
            Note::Rows(ids, at) => {
                for id in ids {
                    self.rows.insert(Arc::clone(id), *at);
                }
            }
        }
    }

    /// Returns the number of changes that the board of this answer shows.
    fn board(&mut self, answer: &Answer, now: Instant) -> usize {
        let Some(etag) = &answer.etag else {
            return 0;
        };
        self.read();
        let tag: Vec<u8> = etag.as_bytes().iter().copied().take(DIGITS + 1).collect();
        if let Some(number) = self.boards.get(&tag) {
            return *number;
        }
        let shown = self.shown(answer);
        self.note(|news| {
            // Another shard may have seen the board meanwhile.
            if news.boards.get(&tag).is_some() {
                return Vec::new();
            }
            match shown {
                Some(number) => vec![Note::Board(tag.clone(), number)],
                // The first board, or one from before the changes.
                None if news.boards.is_empty() || news.writes.before.is_some() => {
                    vec![Note::Board(tag.clone(), 0)]
                }
                None => {
                    let number = news.changes.count() + 1;
                    vec![Note::Change(number, now), Note::Board(tag.clone(), number)]
                }
            }
        });
        self.boards.get(&tag).copied().unwrap_or(0)
    }

    /// Returns the number of the change of this program that the board shows.
    fn shown(&self, answer: &Answer) -> Option<usize> {
        let board: Board = serde_json::from_slice(&decoded(answer).ok()?).ok()?;
        let shown = board
            .items
            .iter()
            .find(|item| item.challenge_id == CHALLENGE);
        let number = usize::try_from(shown?.num_vars.checked_sub(self.writes.before?)?).ok()?;
        (1..=self.changes.count())
            .contains(&number)
            .then_some(number)
    }
}

/// What one client has seen.
#[derive(Debug)]
pub(super) struct Seen {
    news: Rc<RefCell<News>>,
    /// The first request of this client: rows from before it are no news.
    since: Option<Instant>,
    /// The number of the last change that it has seen.
    changes: Option<usize>,
}

impl Seen {
    /// A client that has seen nothing.
    pub(super) fn new(news: &Rc<RefCell<News>>) -> Self {
        Self {
            news: Rc::clone(news),
            since: None,
            changes: None,
        }
    }

    /// Returns whether a client that polls the board must keep its bodies.
    pub(super) fn wanted(&self) -> bool {
        self.news.borrow().writes.before.is_some()
    }

    /// Notes that the client sends a request now.
    pub(super) fn asks(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Returns how long each change has taken that this board shows, and none before it did.
    pub(super) fn board(&mut self, answer: &Answer, now: Instant) -> Vec<Duration> {
        let mut news = self.news.borrow_mut();
        let number = news.board(answer, now);
        let seen = self.changes.unwrap_or(number);
        // A cache may answer with an older board.
        self.changes = Some(seen.max(number));
        let changes = news.changes.between(seen, number);
        let times = changes.map(|sent| now.saturating_duration_since(*sent));
        times.collect()
    }

    /// Returns how long those of the rows have taken that this program has written.
    pub(super) fn rows(&self, rows: &[Item<'_>], now: Instant) -> Vec<Duration> {
        let mut news = self.news.borrow_mut();
        news.read();
        let sent = rows.iter().filter_map(|row| news.rows.get(row.id.as_ref()));
        let since = self.since.unwrap_or(now);
        let new = sent.filter(|sent| **sent >= since);
        new.map(|sent| now.saturating_duration_since(*sent))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_run_only_the_last_writes_are_waited_for_in_every_shard() {
        let writes = Arc::new(Writes::new(true));
        let (mut writer, mut reader) = (
            News::new(Arc::clone(&writes)),
            News::new(Arc::clone(&writes)),
        );
        let now = Instant::now();
        // Two and a half times as many as are kept; the reader reads only now and then.
        for post in 0..250 {
            let ids = (0..MOST / 100).map(|row| format!("{post}-{row}"));
            writer.rows(ids.collect(), now + Duration::from_secs(post));
            writer.change(now);
            if post == 20 {
                reader.read();
            }
        }
        reader.read();
        assert!(writes.lock().writes <= MOST && writes.lock().last.len() <= 200);
        for news in [&writer, &reader] {
            let sent = |id: &str| news.rows.get(id).copied();
            assert_eq!(sent("249-0"), Some(now + Duration::from_secs(249)));
            assert_eq!(sent("0-0"), None);
        }
        // Numbers of changes stay those of the run.
        assert_eq!((writer.changes.count(), reader.changes.count()), (250, 250));
    }
}
