//! What was written when, and what of it a client has not seen yet: the time from a write to each client.
//!
//! The time of a write is that at which its request was sent, so it includes the commit. A board that another
//! program has changed counts from the moment at which the first client sees it.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use cathedral_publisher::{demo::sample::Sample, domain::challenge::Challenge};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    answer::Answer,
    page::{Item, decoded},
};

/// The challenge by which this program changes a board.
pub(super) const CHALLENGE: &str = "herd";
/// Hex digits of an entity-tag that do not name the coding.
const DIGITS: usize = 16;

/// The writes of a run.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What the challenge of the first change by this program says, less one; `None` if it changes no board.
    before: Option<u64>,
    /// When the changes of the board were sent; the first one has the number 1.
    changes: Vec<Instant>,
    /// The number of the change that a board shows, by its entity-tag without the coding.
    boards: HashMap<Vec<u8>, usize>,
    /// When each row was sent, by its id.
    rows: HashMap<String, Instant>,
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
    /// No writes yet. `operates`: this program will change the board.
    pub(super) fn new(operates: bool) -> Self {
        // Greater than in an earlier run against the same database.
        let now = || u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
        Self {
            before: operates.then(now),
            ..Self::default()
        }
    }

    /// Returns the challenge that changes the board, and notes that it is sent now.
    pub(super) fn change(&mut self, now: Instant) -> Challenge {
        self.changes.push(now);
        let mut challenge = Sample::new(1).challenge(1);
        CHALLENGE.clone_into(&mut challenge.challenge_id);
        challenge.num_vars = self.before.unwrap_or(0) + self.changes.len() as u64;
        challenge
    }

    /// Notes that a row is sent now.
    pub(super) fn row(&mut self, id: String, now: Instant) {
        self.rows.insert(id, now);
    }

    /// Returns the number of changes that the board of this answer shows.
    fn board(&mut self, answer: &Answer, now: Instant) -> usize {
        let Some(etag) = &answer.etag else {
            return 0;
        };
        let digits: Vec<u8> = etag.as_bytes().iter().copied().take(DIGITS + 1).collect();
        if let Some(number) = self.boards.get(&digits) {
            return *number;
        }
        let number = match self.shown(answer) {
            Some(number) => number,
            // The first board, or one from before the changes.
            None if self.boards.is_empty() || self.before.is_some() => 0,
            None => {
                self.changes.push(now);
                self.changes.len()
            }
        };
        self.boards.insert(digits, number);
        number
    }

    /// Returns the number of the change of this program that the board shows.
    fn shown(&self, answer: &Answer) -> Option<usize> {
        let board: Board = serde_json::from_slice(&decoded(answer).ok()?).ok()?;
        let shown = board
            .items
            .iter()
            .find(|item| item.challenge_id == CHALLENGE);
        let number = usize::try_from(shown?.num_vars.checked_sub(self.before?)?).ok()?;
        (1..=self.changes.len()).contains(&number).then_some(number)
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
        self.news.borrow().before.is_some()
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
        let changes = news.changes.get(seen..number).unwrap_or_default();
        changes.iter().map(|sent| now - *sent).collect()
    }

    /// Returns how long those of the rows have taken that this program has written.
    pub(super) fn rows(&self, rows: &[Item<'_>], now: Instant) -> Vec<Duration> {
        let news = self.news.borrow();
        let sent = rows.iter().filter_map(|row| news.rows.get(row.id.as_ref()));
        let since = self.since.unwrap_or(now);
        let new = sent.filter(|sent| **sent >= since);
        new.map(|sent| now - *sent).collect()
    }
}
