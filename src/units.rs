//! Parsers of option values: a number within a range, with the unit of its option.

use std::{error::Error, ops::RangeBounds, time::Duration};

use clap::builder::{RangedU64ValueParser, TypedValueParser};

/// Bytes of a MiB.
pub(crate) const MIB: u64 = 1024 * 1024;
/// A day, in milliseconds: the longest time of an option in milliseconds. SQLite takes 24 days.
pub(crate) const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// A year, in seconds: the longest time of an option that is added to an instant. An instant that far ahead
/// exists on every system.
pub(crate) const YEAR_SECS: u64 = 365 * 24 * 60 * 60;

/// Returns a parser of a number within `range`, as `T`.
pub(crate) fn number<T: FromU64>(range: impl RangeBounds<u64>) -> RangedU64ValueParser<T> {
    RangedU64ValueParser::new().range(range)
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
    use clap::{Arg, Command};

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
        assert_eq!(parse(number::<u32>(0..), "x"), None);
    }
}
