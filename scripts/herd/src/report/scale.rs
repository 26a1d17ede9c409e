//! Scales of axes: where a value lies, and which values get a label.

/// Maps values to positions from 0 (left or bottom) to 1.
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

/// A horizontal axis that plots below each other share.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    scale: Scale,
    pub(super) ticks: Vec<Tick>,
}

impl Axis {
    pub(super) fn new(scale: Scale, label: impl Fn(f64) -> String) -> Self {
        let ticks = scale.ticks(label);
        Self { scale, ticks }
    }

    /// Returns the axis of a time from 0 to `seconds`.
    pub(super) fn of_time(seconds: f64) -> Self {
        Self {
            scale: Scale::Linear { max: seconds },
            ticks: time_ticks(seconds),
        }
    }

    /// Returns the position from 0 to 1; values outside are clamped.
    pub(super) fn place(&self, value: f64) -> f64 {
        self.scale.place(value)
    }
}

/// Seconds in units of time that axes are labelled with, and the steps between labels in these units.
const TIME_STEPS: [(f64, &str, &[f64]); 4] = [
    (1.0, "s", &[0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0]),
    (60.0, "min", &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0]),
    (3600.0, "h", &[1.0, 2.0, 3.0, 6.0, 12.0]),
    (86_400.0, "d", &[1.0, 2.0, 5.0, 10.0]),
];
/// The most labels of an axis of time: six fit 280 pixels.
const TIME_LABELS: f64 = 6.0;
/// The most steps of a linear axis.
const LINEAR_STEPS: f64 = 4.0;

impl Scale {
    /// Returns the position from 0 to 1; values outside are clamped.
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

    /// Returns ticks with labels from `label`: few even steps of a linear scale, the powers of ten of a logarithmic one.
    pub(super) fn ticks(self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let values: Vec<f64> = match self {
            Self::Linear { max } => {
                let step = even_step(max / LINEAR_STEPS);
                multiples(step, max).collect()
            }
            Self::LogFromZero { max } => {
                // 1 lies close to 0.
                let powers: Vec<f64> = powers(10.0, max).collect();
                let every = powers.len().div_ceil(4).max(1);
                let zero = std::iter::once(0.0);
                zero.chain(powers.into_iter().step_by(every)).collect()
            }
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

/// Returns the labels of an axis of `seconds`, in the unit that suits it.
fn time_ticks(seconds: f64) -> Vec<Tick> {
    let steps = TIME_STEPS.iter().flat_map(|(unit, name, steps)| {
        let steps = steps.iter();
        steps.map(move |step| (*unit, *name, step * unit))
    });
    let found = { steps }.find(|(_, _, step)| seconds / step <= TIME_LABELS - 1.0);
    let (unit, name, step) = found.unwrap_or((86_400.0, "d", even_step(seconds / 5.0)));
    multiples(step, seconds)
        .map(|value| Tick {
            value,
            label: format!("{} {name}", rounded(value / unit)),
        })
        .collect()
}

/// Rounds to three decimals, so that 0.30000000000000004 is 0.3.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn multiples(step: f64, max: f64) -> impl Iterator<Item = f64> {
    (0..=(max / step + 1e-9) as u32).map(move |at| f64::from(at) * step)
}

/// Returns 1, 2, 2.5 or 5 times a power of ten, at least `least`.
fn even_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= least);
    step.unwrap_or(10.0 * power)
}

/// Returns the powers of ten within bounds.
fn powers(min: f64, max: f64) -> impl Iterator<Item = f64> {
    let first = (min.max(1e-9).log10() - 1e-6).ceil() as i32;
    let last = (max.max(1e-9).log10() + 1e-6).floor() as i32;
    (first..=last).map(|power| 10_f64.powi(power))
}
