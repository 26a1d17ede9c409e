//! What a run found, as `--json` prints it and `herd-compare` reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this format.
pub const FORMAT: u32 = 1;

/// One run. Times are in seconds from its beginning, latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// What it is called.
    pub name: String,
    /// What was polled.
    pub url: String,
    /// When it began, RFC 3339.
    pub began_at: String,
    /// How long polls came in.
    pub seconds: f64,
    /// How long a client waited for an answer.
    pub timeout_ms: f64,
    /// The pollers.
    pub pollers: Role,
    /// The validators, where there were any; a poll of theirs is a page.
    pub validators: Option<Role>,
    /// The writers, where there were any; a poll of theirs is a post.
    pub writers: Option<Role>,
    /// The pollers over time.
    pub slices: Vec<Slice>,
    /// What the server told of its rebuilds.
    pub rebuilds: Option<Rebuilds>,
    /// What its processes used.
    pub server: Option<ServerUse>,
    /// How late this program itself was, sending what was due: 99 of 100 less than this. Where it is
    /// not small beside the latencies, they are its own.
    pub late_p99_ms: f64,
}

/// What clients of one kind did and saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// How many.
    pub clients: u32,
    /// Polls that came due.
    pub due: u64,
    /// Polls answered with 2xx or 304.
    pub answered: u64,
    /// Polls given up, refused with 4xx, or open at the end.
    pub failed: u64,
    /// Polls that were never sent, as their client still waited for the one before. Their latency is
    /// that of its answer.
    pub missed: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Answers by status, those to retried attempts included.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts that got no whole answer in time.
    pub timeouts: u64,
    /// Attempts without a connection, or whose connection broke.
    pub broken: u64,
    /// The first reason of those.
    pub first_broken: Option<String>,
    /// Attempts that followed a time-out.
    pub retries_after_timeout: u64,
    /// Attempts that followed anything else.
    pub retries_after_other: u64,
    /// Of bodies, as they came.
    pub body_bytes: u64,
    /// What bodies would have been instead of 304s.
    pub saved_bytes: u64,
    /// Rows read by validators, acknowledged to writers.
    pub rows: u64,
    /// From when a poll was due to its answer, retries and all; over all polls, so that those without
    /// an answer are the slowest.
    pub latency: Latency,
    /// From when a request was sent to its answer, over the answered ones.
    pub service: Latency,
    /// The share of all polls that were answered within a time.
    pub distribution: Vec<Point>,
}

/// Quantiles in milliseconds; none: no answer at all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them.
    pub p50_ms: Option<f64>,
    /// 90 of 100.
    pub p90_ms: Option<f64>,
    /// 99 of 100.
    pub p99_ms: Option<f64>,
    /// 999 of 1,000.
    pub p999_ms: Option<f64>,
    /// All.
    pub max_ms: Option<f64>,
}

/// A point of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Within this time
    pub ms: f64,
    /// this share, from 0 to 1.
    pub share: f64,
}

/// A stretch of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// When it began.
    pub at: f64,
    /// How long it is.
    pub seconds: f64,
    /// Polls due in it.
    pub due: u64,
    /// Polls answered in it.
    pub answered: u64,
    /// Requests sent in it.
    pub attempts: u64,
    /// Time-outs in it.
    pub timeouts: u64,
    /// 429, 5xx and broken connections in it.
    pub errors: u64,
    /// Most requests under way at once.
    pub in_flight: u64,
    /// Latency of the polls due in it.
    pub latency: Latency,
}

/// What a counter of the server showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rebuilds {
    /// In the whole run.
    pub total: u64,
    /// When it was seen to have grown, and by how much.
    pub seen: Vec<Growth>,
}

/// A counter has grown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// When.
    pub at: f64,
    /// By how much.
    pub count: u64,
}

/// What the server's processes used, their children included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Processor time in the run, user and system, in seconds.
    pub cpu_secs: f64,
    /// Most memory seen: the proportional set size, in bytes.
    pub pss_bytes: u64,
}

impl Run {
    /// Every request of every role.
    pub fn attempts(&self) -> u64 {
        let others = [&self.validators, &self.writers].into_iter().flatten();
        self.pollers.attempts + others.map(|role| role.attempts).sum::<u64>()
    }

    /// Processor time of the server for each request, in microseconds.
    pub fn cpu_us_per_request(&self) -> Option<f64> {
        let server = self.server.as_ref()?;
        Some(server.cpu_secs * 1e6 / self.attempts().max(1) as f64)
    }

    /// Whether every poll of every role was answered, at the first attempt.
    pub fn is_clean(&self) -> bool {
        let others = [&self.validators, &self.writers].into_iter().flatten();
        std::iter::once(&self.pollers)
            .chain(others)
            .all(Role::is_clean)
    }
}

impl Role {
    /// Answers whose status is of this class: 2 for 200 to 299.
    pub fn of_class(&self, class: u16) -> u64 {
        let of_class = self
            .statuses
            .iter()
            .filter(|(code, _)| *code / 100 == class);
        of_class.map(|(_, count)| count).sum()
    }

    /// Requests for each poll.
    pub fn amplification(&self) -> f64 {
        self.attempts as f64 / self.due.max(1) as f64
    }

    fn is_clean(&self) -> bool {
        self.failed + self.timeouts + self.broken + self.of_class(5) == 0
    }
}
