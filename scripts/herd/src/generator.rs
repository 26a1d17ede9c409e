//! The load generator's own figures: what its threads used, how late they were, and whether that spoils the results.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{quantile::Latency, tally::Tally};

/// A shorter run says nothing about the generator, in seconds.
const LEAST_SECS: f64 = 0.2;
/// Share of the time of a processor from which on a thread counts as saturated.
const SATURATED: f64 = 0.9;
/// Polls are late that start later than this, and than [`LATE_SHARE`] of the latency, both at p99.
const LATE_MS: f64 = 2.0;
const LATE_SHARE: f64 = 0.1;

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

/// Processor time that was used, and time in which a processor was wanted and not given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Use {
    /// Processor time.
    pub cpu: Duration,
    /// Time in the queue for a processor, as far as the system says it.
    pub queued: Duration,
}

impl Use {
    /// Returns those of this thread since its start.
    #[cfg(target_os = "linux")]
    pub(super) fn of_thread() -> Self {
        // Three numbers: time on a processor, time in its queue (both in nanoseconds), and turns.
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let queued = text.split(' ').nth(1).and_then(|text| text.parse().ok());
        Self {
            cpu: time_of(rustix::time::ClockId::ThreadCPUTime),
            queued: Duration::from_nanos(queued.unwrap_or(0)),
        }
    }

    /// Returns zeros: only Linux has the figures.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_thread() -> Self {
        Self::default()
    }

    /// Returns the use since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            queued: self.queued.saturating_sub(before.queued),
        }
    }
}

/// Returns the processor time of all threads of this process, including those that have ended.
#[cfg(target_os = "linux")]
pub(super) fn cpu_of_process() -> Duration {
    time_of(rustix::time::ClockId::ProcessCPUTime)
}

/// Returns zero: only Linux has the figure.
#[cfg(not(target_os = "linux"))]
pub(super) fn cpu_of_process() -> Duration {
    Duration::ZERO
}

#[cfg(target_os = "linux")]
fn time_of(clock: rustix::time::ClockId) -> Duration {
    rustix::time::clock_gettime(clock)
        .try_into()
        .unwrap_or_default()
}

/// Returns the figures of a run whose last response came after `seconds`, in which the process used `cpu`. Polls without a
/// response took longer than `timeout_ms`.
pub(super) fn figures(
    shards: Vec<ShardUse>,
    pollers: &Tally,
    cpu: Duration,
    seconds: f64,
    timeout_ms: f64,
) -> Generator {
    let busiest = shards.iter().map(|shard| shard.cpu_secs);
    let busiest = busiest.fold(0.0, f64::max);
    let delay = pollers.scheduling_delay().latency();
    let p99_ms = pollers.latency().quantile_ms(0.99);
    let p99_ms = p99_ms.filter(|ms| ms.is_finite()).unwrap_or(timeout_ms);
    let verdict = match delay.p99_ms {
        Some(late_ms) if seconds >= LEAST_SECS => verdict(busiest / seconds, late_ms, p99_ms),
        Some(_) | None => Verdict::Unknown,
    };
    Generator {
        threads: u32::try_from(shards.len()).unwrap_or(u32::MAX),
        verdict,
        p99_ms,
        delay,
        secs: seconds,
        cpu_secs: cpu.as_secs_f64(),
        busiest_cpu_secs: busiest,
        shards,
    }
}

/// `busiest` is the share of the time in which the busiest thread had a processor, `p99_ms` a quantile of the latency.
fn verdict(busiest: f64, late_ms: f64, p99_ms: f64) -> Verdict {
    if busiest > SATURATED {
        Verdict::Saturated
    } else if late_ms > LATE_MS.max(LATE_SHARE * p99_ms) {
        Verdict::Late
    } else {
        Verdict::OnTime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_bottleneck_if_a_thread_has_no_time_left_or_its_delay_shows() {
        assert_eq!(verdict(0.5, 0.2, 1.0), Verdict::OnTime);
        assert_eq!(verdict(0.95, 0.2, 1.0), Verdict::Saturated);
        assert_eq!(verdict(0.5, 3.0, 10.0), Verdict::Late);
        // Too short to be worth a word, and nothing of a second.
        assert_eq!(verdict(0.5, 1.9, 3.0), Verdict::OnTime);
        assert_eq!(verdict(0.5, 3.0, 1000.0), Verdict::OnTime);
    }
}
