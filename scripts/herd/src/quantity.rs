//! Numbers with units, as options have them: `50ms`, `500/s`, `0.1%`.

use std::{ops::RangeInclusive, time::Duration};

use clap::{builder::TypedValueParser, value_parser};

/// Highest rate, in polls per second.
pub(super) const HIGHEST_RATE: f64 = 1e6;
/// Lowest rate that is not zero: a poll in a quarter of an hour.
const LOWEST_RATE: f64 = 1e-3;
/// Longest run, and longest time between two polls, in seconds.
pub(super) const LONGEST_SECS: u64 = 86_400;

/// Reasons why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotAQuantity {
    /// The text is not a duration.
    #[error("'{0}' is not a duration such as 500ms, 10s, 5m or 1h, at most a day")]
    Duration(String),
    /// The text is not a rate.
    #[error("'{0}' is not a rate such as 500/s, from 0.001/s to 1000000/s, or 0/s")]
    Rate(String),
}

/// Parses a number without a sign, at least zero and finite. `None` for `inf`, `NaN`, `1e3` and an empty text.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let is_plain = |b: u8| b.is_ascii_digit() || b == b'.';
    let number: f64 = text
        .bytes()
        .all(is_plain)
        .then(|| text.parse().ok())
        .flatten()?;
    number.is_finite().then_some(number)
}

/// Splits a text where its number ends.
pub(super) fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_digit() && b != b'.')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Returns the seconds of a unit of time.
pub(super) fn unit_secs(unit: &str) -> Option<f64> {
    match unit {
        "us" | "µs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

/// Returns a parser of whole numbers that says the range also of a negative one.
pub(super) fn whole(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = u64> {
    let range = range.start().cast_signed()..=range.end().cast_signed();
    value_parser!(i64).range(range).map(i64::unsigned_abs)
}

/// Parses a duration of a stage: more than zero, at most a day.
///
/// # Errors
/// [`NotAQuantity::Duration`].
pub(super) fn parse_duration(text: &str) -> Result<Duration, NotAQuantity> {
    let (number, unit) = split_unit(text);
    let secs = parse_number(number).zip(unit_secs(unit));
    secs.map(|(number, unit)| number * unit)
        .filter(|secs| *secs <= LONGEST_SECS as f64)
        .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
        .filter(|length| !length.is_zero())
        .ok_or_else(|| NotAQuantity::Duration(text.to_owned()))
}

/// Parses a rate of a stage, in polls per second. It may be zero.
///
/// # Errors
/// [`NotAQuantity::Rate`].
pub(super) fn parse_rate(text: &str) -> Result<f64, NotAQuantity> {
    let number = text.strip_suffix("/s").and_then(parse_number);
    number
        .filter(|rate| *rate == 0.0 || (LOWEST_RATE..=HIGHEST_RATE).contains(rate))
        .ok_or_else(|| NotAQuantity::Rate(text.to_owned()))
}

/// Parses the value of `--rate`: polls per second, more than zero.
///
/// # Errors
/// A text for the user.
pub(super) fn parse_plain_rate(text: &str) -> Result<f64, String> {
    let number = parse_number(text.strip_suffix("/s").unwrap_or(text));
    number
        .filter(|rate| (LOWEST_RATE..=HIGHEST_RATE).contains(rate))
        .ok_or_else(|| "expected polls per second, from 0.001 to 1000000".to_owned())
}

/// Parses a second of the run, such as `10` or `2.5`.
///
/// # Errors
/// A text for the user.
pub(super) fn parse_second(text: &str) -> Result<f64, String> {
    parse_number(text)
        .filter(|second| *second < LONGEST_SECS as f64)
        .ok_or_else(|| "expected a second of the run, such as 10 or 2.5".to_owned())
}
