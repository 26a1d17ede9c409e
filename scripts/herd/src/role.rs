//! The results of the clients of one kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    course::Phase,
    failures::{Failed, Failures, Reason},
    latencies::Point,
    limits::HeldBack,
    quantile::Latency,
    waits::Waits,
};

/// Results of the clients of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Number of clients.
    pub clients: u32,
    /// Polls that were due, without waits that the end of the run has cut off.
    pub due: u64,
    /// Polls that got 2xx, or 304 to a conditional request, with a whole body.
    pub answered: u64,
    /// Polls that were given up, got 4xx, or were in flight at the end.
    pub failed: u64,
    /// Polls that were skipped because their client still waited for the previous response. Their
    /// latency is measured up to that response.
    pub missed: u64,
    /// Attempts to get a response: first requests, retries, and those that were sent again as the server has not processed
    /// them. An attempt without a connection is one, too.
    pub attempts: u64,
    /// Attempts of which nothing was written: they got no connection or no stream.
    #[serde(default)]
    pub unsent: u64,
    /// Attempts that the server has not processed, and that were therefore followed by another one at once: it has closed an
    /// idle connection (RFC 9112 §9.3.1), or a connection of HTTP/2 in an orderly way (RFC 9113 §6.8).
    #[serde(default)]
    pub sent_again: u64,
    /// Responses by status, including those to retries.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests that do not count as answered, by reason.
    pub failures: Failures,
    /// Requests that timed out, by what they had not got.
    #[serde(default)]
    pub timed_out_with: BTreeMap<Phase, u64>,
    /// Requests in flight at the end of the run. Each attempt was answered, failed, was sent again, or is in flight.
    pub in_flight: u64,
    /// Connections that turned out to be closed by the server, and were opened again for the same request, whether it had
    /// been sent or not.
    pub reopened: u64,
    /// What the limits of the run held back.
    #[serde(default)]
    pub held_back_by: HeldBack,
    /// Retries after timeouts.
    pub retries_after_timeout: u64,
    /// Retries after other failures.
    pub retries_after_other: u64,
    /// Body bytes received, encoded, those of responses that failed included.
    pub body_bytes: u64,
    /// Body bytes saved by 304s.
    pub saved_bytes: u64,
    /// Rows that validators read or that the server acknowledged to writers.
    pub rows: u64,
    /// Time from when a poll was due to its response, including retries. Polls without a response
    /// count as the slowest.
    pub latency: Latency,
    /// Time from when a request was sent to its response.
    pub service: Latency,
    /// Shares of all polls that got a response within a time.
    pub distribution: Vec<Point>,
    /// Time from when a write of this program was sent to a client's response that shows it, once for each write
    /// and client.
    #[serde(default)]
    pub news: News,
    /// The responses to clients that wait.
    #[serde(default)]
    pub waits: Option<Waits>,
}

/// How long writes take to reach clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// Changes of the board, or rows, that a client has seen, summed over all clients.
    pub seen: u64,
    /// The times.
    pub latency: Latency,
}

impl Role {
    /// Returns the number of responses of a class of statuses: 2 for 200 to 299.
    pub fn of_class(&self, class: u16) -> u64 {
        let of_class = self
            .statuses
            .iter()
            .filter(|(code, _)| *code / 100 == class);
        of_class.map(|(_, count)| count).sum()
    }

    /// Returns why requests failed, how often, and what the first of each kind failed with; the most frequent reason
    /// first.
    pub fn reasons(&self) -> Vec<(Reason, &Failed)> {
        let mut reasons: Vec<_> = self.failures.iter().collect();
        reasons.sort_by_key(|(_, failed)| std::cmp::Reverse(failed.count));
        reasons
    }

    /// Returns the number of requests without a complete response in time.
    pub fn timeouts(&self) -> u64 {
        self.failures.of(Reason::TimedOut)
    }

    /// Returns the number of requests whose connection failed or was lost, also in the middle of a body.
    pub fn lost(&self) -> u64 {
        self.failures.count(Reason::is_lost)
    }

    /// Returns the requests of which something was written.
    pub fn sent(&self) -> u64 {
        self.attempts.saturating_sub(self.unsent)
    }

    /// Returns the requests per poll: all attempts, as a client that gets no connection has tried as well.
    pub fn amplification(&self) -> f64 {
        let cut_off = self.waits.as_ref().map_or(0, |waits| waits.cut_off);
        self.attempts as f64 / (self.due + cut_off).max(1) as f64
    }
}
