//! The load over time: polls that were due, requests that were sent, polls that were answered.
//!
//! Where the three lie on each other they stay apart by shape: a broad band, a dashed line, an area.

use super::{
    canvas::Canvas,
    columns::Column,
    plot::{Entry, LABELS, Plot, Step, caption},
    scale::{Axis, Scale},
    units::short,
};

const HEIGHT: f64 = 120.0;
/// A linear scale, unless its maximum is so many times the median of the polls that are due.
const SPREAD: f64 = 10.0;

const LEGEND: [Entry<'_>; 3] = [
    ("offered", "M0 0H16", "offered"),
    ("sent", "M0 0H16", "sent"),
    ("answered edge", "M0 5V-4H16V5z", "answered"),
];

/// Returns the scale that shows the load of all runs.
pub(super) fn scale<'a>(columns: impl Iterator<Item = &'a Column> + Clone) -> Scale {
    let most = columns.clone().flat_map(|column| {
        [column.due, column.sent, column.answered].map(|number| column.per_second(number))
    });
    let max = 1.08 * most.fold(0.1, f64::max);
    let mut due: Vec<f64> = columns
        .filter(|column| column.due > 0)
        .map(|column| column.per_second(column.due))
        .collect();
    due.sort_by(f64::total_cmp);
    match due.get(due.len() / 2) {
        Some(median) if max > SPREAD * median && max > 20.0 => Scale::LogFromZero { max },
        Some(_) | None => Scale::Linear { max },
    }
}

/// Draws the load; returns the bottom.
pub(super) fn draw(canvas: &mut Canvas, top: f64, x: &Axis, y: Scale, columns: &[Column]) -> f64 {
    let title = match y {
        Scale::LogFromZero { .. } => "Polls and requests per second (log scale)",
        Scale::Linear { .. } | Scale::Log { .. } => "Polls and requests per second",
    };
    let top = caption(canvas, top, title, &LEGEND) + 8.0;
    let plot = Plot {
        top,
        height: HEIGHT,
        x,
        y,
    };
    plot.grid(canvas, &y.ticks(short));
    plot.labels(canvas);
    let steps = |of: fn(&Column) -> u64| {
        columns.iter().map(move |column| Step {
            from: column.from,
            to: column.to,
            y: Some(plot.y(column.per_second(of(column)))),
        })
    };
    canvas.path("answered", plot.area(steps(|column| column.answered)));
    canvas.path("offered", plot.steps(steps(|column| column.due)));
    canvas.path("edge", plot.steps(steps(|column| column.answered)));
    canvas.path("sent", plot.steps(steps(|column| column.sent)));
    plot.bottom() + LABELS
}
