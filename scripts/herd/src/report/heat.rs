//! Latency over time as a heat map: each cell is a column of time and a band of latency, its colour the number of polls.
//! Polls without a response have a row of their own above all others.

use std::{array, fmt::Write as _};

use super::{
    canvas::{At, Canvas, LEFT, WIDTH, unit},
    columns::Column,
    plot::{CHARACTER, LABELS, LINE, Plot, Step, caption},
    scale::{Axis, Scale},
    units::latency,
};
use crate::run::Run;

const HEIGHT: f64 = 168.0;
/// Height of the row of polls without a response, and the gap below it.
const NEVER: f64 = 20.0;
const GAP: f64 = 5.0;
/// Number of colours.
const LEVELS: usize = 5;
/// The least part of the scale that is shown, in bands.
const FEWEST_BANDS: usize = 20;

/// What the colours and the vertical scale mean; the same for all runs of a report.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// The least number of polls of each colour.
    levels: [u64; LEVELS],
    /// The first and the last band that are shown.
    bands: (usize, usize),
    /// From the start of the first of these bands to the end of the last one.
    pub(super) scale: Scale,
}

impl Key {
    /// Returns the key for these columns; `timeout_ms` is within the scale.
    pub(super) fn of<'a>(
        columns: impl Iterator<Item = &'a Column> + Clone,
        ends_ms: &[f64],
        timeout_ms: f64,
    ) -> Self {
        let counts = columns.clone().flat_map(|column| &column.bands);
        let most = counts.chain(columns.clone().map(|column| &column.never));
        let most = most.copied().max().unwrap_or(1);
        let steps = [2.0, 10_f64.sqrt(), 10.0, 100.0, 1000.0];
        let levels = steps.map(|step: f64| {
            array::from_fn::<u64, LEVELS, _>(|level| step.powi(level as i32).round() as u64)
        });
        let fits = |levels: &&[u64; LEVELS]| levels.last().is_some_and(|last| 10 * last >= most);
        let levels = *levels.iter().find(fits).unwrap_or(&levels[LEVELS - 1]);
        let used = columns.flat_map(|column| {
            let first = column.bands.iter().position(|count| *count > 0);
            [first, first.map(|_| column.bands.len() - 1)]
        });
        let timeout = crate::bands::band(ends_ms, timeout_ms);
        let (mut first, mut last) = (timeout, (timeout + 2).min(ends_ms.len().saturating_sub(1)));
        for band in used.flatten() {
            (first, last) = (first.min(band), last.max(band));
        }
        first = first
            .min(last.saturating_sub(FEWEST_BANDS))
            .saturating_sub(1);
        let end = |band: usize| ends_ms.get(band).copied().unwrap_or(1.0);
        let min = match first {
            0 => end(0) / 1.26,
            first => end(first - 1),
        };
        Self {
            levels,
            bands: (first, last),
            scale: Scale::Log {
                min,
                max: end(last).max(min * 10.0),
            },
        }
    }

    /// Returns the colour of a cell, from 1; `None` for an empty one.
    fn level(&self, count: u64) -> Option<usize> {
        let level = self.levels.iter().filter(|least| count >= **least).count();
        (level > 0).then_some(level)
    }
}

/// Draws the heat map; returns the bottom.
pub(super) fn draw(
    canvas: &mut Canvas,
    top: f64,
    x: &Axis,
    key: &Key,
    columns: &[Column],
    run: &Run,
) -> f64 {
    let (ends_ms, timeout_ms) = (&run.bands_ms, run.timeout_ms);
    let timeout = format!("timeout {}", latency(timeout_ms));
    let legend = [
        ("p50", "M0 0H16", "p50"),
        ("p99", "M0 0H16", "p99"),
        ("timeout", "M0 0H16", timeout.as_str()),
    ];
    let title = "Latency of polls, by when they were due";
    let top = caption(canvas, top, title, &legend);
    let top = colours(canvas, top, key) + 8.0;
    let never = Plot {
        top,
        height: NEVER,
        x,
        y: Scale::Linear { max: 1.0 },
    };
    let plot = Plot {
        top: top + NEVER + GAP,
        height: HEIGHT,
        x,
        y: key.scale,
    };
    let middle = top + NEVER / 2.0;
    let label = At {
        share: 0.0,
        dx: -7.0,
        y: middle + 4.0,
    };
    canvas.text("end", label, "never");
    canvas.path(
        "empty",
        format_args!("M0 {top:.1}H{WIDTH}V{:.1}H0z", never.bottom()),
    );
    plot.grid(canvas, &key.scale.ticks(latency));
    plot.labels(canvas);
    canvas.shapes(&cells(&plot, key, columns));
    canvas.shapes(&never_cells(&never, key, columns));
    let y = plot.y(timeout_ms);
    canvas.path("halo", format_args!("M0 {y:.1}H{WIDTH}"));
    canvas.path("timeout", format_args!("M0 {y:.1}H{WIDTH}"));
    for (class, share) in [("p99", 0.99), ("p50", 0.5)] {
        let steps = columns.iter().map(|column| Step {
            from: column.from,
            to: column.to,
            y: column
                .quantile_ms(ends_ms, share)
                .map(|ms| if ms.is_finite() { plot.y(ms) } else { middle }),
        });
        let d = plot.steps(steps);
        canvas.path("halo", &d);
        canvas.path(class, &d);
    }
    plot.bottom() + LABELS
}

