//! Parts of a chart as SVG: scales, axes, lines. Independent of runs.

use std::fmt::Write as _;

/// Maps values to positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// Linear from 0.
    Linear {
        /// The maximum.
        max: f64,
    },
    /// Logarithmic with a zero: `ln(1 + value)`.
    LogFromZero {
        /// The maximum.
        max: f64,
    },
    /// Logarithmic.
    Log {
        /// The minimum.
        min: f64,
        /// The maximum.
        max: f64,
    },
}

/// A labelled value of an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

impl Scale {
    /// Returns the position from 0 (bottom or left) to 1; values outside are clamped.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { max } => value / max,
            Self::LogFromZero { max } => value.max(0.0).ln_1p() / max.ln_1p(),
            Self::Log { min, max } => (value / min).ln() / (max / min).ln(),
        };
        // A scale without width yields NaN.
        if place.is_nan() {
            0.0
        } else {
            place.clamp(0.0, 1.0)
        }
    }

    /// Returns ticks with labels from `label`: about six of a linear scale, the powers of ten of a
    /// logarithmic one.
    pub(super) fn ticks(self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let values: Vec<f64> = match self {
            Self::Linear { max } => {
                let step = even_step(max / 5.0);
                (0..=(max / step + 1e-9) as u32)
                    .map(|at| f64::from(at) * step)
                    .collect()
            }
            Self::LogFromZero { max } => std::iter::once(0.0).chain(powers(1.0, max)).collect(),
            Self::Log { min, max } => powers(min, max).collect(),
        };
        values
            .into_iter()
            .map(|value| Tick {
                value,
                label: label(value),
            })
            .collect()
    }
}

/// Returns 1, 2 or 5 times a power of ten, at least `least`.
fn even_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= least);
    step.unwrap_or(10.0 * power)
}

/// Returns the powers of ten within bounds.
fn powers(min: f64, max: f64) -> impl Iterator<Item = f64> {
    let first = min.max(1e-9).log10().ceil() as i32;
    let last = max.max(1e-9).log10().floor() as i32;
    (first..=last).map(|power| 10_f64.powi(power))
}

/// A rectangle to draw in, with its scales.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

impl Panel {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.left + self.width * self.x.place(x),
            self.top + self.height * (1.0 - self.y.place(y)),
        )
    }

    /// Draws the frame, the grid and the ticks.
    pub(super) fn axes(&self, svg: &mut Svg, x_ticks: &[Tick], y_ticks: &[Tick]) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for tick in y_ticks {
            let (_, y) = self.at(0.0, tick.value);
            svg.line("grid", (self.left, y), (right, y));
            svg.text("tick end", (self.left - 8.0, y + 4.0), &tick.label);
        }
        for tick in x_ticks {
            let (x, _) = self.at(tick.value, 0.0);
            svg.line("grid", (x, bottom), (x, bottom + 5.0));
            svg.text("tick middle", (x, bottom + 18.0), &tick.label);
        }
        svg.line("axis", (self.left, bottom), (right, bottom));
    }

    /// Draws lines through the points; a point without a value interrupts the line.
    pub(super) fn lines(
        &self,
        svg: &mut Svg,
        class: &str,
        points: impl Iterator<Item = (f64, Option<f64>)>,
    ) {
        let mut line: Vec<(f64, f64)> = Vec::new();
        for (x, y) in points.chain([(0.0, None)]) {
            match y {
                Some(y) => line.push(self.at(x, y)),
                None => svg.polyline(class, &std::mem::take(&mut line)),
            }
        }
    }

    /// Draws a labelled horizontal line.
    pub(super) fn across(&self, svg: &mut Svg, class: &str, y: f64, name: &str) {
        let (_, y) = self.at(0.0, y);
        svg.line(class, (self.left, y), (self.left + self.width, y));
        svg.text("note", (self.left + 6.0, y + 15.0), name);
    }

    /// Draws short vertical marks at the upper edge.
    pub(super) fn marks(&self, svg: &mut Svg, class: &str, at: impl Iterator<Item = f64>) {
        for x in at {
            let (x, _) = self.at(x, 0.0);
            svg.line(class, (x, self.top - 12.0), (x, self.top - 3.0));
        }
    }
}

/// A sequence of SVG elements.
#[derive(Debug, Default)]
pub(super) struct Svg(pub(super) String);

impl Svg {
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = writeln!(
            self.0,
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<_> = match points {
            [] => return,
            // A line of one point would be invisible: draw a short one.
            [(x, y)] => vec![(x - 1.0, *y), (x + 1.0, *y)],
            points => points.to_vec(),
        };
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(self.0, r#"<polyline class="{class}" points="{points}"/>"#);
    }
}

/// Escapes text for XML and HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
