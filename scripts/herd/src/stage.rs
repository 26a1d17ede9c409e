//! A stage of a run, as it is written: `ramp 10s to 500/s`, `hold 1m at 500/s`, `burst 1000`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use crate::quantity::{NotAQuantity, parse_duration, parse_rate};

/// A burst has at most this many polls.
const LARGEST_BURST: u32 = 1_000_000;

/// A part of the schedule of all pollers together. Rates are in polls per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    /// The rate rises or falls evenly.
    Ramp {
        /// How long the rate takes to change.
        length: Duration,
        /// The rate at its beginning; `None` for that of the end of the stage before, or zero.
        from: Option<f64>,
        /// The rate at its end.
        to: f64,
    },
    /// The rate stays.
    Hold {
        /// How long the rate stays.
        length: Duration,
        /// The rate.
        at: f64,
    },
    /// So many polls are due at one moment.
    Burst {
        /// The number of polls.
        polls: u32,
    },
}

/// Reasons why a text is not a stage.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotAStage {
    /// The words are not those of a stage.
    #[error(
        "expected 'ramp 10s to 500/s', 'ramp 10s from 5/s to 500/s', 'hold 1m at 500/s' or 'burst 1000'"
    )]
    Words,
    /// A number or its unit is invalid.
    #[error(transparent)]
    Quantity(#[from] NotAQuantity),
    /// The number of polls of a burst is invalid.
    #[error("a burst has 1 to {LARGEST_BURST} polls, not '{0}'")]
    Polls(String),
}

impl FromStr for Stage {
    type Err = NotAStage;

    fn from_str(text: &str) -> Result<Self, NotAStage> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["ramp", length, "to", to] => Ok(Self::Ramp {
                length: parse_duration(length)?,
                from: None,
                to: parse_rate(to)?,
            }),
            ["ramp", length, "from", from, "to", to] => Ok(Self::Ramp {
                length: parse_duration(length)?,
                from: Some(parse_rate(from)?),
                to: parse_rate(to)?,
            }),
            ["hold", length, "at", at] => Ok(Self::Hold {
                length: parse_duration(length)?,
                at: parse_rate(at)?,
            }),
            ["burst", polls] => {
                let number = polls.parse().ok();
                let number = number.filter(|polls| (1..=LARGEST_BURST).contains(polls));
                number
                    .map(|polls| Self::Burst { polls })
                    .ok_or_else(|| NotAStage::Polls((*polls).to_owned()))
            }
            _ => Err(NotAStage::Words),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ramp { length, from, to } => {
                write!(f, "ramp {}s", length.as_secs_f64())?;
                if let Some(from) = from {
                    write!(f, " from {from}/s")?;
                }
                write!(f, " to {to}/s")
            }
            Self::Hold { length, at } => write!(f, "hold {}s at {at}/s", length.as_secs_f64()),
            Self::Burst { polls } => write!(f, "burst {polls}"),
        }
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
