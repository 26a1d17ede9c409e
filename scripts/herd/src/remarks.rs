//! Warnings that belong to the figures of a run.

use std::fmt::Write as _;

use crate::{
    run::{Run, Verdict},
    table::{count, milliseconds},
};

/// Says that the load generator was the bottleneck, and why, if it was.
pub(crate) fn bottleneck(run: &Run) -> Option<String> {
    let generator = &run.generator;
    let percent = |seconds: f64| 100.0 * seconds / run.seconds.max(1e-9);
    let busiest = percent(generator.busiest_cpu_secs);
    let threads = generator.threads;
    match generator.verdict {
        Verdict::OnTime => None,
        Verdict::Saturated => Some(format!(
            "the load generator was the bottleneck: the busiest of its {threads} threads used {busiest:.0} % of a processor"
        )),
        Verdict::Late => {
            let queued = generator.shards.iter().map(|shard| shard.queued_secs);
            let queued = percent(queued.fold(0.0, f64::max));
            Some(format!(
                "the load generator was late, by {} at p99: the latencies contain part of that \
                 (its busiest thread used {busiest:.0} % of a processor; threads waited up to {queued:.0} % of the time for one)",
                milliseconds(generator.delay.p99_ms)
            ))
        }
    }
}

/// Returns warnings that belong to the figures.
pub(crate) fn remarks(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        if let Some(remark) = bottleneck(run) {
            let _ = writeln!(text, "{}: {remark}", run.name);
        }
        let others = [&run.validators, &run.writers].into_iter().flatten();
        for role in std::iter::once(&run.pollers).chain(others) {
            if role.held_back > 0 {
                let share = 100.0 * role.held_back as f64 / role.attempts.max(1) as f64;
                let _ = writeln!(
                    text,
                    "{}: {} requests ({share:.0} %) waited for --max-rate or --max-connections: the latencies contain that",
                    run.name,
                    count(role.held_back)
                );
            }
            for (reason, failed) in role.failures.iter() {
                let first = &failed.first;
                let _ = writeln!(text, "{}: the first failure, {reason}: {first}", run.name);
            }
            let waits = role.waits.as_ref();
            if let Some(reason) = waits.and_then(|waits| waits.first_without_next.as_ref()) {
                let _ = writeln!(text, "{}: clients could not go on: {reason}", run.name);
            }
        }
    }
    text
}
