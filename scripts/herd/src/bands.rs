//! The latency bands of a run's heat map: ten for each power of ten, the same for every run, so that runs can be
//! compared band by band.

/// The first band ends at 10^-2 ms.
const FIRST_POWER: i32 = -2;
/// The last band ends at 10^6 ms.
const LAST_POWER: i32 = 6;
/// Bands for each power of ten: each ends 26 % later than the one before (the series R10 of ISO 3).
const PER_POWER: i32 = 10;

/// Returns the upper ends of the bands in milliseconds, ascending. A latency belongs to the first band whose end it does
/// not exceed, and a longer one to the last band.
pub fn ends_ms() -> Vec<f64> {
    let tenths = FIRST_POWER * PER_POWER..=LAST_POWER * PER_POWER;
    tenths
        .map(|tenth| {
            let end = 10_f64.powf(f64::from(tenth) / f64::from(PER_POWER));
            // Three significant digits, so that JSON has 1.26 and not 1.2589254117941673.
            let digits = 10_f64.powf(2.0 - end.log10().floor());
            (end * digits).round() / digits
        })
        .collect()
}

/// Returns the index of the band of a latency.
pub fn band(ends_ms: &[f64], ms: f64) -> usize {
    ends_ms
        .partition_point(|end| *end < ms)
        .min(ends_ms.len().saturating_sub(1))
}
