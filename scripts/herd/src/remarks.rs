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
        1 => ", and 1 poll was never sent".to_owned(),
        polls => format!(", and {} polls were never sent", count(polls)),
    };
    Some(format!(
        "{} requests ({share:.0} %) waited for --max-rate or --max-connections{never}: the latencies contain that",
        count(held_back)
    ))
}

fn slow(run: &Run) -> Option<String> {
    let generator = &run.generator;
    let percent = |seconds: f64| 100.0 * seconds / run.generator_secs();
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

/// Returns warnings that belong to the figures, and the first failure of each kind, each on a line that begins with the name
/// of its run.
pub(crate) fn remarks(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let of_pollers = bottleneck(run).into_iter();
        let of_pollers = of_pollers.chain(first_failures(&run.pollers));
        for remark in of_pollers.chain(further(run)) {
            let _ = writeln!(text, "{}: {remark}", run.name);
        }
    }
    text
}

/// Returns the remarks about clients that wait, validators and writers.
pub(crate) fn further(run: &Run) -> Vec<String> {
    let others = [
        ("validators", run.validators.as_ref()),
        ("writers", run.writers.as_ref()),
    ];
    let others = others.into_iter();
    let others = others.filter_map(|(who, role)| Some((who, role?)));
    let of_others = others.clone().flat_map(|(who, role)| {
        let remarks = limited(role).into_iter().chain(first_failures(role));
        remarks.map(move |remark| format!("{who}: {remark}"))
    });
    let waiting = [("clients", &run.pollers)].into_iter().chain(others);
    let stuck = waiting.filter_map(|(who, role)| {
        let reason = role.waits.as_ref()?.first_without_next.as_ref()?;
        Some(format!("{who} could not go on: {reason}"))
    });
    let mut remarks: Vec<String> = stuck.collect();
    remarks.extend(of_others);
    remarks
}

fn first_failures(role: &Role) -> impl Iterator<Item = String> {
    let failures = role.failures.iter();
    failures.map(|(reason, failed)| format!("the first failure, {reason}: {}", failed.first))
}
