//! The results of a run, as `herd --json` prints them and `herd compare` reads them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    condition::strict,
    course::Phase,
    failures::{Failed, Failures, Reason},
};

pub use crate::quantile::Latency;

/// The version of this format.
pub const FORMAT: u32 = 3;

/// The results of one run. Times are in seconds from its beginning, latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the run.
    pub name: String,
    /// The polled URL; of several, the first one.
    pub url: String,
    /// The options, as a plan file has them; `herd --plan` reads them and repeats the run. Without secrets, and without
    /// what is of this run only: the process ids of the server, and where results are written.
    pub plan: Map<String, Value>,
    /// Start of the run, RFC 3339.
    pub began_at: String,
    /// Duration of the run.
    pub seconds: f64,
    /// What ended it.
    #[serde(default)]
    pub ended: Ended,
    /// Polls of `--requests` that were not due before the end.
    #[serde(default)]
    pub not_due: u64,
    /// Timeout for a complete response.
    pub timeout_ms: f64,
    /// The pollers.
    pub pollers: Role,
    /// The pollers by target, in the order of the plan, if there was more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<OfTarget>,
    /// The validators, if there were any; one poll is one page.
    pub validators: Option<Role>,
    /// The writers, if there were any; one poll is one post.
    pub writers: Option<Role>,
    /// Upper ends of the latency bands of the slices, in milliseconds, ascending ([`crate::bands`]).
    pub bands_ms: Vec<f64>,
    /// The pollers over time.
    pub slices: Vec<Slice>,
    /// Rebuilds that the server counted.
    pub rebuilds: Option<Rebuilds>,
    /// Processor time and memory of the server.
    pub server: Option<ServerUse>,
    /// The load generator itself.
    pub generator: Generator,
}

/// What ended a run: whatever came first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The end of its duration, or of its stages.
    #[default]
    Duration,
    /// The last one of `--requests`.
    Requests,
    /// Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
}

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

/// Results of the polls to one target. A poll that its client skipped counts for the target whose response the client waited
/// for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfTarget {
    /// Its URL, without secrets.
    pub url: String,
    /// Polls that were due.
    pub due: u64,
    /// Polls that got an answer.
    pub answered: u64,
    /// Polls that failed.
    pub failed: u64,
    /// Requests that failed, by reason; retries count.
    pub failures: BTreeMap<Reason, u64>,
    /// Time from when a poll was due to its response, to two digits.
    pub latency: Latency,
}

/// What each limit of a run held back. The latencies contain that time, which is the generator's and not the server's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Requests that waited for `--max-connections`.
    pub max_connections: u64,
    /// Requests that waited for `--max-rate`, some of them after they had waited for `--max-connections`.
    pub max_rate: u64,
    /// Polls that were not sent, as too many polls had no answer.
    pub max_polls: u64,
}

/// How long writes take to reach clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// Changes of the board, or rows, that a client has seen, summed over all clients.
    pub seen: u64,
    /// The times.
    pub latency: Latency,
}

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

/// A point of a cumulative distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The time, in milliseconds.
    pub ms: f64,
    /// The share of polls within that time, from 0 to 1.
    pub share: f64,
}

/// A time bucket of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Start of the bucket.
    pub at: f64,
    /// Length of the bucket.
    pub seconds: f64,
    /// Polls due in the bucket.
    pub due: u64,
    /// Polls answered in the bucket.
    pub answered: u64,
    /// Attempts that began in the bucket.
    pub attempts: u64,
    /// Requests that failed in the bucket, by reason.
    pub failures: BTreeMap<Reason, u64>,
    /// Requests in flight, at most: the sum of the maxima of the threads, each of which may have its maximum at another moment
    /// of the bucket. With one thread it is the maximum.
    pub in_flight: u64,
    /// Latency of the polls due in the bucket.
    pub latency: Latency,
    /// Polls due in the bucket that got a response, by the latency bands of the run ([`Run::bands_ms`]); zeros at the
    /// end are left out.
    pub histogram: Vec<u64>,
    /// Polls due in the bucket that never got a response.
    pub unanswered: u64,
}

