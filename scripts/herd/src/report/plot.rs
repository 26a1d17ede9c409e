//! A plot of a picture: its place, its scales, and what is drawn in it.

use super::{
    canvas::{At, Canvas, LEFT, unit},
    scale::{Axis, Scale, Tick},
};

/// A band of the picture with a horizontal and a vertical scale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot<'a> {
    pub(super) top: f64,
    pub(super) height: f64,
    pub(super) x: &'a Axis,
    pub(super) y: Scale,
}

/// A value of a step line, from and to a position of the horizontal scale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) from: f64,
    pub(super) to: f64,
    /// The vertical position in pixels; `None` interrupts the line.
    pub(super) y: Option<f64>,
}

/// An entry of a legend: the sample's classes and path, and the name.
pub(super) type Entry<'a> = (&'a str, &'a str, &'a str);

/// Height of a line of text.
pub(super) const LINE: f64 = 18.0;
/// Height of the labels below a plot.
pub(super) const LABELS: f64 = 20.0;
/// Approximate width of a character, which is a little too much for most fonts.
pub(super) const CHARACTER: f64 = 7.3;
const SAMPLE: f64 = 22.0;

impl Plot<'_> {
    /// Returns the bottom, in pixels from the top of the picture.
    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Returns the vertical position of a value.
    pub(super) fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.y.place(value))
    }

    /// Draws the grid, the lower axis and the labels to the left.
    pub(super) fn grid(&self, canvas: &mut Canvas, y_ticks: &[Tick]) {
        for tick in &self.x.ticks {
            let x = unit(self.x.place(tick.value));
            let d = format!("M{x} {:.1}V{:.1}", self.top, self.bottom());
            canvas.path("grid", d);
        }
        for tick in y_ticks {
            let y = self.y(tick.value);
            canvas.across("grid", y);
            let at = At {
                share: 0.0,
                dx: -7.0,
                y: y + 4.0,
            };
            canvas.text("end", at, &tick.label);
        }
        canvas.across("axis", self.bottom());
    }

    /// Writes the labels below the plot.
    pub(super) fn labels(&self, canvas: &mut Canvas) {
        for tick in &self.x.ticks {
            let share = self.x.place(tick.value);
            let at = At {
                share,
                dx: 0.0,
                y: self.bottom() + 15.0,
            };
            let class = if share > 0.94 { "end" } else { "middle" };
            canvas.text(class, at, &tick.label);
        }
    }

    /// Returns the path of a step line.
    pub(super) fn steps(&self, steps: impl IntoIterator<Item = Step>) -> String {
        let mut d = String::new();
        let mut drawing = false;
        for step in steps {
            let Some(y) = step.y else {
                drawing = false;
                continue;
            };
            let (from, to) = (self.x.place(step.from), self.x.place(step.to));
            if drawing {
                d += &format!("V{y:.1}H{}", unit(to));
            } else {
                d += &format!("M{} {y:.1}H{}", unit(from), unit(to));
            }
            drawing = true;
        }
        d
    }

    /// Returns the path of the area under a step line.
    pub(super) fn area(&self, steps: impl IntoIterator<Item = Step>) -> String {
        let bottom = self.bottom();
        let steps = steps.into_iter().filter_map(|step| Some((step, step.y?)));
        let areas = steps.filter(|(_, y)| *y < bottom).map(|(step, y)| {
            let (from, to) = (self.x.place(step.from), self.x.place(step.to));
            format!(
                "M{} {bottom:.1}V{y:.1}H{}V{bottom:.1}z",
                unit(from),
                unit(to)
            )
        });
        areas.collect()
    }
}

/// Writes the title of a plot and its legend below it, in as many lines as `width` needs; returns the bottom.
pub(super) fn caption(canvas: &mut Canvas, top: f64, title: &str, entries: &[Entry<'_>]) -> f64 {
    let text = |dx: f64, y: f64| At { share: 0.0, dx, y };
    canvas.text("title", text(-LEFT + 2.0, top + 13.0), title);
    let (mut x, mut y) = (-LEFT + 2.0, top + LINE + 13.0);
    for (class, path, name) in entries {
        let wide = SAMPLE + CHARACTER * name.chars().count() as f64;
        if x + wide > NARROWEST - LEFT && x > -LEFT + 2.0 {
            (x, y) = (-LEFT + 2.0, y + LINE);
        }
        canvas.sample(class, x, y - 4.0, path);
        canvas.text("", text(x + SAMPLE, y), name);
        x += wide + 12.0;
    }
    if entries.is_empty() {
        top + LINE
    } else {
        y + 5.0
    }
}

/// The narrowest picture that has room for all captions, in pixels.
const NARROWEST: f64 = 332.0;
