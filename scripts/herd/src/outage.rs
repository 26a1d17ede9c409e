//! When requests of pollers failed, and when no poll was answered meanwhile: also if each poll got an answer in the end, as
//! clients retried.

use crate::{
    failures::Reason,
    report::units::time_of_run,
    run::{Run, Slice},
    table::{count, milliseconds},
};

/// An outage has at least so many failed requests, and such a share of those of the run: of a server that fails half of its
/// requests, some in a row always fail.
const LEAST_FAILURES: u64 = 3;
const LEAST_SHARE: f64 = 0.2;
/// An outage lasts at least so long, in seconds, and longer than one slice of the run.
const SHORTEST: f64 = 0.15;

/// A part of a run, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// A time in which requests failed and no poll was answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outage {
    pub(crate) span: Span,
    /// Maximum of the latency of the polls that were due in it, in milliseconds; `None` if one got no response.
    pub(crate) longest_ms: Option<f64>,
}

impl Span {
    fn secs(self) -> f64 {
        self.to - self.from
    }

    /// Returns it in words: `from 2 s to 3.1 s`.
    pub(crate) fn words(self) -> String {
        let (from, to) = (time_of_run(self.from), time_of_run(self.to));
        format!("from {from} to {to}")
    }
}

impl Outage {
    /// Returns what became of polls and answers, in words.
    pub(crate) fn words(&self) -> String {
        let span = self.span.words();
        let later = match self.longest_ms {
            Some(ms) => format!("; the polls due then took up to {}", milliseconds(Some(ms))),
            None => String::new(),
        };
        format!("{span} no poll was answered{later}")
    }
}

/// Returns when the first request failed, and when the last one did, to the length of a slice.
pub(crate) fn failing(run: &Run) -> Option<Span> {
    let mut failing = run.slices.iter().filter(|slice| failed(slice) > 0);
    let first = failing.next()?;
    let last = failing.next_back().unwrap_or(first);
    Some(Span {
        from: first.at,
        to: end(last, run),
    })
}

/// Returns the longest outage of a run, if it had any.
pub(crate) fn longest(run: &Run) -> Option<Outage> {
    let all: u64 = run.slices.iter().map(failed).sum();
    let least = LEAST_FAILURES.max((LEAST_SHARE * all as f64) as u64);
    let silent = run.slices.split(|slice| slice.answered > 0);
    let outages = silent.filter_map(|slices| {
        // Before it, nothing was asked.
        let is_used = |slice: &Slice| slice.due + slice.attempts + failed(slice) > 0;
        let slices = slices.get(slices.iter().position(is_used)?..)?;
        let (first, last) = (slices.first()?, slices.last()?);
        let span = Span {
            from: first.at,
            to: end(last, run),
        };
        let failures: u64 = slices.iter().map(failed).sum();
        let is_long = span.secs() >= SHORTEST && slices.len() > 1;
        let unanswered = slices.iter().any(|slice| slice.unanswered > 0);
        let latencies = slices.iter().filter_map(|slice| slice.latency.max_ms);
        (is_long && failures >= least).then(|| Outage {
            span,
            longest_ms: latencies.reduce(f64::max).filter(|_| !unanswered),
        })
    });
    outages.max_by(|one, other| one.span.secs().total_cmp(&other.span.secs()))
}

/// Says when requests failed and why, and for how long no poll was answered; `None` if no request failed.
pub(crate) fn remark(run: &Run) -> Option<String> {
    let when = failing(run)?;
    let reasons = run.pollers.reasons().into_iter();
    let reasons = reasons.filter(|(reason, _)| *reason != Reason::NotSent);
    let reasons: Vec<String> = reasons
        .map(|(reason, failed)| format!("{} {reason}", count(failed.count)))
        .collect();
    let outage = longest(run).map(|outage| format!("; {}", outage.words()));
    Some(format!(
        "requests failed {}: {}{}",
        when.words(),
        reasons.join(", "),
        outage.unwrap_or_default()
    ))
}

/// Returns the requests that the server failed.
fn failed(slice: &Slice) -> u64 {
    let failures = slice.failures.iter();
    let failures = failures.filter(|(reason, _)| **reason != Reason::NotSent);
    failures.map(|(_, count)| count).sum()
}

fn end(slice: &Slice, run: &Run) -> f64 {
    (slice.at + slice.seconds).min(run.seconds)
}
