//! The picture of one or more runs: a column of rates and latency over time for each, and one
//! latency distribution of all.

use super::chart::{Panel, Scale, Svg, Tick, escaped};
use crate::{
    run::{Run, Slice},
    table::count,
};

const COLUMN: f64 = 560.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const PANEL_HEIGHT: f64 = 210.0;
const HEAD: f64 = 96.0;
/// Distance between the tops of two panels.
const STEP: f64 = PANEL_HEIGHT + 92.0;
/// Minimum time over which rates are averaged, in seconds.
const RATE_SECONDS: f64 = 1.0;
/// Number of different colours of runs.
const COLOURS: usize = 4;

const LIGHT: &str = "\
.back{fill:#ffffff}.ink,.title{fill:#17202a}.tick,.note{fill:#566270}\
.grid{stroke:#e3e7ec}.axis{stroke:#8b96a3}.limit{stroke:#566270}\
.grey{stroke:#8b96a3}.t-grey{fill:#6b7683}.blue,.run0{stroke:#1769c4}.t-blue,.t-run0{fill:#1769c4}\
.red,.run1{stroke:#c8401b}.t-red,.t-run1{fill:#c8401b}.green,.run2{stroke:#1c8045}.t-green,.t-run2{fill:#1c8045}\
.run3{stroke:#7a3fb0}.t-run3{fill:#7a3fb0}";
const DARK: &str = "\
.back{fill:#14181d}.ink,.title{fill:#e8edf2}.tick,.note{fill:#a3afbb}\
.grid{stroke:#2a3138}.axis{stroke:#6b7783}.limit{stroke:#a3afbb}\
.grey{stroke:#7f8b97}.t-grey{fill:#a3afbb}.blue,.run0{stroke:#5fa8f5}.t-blue,.t-run0{fill:#5fa8f5}\
.red,.run1{stroke:#ff8257}.t-red,.t-run1{fill:#ff8257}.green,.run2{stroke:#54c682}.t-green,.t-run2{fill:#54c682}\
.run3{stroke:#c08af0}.t-run3{fill:#c08af0}";
const SHAPE: &str = "\
text{font-family:Ubuntu,'Segoe UI',Roboto,'Helvetica Neue',sans-serif;font-size:13px}\
.title{font-size:20px}.end{text-anchor:end}.middle{text-anchor:middle}\
line,polyline{fill:none;stroke-width:1}polyline{stroke-width:1.8;stroke-linejoin:round}\
.thick{stroke-width:2.6}.thin{stroke-width:1.1}.limit{stroke-dasharray:5 4}.mark{stroke-width:1.4}";

/// Returns the picture of these runs: an SVG document without external resources, light or dark as the
/// reader prefers.
pub(super) fn picture(runs: &[Run]) -> String {
    let columns = runs.len().max(1) as f64;
    let (width, height) = (columns * COLUMN, HEAD + 3.0 * STEP - 12.0);
    let mut svg = Svg::default();
    let most_rate = most_rate(runs) * 1.1;
    let most_ms = runs.iter().map(most_ms).fold(1.0, f64::max);
    for (column, run) in runs.iter().enumerate() {
        let left = column as f64 * COLUMN;
        head(&mut svg, left, run);
        rates(&mut svg, panel(left, 0, run, rate_scale(most_rate)), run);
        latency(&mut svg, panel(left, 1, run, ms_scale(most_ms)), run);
    }
    distributions(&mut svg, width, most_ms, runs);
    let names: Vec<String> = runs.iter().map(|run| escaped(&run.name)).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n<style>{SHAPE}{LIGHT}@media (prefers-color-scheme:dark){{{DARK}}}</style>\n\
         <rect class=\"back\" width=\"{width}\" height=\"{height}\"/>\n{}</svg>\n",
        names.join(", "),
        svg.0
    )
}

fn panel(left: f64, row: u32, run: &Run, y: Scale) -> Panel {
    Panel {
        left: left + LEFT,
        top: HEAD + f64::from(row) * STEP + 40.0,
        width: COLUMN - LEFT - RIGHT,
        height: PANEL_HEIGHT,
        x: Scale::Linear { max: run.seconds },
        y,
    }
}

fn rate_scale(max: f64) -> Scale {
    Scale::LogFromZero { max }
}

/// Returns the scale of latencies, from 0.1 ms.
fn ms_scale(max: f64) -> Scale {
    Scale::Log { min: 0.1, max }
}

fn head(svg: &mut Svg, left: f64, run: &Run) {
    let role = &run.pollers;
    let per_second = |polls: u64| polls as f64 / run.seconds.max(1e-9);
    svg.text("title", (left + LEFT, 36.0), &run.name);
    let line = format!(
        "{} clients, {:.0} polls/s offered, {:.0}/s answered: {:.1} %",
        count(role.clients.into()),
        per_second(role.due),
        per_second(role.answered),
        100.0 * role.answered as f64 / role.due.max(1) as f64,
    );
    svg.text("ink", (left + LEFT, 60.0), &line);
    let rebuilds = run.rebuilds.as_ref().map_or(String::new(), |rebuilds| {
        let plural = if rebuilds.total == 1 { "" } else { "s" };
        format!(", {} rebuild{plural}", count(rebuilds.total))
    });
    let line = format!(
        "{} requests ({:.2} per poll), {} timeouts, {} of 5xx{rebuilds}",
        count(role.attempts),
        role.amplification(),
        count(role.timeouts()),
        count(role.of_class(5)),
    );
    svg.text("ink", (left + LEFT, 80.0), &line);
}

