//! The time of an eval run, in the one form in which times are stored and compared (WIRE.md).

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, Time},
    fmt::temporal::Pieces,
};

/// An instant in UTC, truncated to milliseconds, in the stored form `2026-06-07T00:00:01.766Z`.
///
/// The form has a fixed width, so the order of the text is the order of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RanAt(String);

/// The text of an option is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an RFC 3339 time such as 2026-06-01T12:00:00Z, or a date such as 2026-06-01, which is its midnight in UTC"
)]
pub struct NotAnOption;

/// Nanoseconds of a second.
const NANOS: i128 = 1_000_000_000;

/// The text is no ISO-8601 time between the years 0 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO-8601 time")]
pub struct NotATime;

/// Why the time of an eval run is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotARunTime {
    /// It cannot be read.
    #[error(transparent)]
    NotATime(#[from] NotATime),
    /// Some clients cannot read it.
    #[error("must be written as 2026-06-07T00:00:01.766Z, or with an offset such as +02:00")]
    Uncommon,
    /// No clock that is set shows it.
    #[error("must be a time from 2000-01-01 to the end of 2099, in UTC")]
    OutOfRange,
}

impl RanAt {
    /// Reads the time of an eval run that is to be stored. Seconds taken for milliseconds, an unset clock and a
    /// wrong century are errors of the producer: such a row would stay at an end of the feed for ever.
    ///
    /// Its row is served to the byte, so the notation must be one that every client reads: see `is_common`.
    ///
    /// # Errors
    /// [`NotARunTime`].
    pub fn of_run(text: &str) -> Result<Self, NotARunTime> {
        let time = Self::parse(text)?;
        if !is_common(text) {
            return Err(NotARunTime::Uncommon);
        }
        // The order of the text is the order of time.
        if ("2000".."2100").contains(&time.as_str()) {
            Ok(time)
        } else {
            Err(NotARunTime::OutOfRange)
        }
    }

    /// Reads an ISO-8601 time: with `Z`, a numeric offset or neither (then it is UTC), with or
    /// without fractions; a date alone is its midnight. Digits below the millisecond are dropped.
    ///
    /// # Errors
    /// [`NotATime`] for anything else, a time-zone annotation in brackets included.
    pub fn parse(text: &str) -> Result<Self, NotATime> {
        let pieces = Pieces::parse(text).map_err(|_| NotATime)?;
        if pieces.time_zone_annotation().is_some() {
            return Err(NotATime);
        }
        let local = DateTime::from_parts(pieces.date(), pieces.time().unwrap_or(Time::midnight()));
        let offset_secs = pieces
            .to_numeric_offset()
            .map_or(0, jiff::tz::Offset::seconds);
        let utc = local
            .checked_sub(SignedDuration::from_secs(offset_secs.into()))
            .map_err(|_| NotATime)?;
        // Four digits of year are what keeps the order of text and of time the same.
        if utc.year() < 0 {
            return Err(NotATime);
        }
        Ok(Self(format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            utc.year(),
            utc.month(),
            utc.day(),
            utc.hour(),
            utc.minute(),
            utc.second(),
            utc.millisecond(),
        )))
    }

    /// Reads a time of the command line: a date such as `2026-06-01`, or an RFC 3339 §5.6 time with its zone. Leap seconds
    /// are refused, and so is what only ISO 8601 allows: whoever types `20260601` may mean a number.
    ///
    /// # Errors
    /// [`NotAnOption`].
    pub fn of_option(text: &str) -> Result<Self, NotAnOption> {
        let has_zone =
            text.ends_with('Z') || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
        if has_form(text.as_bytes(), b"dddd-dd-dd") || (has_zone && is_common(text)) {
            return Self::parse(text).map_err(|NotATime| NotAnOption);
        }
        Err(NotAnOption)
    }

    /// Reads a time that came in a query string, where an unencoded `+` of the offset has been
    /// decoded to a space: `2026-06-07T00:00:01 00:00` means `…+00:00`.
    ///
    /// # Errors
    /// Those of [`RanAt::parse`].
    pub fn parse_query(text: &str) -> Result<Self, NotATime> {
        // A space at position 10 stands between date and time; a later one can only be a lost plus.
        match text.rfind(' ') {
            Some(at) if at > 10 => Self::parse(&format!("{}+{}", &text[..at], &text[at + 1..])),
            _ => Self::parse(text),
        }
    }

    /// Returns the whole second that the time is in; `None` outside of the years 0 to 9999.
    pub fn second_of(time: SystemTime) -> Option<Self> {
        let time = Timestamp::try_from(time).ok()?;
        let second = Timestamp::from_second(time.as_nanosecond().div_euclid(NANOS) as i64).ok()?;
        Self::parse(&second.to_string()).ok()
    }

    /// Returns the last multiple of `step` since 1970 that is at least `step` earlier, in whole seconds; the year 0 if it
    /// would be before that. Times that follow each other closely give the same.
    #[must_use]
    pub fn before(&self, step: Duration) -> Self {
        let step = i64::try_from(step.as_secs()).unwrap_or(i64::MAX).max(1);
        let earlier = self.0.parse::<Timestamp>().ok().and_then(|time| {
            let multiples = time.as_second().div_euclid(step) - 1;
            Timestamp::from_second(multiples.checked_mul(step)?).ok()
        });
        let earlier = earlier.and_then(|time| Self::parse(&time.to_string()).ok());
        earlier.unwrap_or_else(|| Self("0000-01-01T00:00:00.000Z".to_owned()))
    }

    /// Returns the stored form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether a valid time has the notation that all common clients read: that of RFC 3339 §5.6 with a capital
/// `T` and `Z` and without a leap second, except that the zone may be missing (then it is UTC).
///
/// | refused | because |
/// |---|---|
/// | a date alone, or without seconds | Go and Rust need all of it |
/// | a space or `t` between date and time, `z` | ECMAScript defines neither; JavaScript engines differ |
/// | second 60 | neither Python nor JavaScript reads it |
/// | a comma before the fraction, `20260607T000001Z`, `+02`, `+0200` | JavaScript, Go and Rust do not read it |
/// | an offset beyond 14:00 | no zone has one, and .NET refuses it; Python and JavaScript refuse 24:00 |
/// | an offset with seconds | ECMAScript does not define it |
fn is_common(text: &str) -> bool {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let Some((time, mut rest)) = text.as_bytes().split_at_checked(FORM.len()) else {
        return false;
    };
    if !has_form(time, FORM) || time[17..] > b"59"[..] {
        return false;
    }
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit());
        // At least one: a time with a point and no digits is not valid.
        rest = &fraction[digits.count()..];
    }
    match rest {
        [] | b"Z" => true,
        [b'+' | b'-', offset @ ..] => has_form(offset, b"dd:dd") && offset <= &b"14:00"[..],
        _ => false,
    }
}

/// Returns whether the text is `form`, where `d` stands for a digit.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        form => byte == form,
    };
    text.len() == form.len() && text.iter().zip(form).all(fits)
}

impl fmt::Display for RanAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
