//! A run in columns of time: the slices of the run, merged until each column has enough polls to say something.

use std::collections::BTreeMap;

use crate::{
    failures::Reason,
    run::{Run, Slice},
};

/// The most columns of a chart.
const MOST: f64 = 120.0;
/// A column is a second long, unless there would be fewer columns than this.
const FEW: f64 = 40.0;
/// Polls of an average column, unless there would be fewer columns than [`FEWEST`].
const POLLS: f64 = 10.0;
const FEWEST: f64 = 30.0;

/// The least length of the last column, as a share of the one before it.
const SHORTEST: f64 = 0.5;

/// What happened from `from` to `to`, in seconds of the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Column {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) due: u64,
    pub(super) answered: u64,
    /// Requests of which something was written.
    pub(super) sent: u64,
    pub(super) in_flight: u64,
    /// Requests that failed, by reason.
    pub(super) failures: BTreeMap<Reason, u64>,
    /// Rebuilds of the server.
    pub(super) rebuilds: u64,
    /// Polls due in this time that got a response, by latency band.
    pub(super) bands: Vec<u64>,
    /// Polls due in this time that never got one.
    pub(super) never: u64,
}

/// Returns the columns of a run, without gaps. The last one ends with the run; if that leaves it short, it is merged with the
/// one before it, as few polls in a short time make no rate.
pub(super) fn columns(run: &Run) -> Vec<Column> {
    let length = run.slices.first().map_or(1.0, |slice| slice.seconds);
    let shortest = (run.seconds / MOST)
        .max((run.seconds / FEW).min(1.0))
        .max((POLLS * run.seconds / run.pollers.due.max(1) as f64).min(run.seconds / FEWEST));
    let together = (shortest / length - 1e-6).ceil().max(1.0) as usize;
    let slices: Vec<&Slice> = run
        .slices
        .iter()
        .filter(|slice| slice.at < run.seconds)
        .collect();
    let mut columns: Vec<Column> = slices.chunks(together).map(column).collect();
    if let Some(last) = columns.last_mut() {
        last.to = last.to.min(run.seconds);
    }
    if let Some([before, last]) = columns.last_chunk()
        && last.to - last.from < SHORTEST * (before.to - before.from)
    {
        let merged = Column::sum(&[before.clone(), last.clone()]);
        columns.truncate(columns.len() - 2);
        columns.push(merged);
    }
    for growth in run.rebuilds.iter().flat_map(|rebuilds| &rebuilds.seen) {
        let at = columns.iter().position(|column| growth.at < column.to);
        let last = columns.len().saturating_sub(1);
        if let Some(column) = columns.get_mut(at.unwrap_or(last)) {
            column.rebuilds += growth.count;
        }
    }
    columns
}

fn column(slices: &[&Slice]) -> Column {
    let parts: Vec<Column> = slices
        .iter()
        .map(|slice| Column {
            from: slice.at,
            to: slice.at + slice.seconds,
            due: slice.due,
            answered: slice.answered,
            sent: slice.sent(),
            in_flight: slice.in_flight,
            failures: slice.failures.clone(),
            rebuilds: 0,
            bands: slice.histogram.clone(),
            never: slice.unanswered,
        })
        .collect();
    Column::sum(&parts)
}

impl Column {
    /// Returns the columns with `together` neighbours in one.
    pub(super) fn merged(columns: &[Self], together: usize) -> Vec<Self> {
        columns.chunks(together).map(Self::sum).collect()
    }

    fn sum(parts: &[Self]) -> Self {
        let mut sum = Self {
            from: parts.first().map_or(0.0, |part| part.from),
            ..Self::default()
        };
        for part in parts {
            sum.to = part.to;
            sum.due += part.due;
            sum.answered += part.answered;
            sum.sent += part.sent;
            sum.in_flight = sum.in_flight.max(part.in_flight);
            sum.rebuilds += part.rebuilds;
            sum.never += part.never;
            for (reason, count) in &part.failures {
                *sum.failures.entry(*reason).or_default() += count;
            }
            sum.bands.resize(sum.bands.len().max(part.bands.len()), 0);
            for (sum, count) in sum.bands.iter_mut().zip(&part.bands) {
                *sum += count;
            }
        }
        sum
    }

    /// Returns a number of this column per second.
    pub(super) fn per_second(&self, number: u64) -> f64 {
        number as f64 / (self.to - self.from).max(1e-9)
    }

    /// Returns how many polls of this column got a response, sooner or later.
    pub(super) fn responses(&self) -> u64 {
        self.bands.iter().sum()
    }

    /// Returns how many polls got a response within `ms`, to the next end of a band.
    pub(super) fn within(&self, ends_ms: &[f64], ms: f64) -> u64 {
        let last = ends_ms.partition_point(|end| *end < ms * 0.999);
        self.bands.iter().take(last + 1).sum()
    }

    /// Returns a quantile of the latency: `None` if no poll was due, infinite if it is `never`. Within a band, latencies
    /// count as spread evenly on a logarithmic scale.
    pub(super) fn quantile_ms(&self, ends_ms: &[f64], share: f64) -> Option<f64> {
        let all = self.responses() + self.never;
        let rank = (share * all as f64).ceil().max(1.0);
        let mut before = 0.0;
        for (band, count) in self.bands.iter().enumerate() {
            let count = *count as f64;
            if count > 0.0 && before + count >= rank {
                let end = *ends_ms.get(band)?;
                let start = match band.checked_sub(1) {
                    Some(previous) => *ends_ms.get(previous)?,
                    None => end / 2.0,
                };
                let within = (rank - before - 0.5) / count;
                return Some(start * (end / start).powf(within));
            }
            before += count;
        }
        (all > 0).then_some(f64::INFINITY)
    }
}
