//! The picture of the load that rises and falls: what is answered of it, on the way up and on the way down.

use crate::{
    hysteresis::{PEAK, Turn},
    svg::{Plot, Svg, WIDTH},
};

const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const HEIGHT: f64 = 170.0;
const STEP: f64 = HEIGHT + 86.0;

/// Returns the picture, one plot below the other.
pub fn picture(turns: &[Turn]) -> String {
    let mut svg = Svg::default();
    for (number, turn) in turns.iter().enumerate() {
        draw(&mut svg, STEP * number as f64, turn);
    }
    let title = "Polls answered per second by polls offered per second, while the load rises and while it falls";
    svg.document(STEP * turns.len() as f64, title)
}

fn draw(svg: &mut Svg, top: f64, turn: &Turn) {
    let most = f64::from(PEAK);
    let plot = Plot {
        left: LEFT,
        top: top + 36.0,
        width: WIDTH - LEFT - RIGHT,
        height: HEIGHT,
        x: (0.0, most),
        most,
    };
    svg.text(
        "bold",
        8.0,
        top + 20.0,
        &format!("{}: answered per second", turn.name),
    );
    for value in [0.0, 50.0, 100.0, 150.0, 200.0] {
        plot.line(svg, "grid", &[(0.0, value), (most, value)]);
        let (_, y) = plot.at(0.0, value);
        svg.text("small end", LEFT - 6.0, y + 4.0, &value.to_string());
        let (x, y) = plot.at(value, 0.0);
        svg.text("small middle", x, y + 16.0, &value.to_string());
    }
    plot.floor(svg);
    let peak = turn.points.len() / 2;
    plot.line(svg, "up", &turn.points[..peak]);
    plot.line(svg, "down", &turn.points[peak.saturating_sub(1)..]);
    let below = plot.top + HEIGHT + 32.0;
    svg.text(
        "small end",
        WIDTH - RIGHT,
        below,
        "polls offered per second",
    );
    for (class, x, name) in [("up", LEFT, "rising"), ("down", LEFT + 84.0, "falling")] {
        svg.line(class, &[(x, below - 4.0), (x + 26.0, below - 4.0)]);
        svg.text("small", x + 32.0, below, name);
    }
}
