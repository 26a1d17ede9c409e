//! The figures of each target of a run as rows of a table.

use crate::{
    aligned::aligned,
    run::{OfTarget, Run},
    table::{count, milliseconds},
};

/// The most targets of a run that have a row in tables; all have one in the JSON.
const TARGETS: usize = 20;

/// Returns the table of the targets of a run; `None` if it had one.
pub(crate) fn of_targets(run: &Run) -> Option<String> {
    let mut rows = targets(run);
    // The heading of the column.
    let of_run = format!("targets of {}", run.name);
    rows.first_mut()?.first_mut()?.clone_from(&of_run);
    Some(format!("\n{}", aligned(&rows)))
}

/// Returns the rows of the table of the targets: the heads, then the figures of each target; empty if there was one target.
/// Of many targets those with the highest share of failed polls have a row, and of those the slowest ones.
pub(crate) fn targets(run: &Run) -> Vec<Vec<String>> {
    if run.targets.is_empty() {
        return Vec::new();
    }
    let mut targets: Vec<&OfTarget> = run.targets.iter().collect();
    let left = targets.len().saturating_sub(TARGETS);
    if left > 0 {
        let badness = |target: &OfTarget| {
            let failed = target.failed as f64 / target.due.max(1) as f64;
            (failed, target.latency.p99_ms.unwrap_or(0.0))
        };
        targets.sort_by(|one, other| {
            let (one, other) = (badness(one), badness(other));
            other.0.total_cmp(&one.0).then(other.1.total_cmp(&one.1))
        });
        targets.truncate(TARGETS);
    }
    let heads = ["target", "answered", "p50", "p99", "failed requests"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(targets.into_iter().map(|target| {
        let reasons = target.failures.iter();
        let reasons = reasons.map(|(reason, number)| format!("{} {reason}", count(*number)));
        let reasons: Vec<String> = reasons.collect();
        vec![
            target.url.clone(),
            format!("{} of {}", count(target.answered), count(target.due)),
            milliseconds(target.latency.p50_ms),
            milliseconds(target.latency.p99_ms),
            match reasons.is_empty() {
                true => "0".to_owned(),
                false => reasons.join(", "),
            },
        ]
    }));
    if left > 0 {
        let rest = format!("{} more in the JSON", count(left as u64));
        rows.push(vec![rest]);
    }
    rows
}
