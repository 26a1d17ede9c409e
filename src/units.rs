//! Parsers of option values: a number within a range, with the unit of its option.

use std::{
    error::Error,
    num::NonZeroU32,
    ops::{Bound, RangeBounds},
    time::Duration,
};

use clap::builder::{StringValueParser, TypedValueParser};

/// Bytes of a MiB.
pub(crate) const MIB: u64 = 1024 * 1024;
/// A day, in milliseconds: the longest time of an option in milliseconds. SQLite takes 24 days.
pub(crate) const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// A year, in seconds: the longest time of an option that is added to an instant. An instant that far ahead
/// exists on every system.
pub(crate) const YEAR_SECS: u64 = 365 * 24 * 60 * 60;

/// The text of an option is not a number within its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from {min} to {max}")]
struct NotInRange {
    min: u64,
    max: u64,
}

/// Returns a parser of a number within `range`, as `T`: decimal digits alone. Its error names the range, whatever is
/// wrong.
pub(crate) fn number<T: FromU64>(range: impl RangeBounds<u64>) -> impl TypedValueParser<Value = T> {
    let greatest = u64::MAX >> (u64::BITS - 8 * size_of::<T>() as u32);
    let min = match range.start_bound() {
        Bound::Included(min) => *min,
        Bound::Excluded(below) => below.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let max = match range.end_bound() {
        Bound::Included(max) => *max,
        Bound::Excluded(above) => above.saturating_sub(1),
        Bound::Unbounded => greatest,
    };
    let range = NotInRange {
        min,
        max: max.min(greatest),
    };
    StringValueParser::new().try_map(move |text| {
        let digits = Some(&text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        let number = number.filter(|number| (range.min..=range.max).contains(number));
        number
            .and_then(|number: u64| T::try_from(number).ok())
            .ok_or(range)
    })
}

/// Returns a parser of a number of at least 1.
pub(crate) fn positive() -> impl TypedValueParser<Value = NonZeroU32> {
    number::<u32>(1..).try_map(NonZeroU32::try_from)
}

/// Returns a parser of a time in milliseconds.
pub(crate) fn millis(range: impl RangeBounds<u64>) -> impl TypedValueParser<Value = Duration> {
    number(range).map(Duration::from_millis)
}

/// Returns a parser of a time in seconds.
pub(crate) fn secs(range: impl RangeBounds<u64>) -> impl TypedValueParser<Value = Duration> {
    number(range).map(Duration::from_secs)
}

/// Returns a parser of a size in MiB; its value is in bytes.
pub(crate) fn mib<T: FromU64>(range: impl RangeBounds<u64>) -> impl TypedValueParser<Value = T> {
    number(range).try_map(|mib: u64| T::try_from(mib.saturating_mul(MIB)))
}

/// An unsigned integer type of an option's value.
pub(crate) trait FromU64:
    TryFrom<u64, Error: Error + Send + Sync + 'static> + Clone + Send + Sync + 'static
{
}

impl<T> FromU64 for T where
    T: TryFrom<u64, Error: Error + Send + Sync + 'static> + Clone + Send + Sync + 'static
{
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, builder::ValueParser};

    use super::*;

    fn parse<T: Clone + Send + Sync + 'static>(
        parser: impl TypedValueParser<Value = T>,
        text: &str,
    ) -> Option<T> {
        let command = Command::new("test").arg(Arg::new("value").value_parser(parser));
        let matches = command.try_get_matches_from(["test", text]).ok()?;
        matches.get_one("value").cloned()
    }

    #[test]
    fn values_have_the_unit_of_their_option_and_are_within_its_range() {
        assert_eq!(
            parse(millis(0..), "1500"),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(parse(secs(0..), "0"), Some(Duration::ZERO));
        assert_eq!(parse(secs(1..), "0"), None);
        assert_eq!(parse(secs(..=5), "6"), None);
        assert_eq!(parse(mib::<u32>(1..=2048), "2048"), Some(1 << 31));
        assert_eq!(parse(mib::<u32>(0..), "4096"), None);
        assert_eq!(
            parse(mib::<u64>(0..), &u64::MAX.to_string()),
            Some(u64::MAX)
        );
        for text in ["x", "", "+5", "-5", " 5", "5.0", "1e3", "0x5", "4294967296"] {
            assert_eq!(parse(number::<u32>(0..), text), None, "{text:?}");
        }
    }

    #[test]
    fn an_error_names_the_range() {
        let of = |parser, text| {
            let command = Command::new("test").arg(Arg::new("value").value_parser(parser));
            let refused = command.try_get_matches_from(["test", text]);
            refused.map_or_else(|error| error.to_string(), |_| String::new())
        };
        for text in ["x", "0", "11", "99999999999999999999999"] {
            let said = of(ValueParser::new(number::<u32>(1..=10)), text);
            assert!(said.contains("must be a number from 1 to 10"), "{said}");
        }
        let said = of(ValueParser::new(number::<u32>(0..)), "4294967296");
        assert!(
            said.contains("must be a number from 0 to 4294967295"),
            "{said}"
        );
        let said = of(ValueParser::new(number::<u64>(..)), "-1");
        assert!(said.contains("unexpected argument '-1'"), "{said}");
    }
}