/// Draws the title of a panel and the legend of its lines.
fn caption(svg: &mut Svg, panel: &Panel, title: &str, names: &[(&str, &str)]) {
    let y = panel.top - 20.0;
    svg.text("ink", (panel.left, y), title);
    let mut x = panel.left + panel.width;
    for (class, name) in names.iter().rev() {
        svg.text(&format!("{class} end"), (x, y), name);
        // The approximate width of the text, and a gap.
        x -= name.chars().count() as f64 * 7.2 + 14.0;
    }
}

fn rates(svg: &mut Svg, panel: Panel, run: &Run) {
    let names = [
        ("t-grey", "offered"),
        ("t-red", "requests sent"),
        ("t-blue", "answered"),
    ];
    caption(svg, &panel, "polls and requests per second", &names);
    panel.axes(svg, &seconds(panel.x), &panel.y.ticks(plain));
    let bins = bins(&run.slices);
    let line = |of: fn(&Bin) -> f64| bins.iter().map(move |bin| (bin.middle, Some(of(bin))));
    panel.lines(svg, "red", line(|bin| bin.attempts));
    panel.lines(svg, "grey thick", line(|bin| bin.due));
    panel.lines(svg, "blue thick", line(|bin| bin.answered));
}

fn latency(svg: &mut Svg, panel: Panel, run: &Run) {
    let mut names = vec![("t-blue", "p50"), ("t-red", "p99")];
    if let Some(rebuilds) = &run.rebuilds {
        names.push(("t-green", "rebuilds (marks)"));
        let at = rebuilds.seen.iter().map(|growth| growth.at);
        panel.marks(svg, "green mark", at);
    }
    let title = "latency by the time at which polls were due";
    caption(svg, &panel, title, &names);
    panel.axes(svg, &seconds(panel.x), &milliseconds_ticks(panel.y));
    panel.across(svg, "limit", run.timeout_ms, "timeout");
    panel.across(svg, "axis", most_ms(run), "never");
    let never = most_ms(run);
    let line = |of: fn(&Slice) -> Option<f64>| {
        run.slices.iter().map(move |slice| {
            let value = (slice.due > 0).then(|| of(slice).unwrap_or(never));
            (slice.at + slice.seconds / 2.0, value)
        })
    };
    panel.lines(svg, "red thin", line(|slice| slice.latency.p99_ms));
    panel.lines(svg, "blue", line(|slice| slice.latency.p50_ms));
}

fn distributions(svg: &mut Svg, width: f64, most_ms: f64, runs: &[Run]) {
    let panel = Panel {
        left: LEFT,
        top: HEAD + 2.0 * STEP + 40.0,
        width: width - LEFT - RIGHT,
        height: PANEL_HEIGHT,
        x: ms_scale(most_ms),
        y: Scale::Linear { max: 100.0 },
    };
    let classes: Vec<String> = (0..runs.len())
        .map(|run| format!("t-run{}", run % COLOURS))
        .collect();
    let names: Vec<(&str, &str)> = classes
        .iter()
        .zip(runs)
        .map(|(class, run)| (class.as_str(), run.name.as_str()))
        .collect();
    let title = "share of all polls with a response within a time, in percent";
    caption(svg, &panel, title, &names);
    panel.axes(svg, &milliseconds_ticks(panel.x), &panel.y.ticks(plain));
    for (number, run) in runs.iter().enumerate() {
        let points = run.pollers.distribution.iter();
        let last = points.clone().next_back().map(|last| (most_ms, last.share));
        let points = points.map(|point| (point.ms, point.share)).chain(last);
        let class = format!("run{} thick", number % COLOURS);
        panel.lines(
            svg,
            &class,
            points.map(|(ms, share)| (ms, Some(100.0 * share))),
        );
    }
}

/// Rates per second of merged buckets.
struct Bin {
    middle: f64,
    due: f64,
    answered: f64,
    attempts: f64,
}

fn bins(slices: &[Slice]) -> Vec<Bin> {
    let length = slices.first().map_or(RATE_SECONDS, |slice| slice.seconds);
    let together = (RATE_SECONDS / length).ceil().max(1.0) as usize;
    slices
        .chunks(together)
        .map(|chunk| {
            let seconds: f64 = chunk.iter().map(|slice| slice.seconds).sum();
            let sum = |of: fn(&Slice) -> u64| chunk.iter().map(of).sum::<u64>() as f64 / seconds;
            Bin {
                middle: chunk.first().map_or(0.0, |slice| slice.at) + seconds / 2.0,
                due: sum(|slice| slice.due),
                answered: sum(|slice| slice.answered),
                attempts: sum(|slice| slice.attempts),
            }
        })
        .collect()
}

/// Returns the top of a latency scale, where polls without a response are drawn.
fn most_ms(run: &Run) -> f64 {
    10.0 * run.timeout_ms
}

/// Returns the maximum of the rates.
fn most_rate(runs: &[Run]) -> f64 {
    let bins = runs.iter().flat_map(|run| bins(&run.slices));
    bins.map(|bin| bin.attempts.max(bin.due))
        .fold(1.0, f64::max)
}

fn plain(value: f64) -> String {
    count(value as u64)
}

fn seconds(scale: Scale) -> Vec<Tick> {
    scale.ticks(|value| format!("{value} s"))
}

fn milliseconds_ticks(scale: Scale) -> Vec<Tick> {
    scale.ticks(|value| {
        if value >= 1000.0 {
            format!("{} s", value / 1000.0)
        } else {
            format!("{value} ms")
        }
    })
}