/// Writes the legend of the colours; returns the bottom.
fn colours(canvas: &mut Canvas, top: f64, key: &Key) -> f64 {
    let y = top + 13.0;
    let left = -LEFT + 2.0;
    let at = |dx: f64| At {
        share: 0.0,
        dx: left + dx,
        y,
    };
    canvas.text("", at(0.0), "polls per cell:");
    let mut dx = 96.0;
    for (level, least) in key.levels.iter().enumerate() {
        for (class, d) in [("c", "M0 -6H7V6H0z"), ("n", "M7 -6H14V6H7z")] {
            canvas.sample(&format!("{class}{}", level + 1), left + dx, y - 4.0, d);
        }
        let name = cell_count(*least, level + 1 == LEVELS);
        canvas.text("", at(dx + 18.0), &name);
        dx += 26.0 + CHARACTER * name.len() as f64;
    }
    top + LINE
}

/// Formats the least number of polls of a colour, a power of ten, in few characters.
fn cell_count(least: u64, last: bool) -> String {
    let more = if last { "+" } else { "" };
    match least {
        0..1_000 => format!("{least}{more}"),
        1_000..1_000_000 => format!("{}k{more}", least / 1_000),
        1_000_000..1_000_000_000 => format!("{}M{more}", least / 1_000_000),
        1_000_000_000..1_000_000_000_000 => format!("{}G{more}", least / 1_000_000_000),
        _ => format!("{}T{more}", least / 1_000_000_000_000),
    }
}

/// Returns the cells as one path for each colour; a row of a path is one unit high.
fn cells(plot: &Plot<'_>, key: &Key, columns: &[Column]) -> String {
    let (first, last) = key.bands;
    let mut paths = Paths::default();
    for band in first..=last {
        let level = |column: &Column| key.level(column.bands.get(band).copied().unwrap_or(0));
        row(&mut paths, plot, last - band, columns, level);
    }
    let rows = last - first + 1;
    group("c", &paths, plot.top, plot.height / rows as f64)
}

fn never_cells(plot: &Plot<'_>, key: &Key, columns: &[Column]) -> String {
    let mut paths = Paths::default();
    row(&mut paths, plot, 0, columns, |column| {
        key.level(column.never)
    });
    group("n", &paths, plot.top, plot.height)
}

/// A path for each colour.
type Paths = [String; LEVELS];

/// Adds a row of cells; neighbours of the same colour are one rectangle.
fn row(
    paths: &mut Paths,
    plot: &Plot<'_>,
    row: usize,
    columns: &[Column],
    level: impl Fn(&Column) -> Option<usize>,
) {
    for same in columns.chunk_by(|left, right| level(left) == level(right)) {
        let (Some(first), Some(last)) = (same.first(), same.last()) else {
            continue;
        };
        let path = level(first).and_then(|level| paths.get_mut(level - 1));
        if let Some(path) = path {
            let (from, to) = (plot.x.place(first.from), plot.x.place(last.to));
            let _ = write!(path, "M{} {row}H{}v1H{}z", unit(from), unit(to), unit(from));
        }
    }
}

fn group(class: &str, paths: &Paths, top: f64, row: f64) -> String {
    let mut group =
        format!("<g class=\"cells\" transform=\"translate(0,{top:.2}) scale(1,{row:.4})\">\n");
    for (level, d) in paths.iter().enumerate().filter(|(_, d)| !d.is_empty()) {
        let _ = writeln!(group, r#"<path class="{class}{}" d="{d}"/>"#, level + 1);
    }
    group + "</g>\n"
}