/// Values of the server's counter of rebuilds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rebuilds {
    /// Rebuilds in the whole run.
    pub total: u64,
    /// Increases, in the order of time.
    pub seen: Vec<Growth>,
}

/// An increase of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// When it was noticed.
    pub at: f64,
    /// The increase.
    pub count: u64,
}

/// Processor time and memory of the server's processes, including their children.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Processor time in the run, user and system, in seconds.
    pub cpu_secs: f64,
    /// Maximum of the proportional set size, in bytes.
    pub pss_bytes: u64,
    /// The processes that have ended during the run: their processor time is that up to the last sample before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// A process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gone {
    /// Its id.
    pub pid: i32,
    /// When that was noticed.
    pub at: f64,
}

/// What the load generator used, and whether it was fast enough. Processor times are zero where the system does not say
/// them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Threads that sent requests.
    pub threads: u32,
    /// Whether the generator was the bottleneck.
    pub verdict: Verdict,
    /// Scheduling delay: how much later than they were due polls were started. Unless it is small compared with the
    /// latencies, they contain it.
    pub delay: Latency,
    /// The latency at p99 that the delay was compared with: that of the pollers, or the timeout if it is `never`.
    #[serde(default)]
    pub p99_ms: f64,
    /// Time from the beginning of the run to the last response, in seconds.
    #[serde(default)]
    pub secs: f64,
    /// Processor time of the whole process in this time, in seconds: without that of making the clients before it.
    pub cpu_secs: f64,
    /// Processor time of the thread that used most, in seconds.
    pub busiest_cpu_secs: f64,
    /// The threads.
    pub shards: Vec<ShardUse>,
}

/// A thread of the load generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardUse {
    /// Clients of this thread.
    pub clients: u32,
    /// Scheduling delay of its polls.
    pub delay: Latency,
    /// Processor time that it used, in seconds.
    pub cpu_secs: f64,
    /// Time that it was ready to run and waited for a processor, in seconds.
    pub queued_secs: f64,
}

/// Whether the load generator was the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No: polls started in time, as far as it matters for the latencies.
    OnTime,
    /// Polls started so late that more than a tenth of the latency is this delay, both at p99, and more than 2 ms.
    Late,
    /// A thread used more than nine tenths of a processor: the generator cannot send much more than this.
    Saturated,
    /// No poll was sent, or the run was shorter than 0.2 s.
    Unknown,
}

impl Run {
    /// Returns a number of this run per second: the mean over [`Run::seconds`], in which polls were due. All rates of a run are
    /// such means.
    pub fn per_second(&self, number: u64) -> f64 {
        number as f64 / self.seconds.max(1e-9)
    }

    /// Returns the number of attempts of all clients.
    pub fn attempts(&self) -> u64 {
        let others = [&self.validators, &self.writers].into_iter().flatten();
        self.pollers.attempts + others.map(|role| role.attempts).sum::<u64>()
    }

    /// Returns the time in which the load generator used its processor time, in seconds: to the last response.
    pub fn generator_secs(&self) -> f64 {
        self.generator.secs.max(self.seconds).max(1e-9)
    }

    /// Returns the server's processor time per request, in microseconds; `None` if it was not measured to the end.
    pub fn cpu_us_per_request(&self) -> Option<f64> {
        let server = self.server.as_ref();
        let server = server.filter(|server| server.gone.is_empty())?;
        Some(server.cpu_secs * 1e6 / self.attempts().max(1) as f64)
    }

    /// Returns whether every poll of every client got a response at the first attempt: no condition of `--strict` holds.
    pub fn is_clean(&self) -> bool {
        let conditions = strict(self);
        conditions
            .iter()
            .all(|condition| condition.failure(self).is_none())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duration => "duration",
            Self::Requests => "requests",
            Self::Interrupted => "interrupted",
        })
    }
}

impl HeldBack {
    /// Adds those of another shard.
    pub(super) fn merge(&mut self, other: Self) {
        self.max_connections += other.max_connections;
        self.max_rate += other.max_rate;
        self.max_polls += other.max_polls;
    }
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
