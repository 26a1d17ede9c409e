//! Parsers of option values: a number within a range, with the unit of its option.

use std::{error::Error, ops::RangeBounds, time::Duration};

use clap::builder::{RangedU64ValueParser, TypedValueParser};

/// Bytes of a MiB.
pub(crate) const MIB: u64 = 1024 * 1024;

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
