//! The results of a run, as `herd --json` prints them and `herd compare` reads them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::condition::strict;

pub use crate::{
    buckets::Slice,
    by_target::OfTarget,
    generator::{Generator, ShardUse, Verdict},
    latencies::Point,
    limits::HeldBack,
    quantile::Latency,
    role::{News, Role},
    server_side::{Gone, Growth, Rebuilds, ServerUse},
    waits::Waits,
};

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
