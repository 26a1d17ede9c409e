//! The picture of all cures: a strip for each, one below the other.

use herd::run::{Run, Slice};

use crate::{
    cures::CURES,
    svg::{Plot, Svg, WIDTH},
    table::seconds,
    trial::{SECONDS, TRIGGER, Trial},
};

/// Height of a strip with its title.
const STEP: f64 = 84.0;
const HEAD: f64 = 48.0;
/// Requests per second at the top of a strip. What is above is drawn there.
const MOST: f64 = 640.0;
/// What the axis shows, in requests per second.
const TICK: f64 = 600.0;
/// Rates are averaged over so many seconds.
const BIN_SECONDS: f64 = 0.2;
const MARGIN: f64 = 8.0;

/// Returns the picture of a run of each cure.
pub fn picture(trials: &[&Trial]) -> String {
    let mut svg = Svg::default();
    legend(&mut svg);
    for (number, (cure, trial)) in CURES.iter().zip(trials).enumerate() {
        let top = HEAD + STEP * number as f64;
        svg.text("bold", MARGIN, top + 14.0, cure.name);
        let over = match trial.over() {
            0.0 => "does not begin".to_owned(),
            over if over.is_infinite() => "does not end".to_owned(),
            over => format!("over after {}", seconds(over)),
        };
        svg.text("end", WIDTH - MARGIN, top + 14.0, &over);
        strip(&mut svg, top + 22.0, &trial.run);
    }
    let bottom = HEAD + STEP * CURES.len() as f64;
    axis(&mut svg, bottom);
    let title = "Requests and answers per second with each cure alone";
    svg.document(bottom + 24.0, title)
}

fn plot(top: f64) -> Plot {
    Plot {
        left: MARGIN,
        top,
        width: WIDTH - 2.0 * MARGIN,
        height: STEP - 32.0,
        x: (0.0, SECONDS),
        most: MOST,
    }
}

fn legend(svg: &mut Svg) {
    let mut x = MARGIN;
    for (class, name, width) in [
        ("due", "polls due", 92.0),
        ("sent", "requests sent", 112.0),
        ("answered", "answered", 0.0),
    ] {
        let sample = match class {
            "answered" => vec![(x, 20.0), (x, 11.0), (x + 22.0, 11.0), (x + 22.0, 20.0)],
            _ => vec![(x, 15.0), (x + 22.0, 15.0)],
        };
        svg.line(class, &sample);
        svg.text("", x + 28.0, 20.0, name);
        x += 28.0 + width;
    }
    svg.text(
        "small",
        MARGIN,
        40.0,
        "per second; dotted: the trigger, all clients ask at once",
    );
}

fn strip(svg: &mut Svg, top: f64, run: &Run) {
    let plot = plot(top);
    plot.line(svg, "grid", &[(0.0, TICK), (SECONDS, TICK)]);
    let (_, y) = plot.at(0.0, TICK);
    svg.text("small", MARGIN, y + 13.0, "600/s");
    plot.area(svg, "answered", &rates(run, |slice| slice.answered));
    plot.line(svg, "due", &rates(run, |slice| slice.due));
    plot.line(svg, "sent", &rates(run, |slice| slice.sent()));
    plot.line(svg, "trigger", &[(TRIGGER, 0.0), (TRIGGER, MOST)]);
    plot.floor(svg);
}

fn axis(svg: &mut Svg, bottom: f64) {
    let plot = plot(bottom);
    let mut second = 0.0;
    while second + 1.0 <= SECONDS {
        let (x, _) = plot.at(second, 0.0);
        let class = if second == 0.0 {
            "small"
        } else {
            "small middle"
        };
        svg.text(class, x, bottom + 10.0, &format!("{second} s"));
        second += 1.0;
    }
}

/// Returns rates per second by time.
fn rates(run: &Run, of: fn(&Slice) -> u64) -> Vec<(f64, f64)> {
    let length = run
        .slices
        .first()
        .map_or(BIN_SECONDS, |slice| slice.seconds);
    let together = (BIN_SECONDS / length).round().max(1.0) as usize;
    let bins = run.slices.chunks(together).map(|bin| {
        let seconds: f64 = bin.iter().map(|slice| slice.seconds).sum();
        let count: u64 = bin.iter().map(of).sum();
        (bin[0].at + seconds / 2.0, count as f64 / seconds)
    });
    bins.collect()
}
