//! Warnings that belong to the figures of a run.

use std::fmt::Write as _;

use crate::{
    failures::Reason,
    run::{Role, Run, Verdict},
    table::{count, milliseconds},
};

/// Says that the figures are not those of a whole run, or those of the load generator rather than of the server, and why, if
/// they are.
pub(crate) fn bottleneck(run: &Run) -> Option<String> {
    let interrupted = || {
        let seconds = run.seconds;
        format!("the run was interrupted after {seconds:.1} s")
    };
    let interrupted = run.interrupted.then(interrupted);
    let reasons = [interrupted, slow(run), limited(&run.pollers)];
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Says what the limits of the run did to these clients, if they did anything.
fn limited(role: &Role) -> Option<String> {
    let (held_back, not_sent) = (role.held_back, role.failures.of(Reason::NotSent));
    if held_back + not_sent == 0 {
        return None;
    }
    let share = 100.0 * held_back as f64 / role.attempts.max(1) as f64;
    let never = match not_sent {
        0 => String::new(),
        polls => format!(", and {} polls were never sent", count(polls)),
    };
    Some(format!(
        "{} requests ({share:.0} %) waited for --max-rate or --max-connections{never}: the latencies contain that",
        count(held_back)
    ))
}

fn slow(run: &Run) -> Option<String> {
    let generator = &run.generator;
    let secs = generator.secs.max(run.seconds).max(1e-9);
    let percent = |seconds: f64| 100.0 * seconds / secs;
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
        for limit in others.clone().filter_map(|role: &Role| limited(role)) {
            let _ = writeln!(text, "{}: {limit}", run.name);
        }
        for role in std::iter::once(&run.pollers).chain(others) {
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
