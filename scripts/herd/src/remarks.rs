//! Warnings that belong to the figures of a run.

use std::fmt::Write as _;

use crate::{
    failures::Reason,
    outage,
    run::{Ended, Role, Run, Verdict},
    table::{LIMITS, count, milliseconds},
};

/// Says that the figures are not those of a whole run, or those of the load generator rather than of the server, and why, if
/// they are.
pub(crate) fn bottleneck(run: &Run) -> Option<String> {
    let pollers = &run.pollers;
    let reasons = [early(run), slow(run), exhausted(pollers), limited(pollers)];
    let mut reasons: Vec<String> = reasons.into_iter().flatten().collect();
    reasons.extend(gone(run));
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Says what ended the run, if that was not all that was planned.
fn early(run: &Run) -> Option<String> {
    let seconds = run.seconds;
    let ended = match run.ended {
        Ended::Interrupted => format!("the run was interrupted after {seconds:.1} s"),
        Ended::Duration | Ended::Requests if run.not_due == 0 => return None,
        Ended::Duration | Ended::Requests => {
            format!("the run ended with its duration, {seconds:.1} s")
        }
    };
    Some(match run.not_due {
        0 => ended,
        polls => format!(
            "{ended}: {} polls of --requests were not sent",
            count(polls)
        ),
    })
}

/// Says what the machine of the load generator had too little of, if that kept requests of these clients from being sent.
fn exhausted(role: &Role) -> Option<String> {
    let mut reasons = role.failures.iter();
    let (_, failed) = reasons.find(|(reason, _)| *reason == Reason::OutOfResources)?;
    Some(format!(
        "the load generator ran out of resources, and could not send {} requests: {}",
        count(failed.count),
        failed.first
    ))
}

/// Says which processes of the server have ended.
fn gone(run: &Run) -> impl Iterator<Item = String> {
    let gone = run.server.iter().flat_map(|server| &server.gone);
    gone.map(|gone| {
        format!(
            "process {} of --server-pid was gone after {:.1} s: its processor time and memory are those up to then",
            gone.pid, gone.at
        )
    })
}

/// Says what the limits of the run did to these clients, if they did anything.
fn limited(role: &Role) -> Option<String> {
    let held_back = LIMITS.iter().filter_map(|(limit, held_back)| {
        let number = held_back(&role.held_back_by);
        (number > 0).then(|| match number {
            1 => format!("once by {limit}"),
            _ => format!("{} times by {limit}", count(number)),
        })
    });
    let held_back: Vec<String> = held_back.collect();
    if held_back.is_empty() {
        return None;
    }
    let never = match role.failures.of(Reason::NotSent) {
        0 => String::new(),
        1 => "; 1 poll was never sent".to_owned(),
        polls => format!("; {} polls were never sent", count(polls)),
    };
    Some(format!(
        "requests were held back, which the latencies contain: {}{never}",
        held_back.join(", ")
    ))
}

/// Says with which figure the load generator was the bottleneck, if it was.
fn slow(run: &Run) -> Option<String> {
    let generator = &run.generator;
    match generator.verdict {
        Verdict::OnTime | Verdict::Unknown => None,
        Verdict::Saturated => Some(format!(
            "the load generator was the bottleneck: the busiest of its {} threads used {:.0} % of a processor",
            generator.threads,
            100.0 * generator.busiest_cpu_secs / run.generator_secs(),
        )),
        Verdict::Late => Some(format!(
            "the load generator was late: at p99 polls started {} after they were due, which the latencies contain (p99: {})",
            milliseconds(generator.delay.p99_ms),
            milliseconds(run.pollers.latency.p99_ms),
        )),
    }
}

/// Returns warnings that belong to the figures, when requests failed, and the first failure of each kind, each on a line that
/// begins with the name of its run.
pub(crate) fn remarks(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let of_pollers = bottleneck(run).into_iter().chain(outage::remark(run));
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
        let remarks = exhausted(role).into_iter().chain(limited(role));
        let remarks = remarks.chain(first_failures(role));
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
