//! The picture of a run: its load, latency and failures over the same axis of time; and that of all runs: how long polls
//! took.

use super::{
    canvas::{Canvas, isolated, shortened, unit},
    columns::{Column, columns},
    heat, load,
    plot::{LABELS, Plot, caption},
    scale::{Axis, Scale},
    strips::{self, Strip},
    units::{latency, percent, rate, time_of_run},
};
use crate::{run::Run, table::milliseconds};

const GAP: f64 = 14.0;
/// The most characters of a name that fit a picture of the least width.
pub(super) const NAME: usize = 34;
const SHARES_HEIGHT: f64 = 170.0;

/// A drawing and its height in pixels.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) canvas: Canvas,
    pub(super) height: f64,
}

/// The scales of all runs of a report, so that their pictures can be compared.
#[derive(Debug)]
pub(super) struct Scales {
    /// The columns of each run.
    pub(super) columns: Vec<Vec<Column>>,
    /// From 0 to the end of the longest run.
    times: Axis,
    rates: Scale,
    key: heat::Key,
    strips: Vec<Strip>,
}

impl Scales {
    pub(super) fn of(runs: &[Run]) -> Self {
        let columns: Vec<_> = runs.iter().map(columns).collect();
        let all = columns.iter().flatten();
        let timeout = runs.iter().map(|run| run.timeout_ms).fold(1.0, f64::max);
        let bands = runs.first().map_or(&[][..], |run| &run.bands_ms);
        let ends = columns.iter().flatten().map(|column| column.to);
        let end = ends
            .chain(runs.iter().map(|run| run.seconds))
            .fold(1e-3, f64::max);
        Self {
            times: Axis::of_time(end),
            rates: load::scale(all.clone()),
            key: heat::Key::of(all, bands, timeout),
            strips: strips::strips(runs, &columns),
            columns,
        }
    }
}

/// Draws one run.
pub(super) fn run(run: &Run, columns: &[Column], scales: &Scales) -> Picture {
    let mut canvas = Canvas::default();
    let x = &scales.times;
    let bottom = load::draw(&mut canvas, 0.0, x, scales.rates, columns);
    let bottom = heat::draw(&mut canvas, bottom + GAP, x, &scales.key, columns, run);
    let bottom = strips::draw(&mut canvas, bottom + GAP, x, &scales.strips, run, columns);
    let height = bottom + 4.0;
    for column in columns {
        let (from, to) = (x.place(column.from), x.place(column.to));
        canvas.hint(
            format_args!("M{} 0H{}V{height:.0}H{}z", unit(from), unit(to), unit(from)),
            &hint(run, column),
        );
    }
    Picture { canvas, height }
}

/// Returns the figures of a column.
fn hint(run: &Run, column: &Column) -> String {
    let per_second = |number| rate(column.per_second(number));
    let quantile = |share| milliseconds(column.quantile_ms(&run.bands_ms, share));
    let failed: Vec<String> = column
        .failures
        .iter()
        .map(|(reason, count)| format!("\n{reason}: {}/s", per_second(*count)))
        .collect();
    format!(
        "{} to {}\noffered {}/s, sent {}/s, answered {}/s\np50 {}, p99 {}\nnever answered: {}{}",
        time_of_run(column.from),
        time_of_run(column.to),
        per_second(column.due),
        per_second(column.sent),
        per_second(column.answered),
        quantile(0.5),
        quantile(0.99),
        percent(column.never, column.never + column.responses()),
        failed.concat(),
    )
}

/// Draws how many of all polls got a response within a time, for each run.
pub(super) fn shares(runs: &[Run], scales: &Scales) -> Picture {
    let mut canvas = Canvas::default();
    let looks: Vec<String> = (0..runs.len()).map(look).collect();
    let several = runs.len() > 1;
    let names: Vec<String> = runs
        .iter()
        .map(|run| isolated(&shortened(&run.name, NAME)))
        .collect();
    let legend: Vec<_> = looks
        .iter()
        .zip(&names)
        .filter(|_| several)
        .map(|(look, name)| (look.as_str(), "M0 0H16", name.as_str()))
        .collect();
    let title = "Share of polls with a response within …";
    let top = caption(&mut canvas, 0.0, title, &legend) + 10.0;
    let plot = Plot {
        top,
        height: SHARES_HEIGHT,
        x: &Axis::new(scales.key.scale, latency),
        y: Scale::Linear { max: 100.0 },
    };
    plot.grid(&mut canvas, &plot.y.ticks(|share| format!("{share} %")));
    plot.labels(&mut canvas);
    for (run, look) in runs.iter().zip(&looks) {
        let mut d = String::new();
        let points = run.pollers.distribution.iter();
        let points = points.map(|point| (plot.x.place(point.ms), plot.y(100.0 * point.share)));
        let ahead = points.clone().next().map(|_| (0.0, plot.y(0.0)));
        let last = points.clone().next_back().map(|(_, y)| (1.0, y));
        for (x, y) in ahead.into_iter().chain(points).chain(last) {
            let command = if d.is_empty() { 'M' } else { 'L' };
            d += &format!("{command}{} {y:.1}", unit(x));
        }
        if d.is_empty() {
            d = format!("M0 {:.1}H{}", plot.bottom(), unit(1.0));
        }
        canvas.path(look, d);
    }
    Picture {
        canvas,
        height: plot.bottom() + LABELS,
    }
}

/// Returns the classes of the line of the run with this number; twelve runs look different.
fn look(number: usize) -> String {
    // Neighbours differ in both, so that lines on each other are seen.
    format!("run{} dash{}", number % 4, number % 3)
}
