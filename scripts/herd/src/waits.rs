//! What clients that wait got: their responses by kind.

use serde::{Deserialize, Serialize};

use crate::link::NoNext;

/// Responses to clients that wait, by kind. Each response is of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// The first response of each client.
    pub first: u64,
    /// Responses with another board than before, or with rows.
    pub changed: u64,
    /// Responses with nothing new, at the end of a wait.
    pub unchanged: u64,
    /// Responses with Retry-After: the server has too many waits.
    pub refused: u64,
    /// Responses with nothing new, within a second of the end of the last wait.
    pub at_once: u64,
    /// The most responses of one client, the first one included.
    pub most_of_a_client: u64,
    /// Responses without a link to the next request that can be followed.
    pub without_next: u64,
    /// The first reason for that.
    #[serde(default)]
    pub first_without_next: Option<String>,
    /// Waits that the end of the run has cut off. They were sent, and do not count as due.
    #[serde(default)]
    pub cut_off: u64,
    /// Clients whose connection the server has closed, saying so in a response (Connection: close).
    pub closing: u64,
    /// When the first such response came, in seconds of the run.
    pub first_closing_at: Option<f64>,
    /// When the last client got its first such response.
    pub last_closing_at: Option<f64>,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It was the first request of the client, which does not wait.
    First,
    /// The response had something new.
    Changed,
    /// The response had nothing new, and came at the end of the wait.
    Unchanged,
    /// The server refused it, with Retry-After.
    Refused,
    /// The response had nothing new, and came within a second of the end of the last wait.
    AtOnce,
}

impl Waits {
    /// Counts a response: the `answers`th one of this client. `closes_at`: when it came, in seconds of the run, if it is the
    /// first one of this client after which the server closes the connection.
    pub(super) fn answered(&mut self, wait: Wait, answers: u64, closes_at: Option<f64>) {
        *match wait {
            Wait::First => &mut self.first,
            Wait::Changed => &mut self.changed,
            Wait::Unchanged => &mut self.unchanged,
            Wait::Refused => &mut self.refused,
            Wait::AtOnce => &mut self.at_once,
        } += 1;
        self.most_of_a_client = self.most_of_a_client.max(answers);
        if let Some(at) = closes_at {
            self.closing += 1;
            self.first_closing_at.get_or_insert(at);
            self.last_closing_at = Some(at);
        }
    }

    /// Counts a response that leads nowhere.
    pub(super) fn lost(&mut self, reason: &NoNext) {
        self.without_next += 1;
        let first = &mut self.first_without_next;
        first.get_or_insert_with(|| reason.to_string());
    }

    /// Adds those of another shard.
    pub(super) fn merge(&mut self, other: &Self) {
        self.first += other.first;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.refused += other.refused;
        self.at_once += other.at_once;
        self.most_of_a_client = self.most_of_a_client.max(other.most_of_a_client);
        self.without_next += other.without_next;
        if self.first_without_next.is_none() {
            self.first_without_next
                .clone_from(&other.first_without_next);
        }
        self.cut_off += other.cut_off;
        self.closing += other.closing;
        let both = [self.first_closing_at, other.first_closing_at].into_iter();
        self.first_closing_at = both.flatten().reduce(f64::min);
        let both = [self.last_closing_at, other.last_closing_at].into_iter();
        self.last_closing_at = both.flatten().reduce(f64::max);
    }
}
