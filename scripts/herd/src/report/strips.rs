//! Counts over time below each other, each with its name and its total: failures by reason, requests in flight, rebuilds.

use std::collections::BTreeMap;

use super::{
    canvas::{At, Canvas, LEFT},
    columns::Column,
    plot::{LABELS, LINE, Plot, Step, caption},
    scale::{Axis, Scale},
    units::{rate, short},
};
use crate::{failures::Reason, run::Run, table::count};

const HEIGHT: f64 = 24.0;
const GAP: f64 = 8.0;
/// The most reasons that have a strip of their own.
const MOST_REASONS: usize = 5;
/// The least height of a bar.
const SHORTEST: f64 = 1.5;

/// What a strip counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests that failed for one reason.
    Failed(Reason),
    /// Requests that failed for any reason but these.
    FailedOtherwise(Vec<Reason>),
    /// Requests in flight.
    InFlight,
    /// Rebuilds of the server.
    Rebuilds,
}

/// A strip of all runs of a report.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    pub(super) kind: Kind,
    /// The maximum of all runs.
    max: f64,
}

impl Kind {
    fn of(&self, column: &Column) -> f64 {
        match self {
            Self::Failed(reason) => {
                column.per_second(column.failures.get(reason).copied().unwrap_or(0))
            }
            Self::FailedOtherwise(reasons) => {
                let others = column.failures.iter();
                let others = others.filter(|(reason, _)| !reasons.contains(reason));
                column.per_second(others.map(|(_, count)| count).sum())
            }
            Self::InFlight => column.in_flight as f64,
            Self::Rebuilds => column.per_second(column.rebuilds),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Failed(reason) => reason_name(*reason),
            Self::FailedOtherwise(_) => "other failures".to_owned(),
            Self::InFlight => "requests in flight".to_owned(),
            Self::Rebuilds => "rebuilds by the server".to_owned(),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Failed(_) | Self::FailedOtherwise(_) => "failed",
            Self::InFlight => "flight",
            Self::Rebuilds => "rebuilt",
        }
    }
}

/// Returns the name of a reason: a status gets its phrase.
pub(super) fn reason_name(reason: Reason) -> String {
    let status = if let Reason::Status(status) = reason {
        http::StatusCode::from_u16(status).ok()
    } else {
        None
    };
    let phrase = status.and_then(|status| status.canonical_reason());
    match phrase {
        Some(phrase) => format!("{reason} {phrase}"),
        None => reason.to_string(),
    }
}

/// Returns the strips that these runs have in common, so that they lie beside each other.
pub(super) fn strips(runs: &[Run], columns: &[Vec<Column>]) -> Vec<Strip> {
    let mut totals: BTreeMap<Reason, u64> = BTreeMap::new();
    for (reason, failed) in runs.iter().flat_map(|run| run.pollers.failures.iter()) {
        *totals.entry(reason).or_default() += failed.count;
    }
    let mut totals: Vec<(Reason, u64)> = totals.into_iter().collect();
    totals.sort_by_key(|(_, total)| std::cmp::Reverse(*total));
    let mut kinds: Vec<Kind> = Vec::new();
    let shown = if totals.len() > MOST_REASONS {
        MOST_REASONS - 1
    } else {
        totals.len()
    };
    let reasons: Vec<Reason> = totals.into_iter().map(|(reason, _)| reason).collect();
    let named = reasons.get(..shown).unwrap_or(&reasons);
    kinds.extend(named.iter().copied().map(Kind::Failed));
    if reasons.len() > shown {
        kinds.push(Kind::FailedOtherwise(named.to_vec()));
    }
    kinds.push(Kind::InFlight);
    if runs.iter().any(|run| run.rebuilds.is_some()) {
        kinds.push(Kind::Rebuilds);
    }
    let max = |kind: &Kind| {
        let values = columns.iter().flatten().map(|column| kind.of(column));
        values.fold(0.0, f64::max)
    };
    kinds
        .into_iter()
        .map(|kind| Strip {
            max: max(&kind),
            kind,
        })
        .collect()
}

/// Draws the strips of a run; returns the bottom.
pub(super) fn draw(
    canvas: &mut Canvas,
    top: f64,
    x: &Axis,
    strips: &[Strip],
    run: &Run,
    columns: &[Column],
) -> f64 {
    let mut top = caption(canvas, top, "Failed requests, by reason", &[]) + 4.0;
    let fails = |strip: &Strip| !matches!(strip.kind, Kind::InFlight | Kind::Rebuilds);
    if !strips.iter().any(fails) {
        let at = At {
            share: 0.0,
            dx: -LEFT + 2.0,
            y: top + 12.0,
        };
        canvas.text("", at, "No request failed.");
        top += LINE + GAP;
    }
    let mut server = false;
    let mut last = None;
    for strip in strips {
        if !fails(strip) && !server {
            server = true;
            top = caption(canvas, top + 4.0, "Load on the server", &[]) + 4.0;
        }
        let plot = Plot {
            top: top + LINE,
            height: HEIGHT,
            x,
            y: Scale::Linear {
                max: strip.max.max(1e-9),
            },
        };
        one(canvas, &plot, strip, run, columns);
        top = plot.bottom() + GAP;
        last = Some(plot);
    }
    match last {
        None => top,
        Some(plot) => {
            plot.labels(canvas);
            plot.bottom() + LABELS
        }
    }
}

fn one(canvas: &mut Canvas, plot: &Plot<'_>, strip: &Strip, run: &Run, columns: &[Column]) {
    let kind = &strip.kind;
    let y = plot.top - 5.0;
    let left = At {
        share: 0.0,
        dx: -LEFT + 2.0,
        y,
    };
    let right = At {
        share: 1.0,
        dx: 0.0,
        y,
    };
    let most = columns
        .iter()
        .map(|column| kind.of(column))
        .fold(0.0, f64::max);
    let figures = match kind {
        Kind::InFlight => format!("at most {}", short(most)),
        Kind::Failed(_) | Kind::FailedOtherwise(_) | Kind::Rebuilds => {
            let total = total(kind, run);
            match (total, columns.is_empty()) {
                (0, _) | (_, true) => count(total),
                (total, false) => format!("{}, up to {}/s", short(total as f64), rate(most)),
            }
        }
    };
    canvas.text("", left, &kind.name());
    canvas.text("end", right, &figures);
    plot.grid(canvas, &[]);
    let bars = columns.iter().map(|column| {
        let value = kind.of(column);
        let y = plot.y(value).min(plot.bottom() - SHORTEST);
        Step {
            from: column.from,
            to: column.to,
            y: (value > 0.0).then_some(y),
        }
    });
    canvas.path(kind.class(), plot.area(bars));
}

fn total(kind: &Kind, run: &Run) -> u64 {
    let failures = &run.pollers.failures;
    match kind {
        Kind::Failed(reason) => failures.of(*reason),
        Kind::FailedOtherwise(named) => failures.count(|reason| !named.contains(&reason)),
        Kind::InFlight => 0,
        Kind::Rebuilds => run.rebuilds.as_ref().map_or(0, |rebuilds| rebuilds.total),
    }
}
