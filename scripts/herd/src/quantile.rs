//! The quantiles of a latency that results have: the only list of them.

use serde::{Deserialize, Serialize};

use crate::never;

/// A quantile, or the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantile {
    /// The median.
    P50,
    /// The 90th percentile.
    P90,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P999,
    /// The maximum.
    Max,
}

/// Quantiles in milliseconds. Infinite, in JSON `"never"`, if a quantile falls among polls without a response; `None`, in JSON
/// `null`, if there were no polls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// The median.
    #[serde(with = "never")]
    pub p50_ms: Option<f64>,
    /// The 90th percentile.
    #[serde(with = "never")]
    pub p90_ms: Option<f64>,
    /// The 95th percentile.
    #[serde(with = "never")]
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    #[serde(with = "never")]
    pub p99_ms: Option<f64>,
    /// The 99.9th percentile.
    #[serde(with = "never")]
    pub p999_ms: Option<f64>,
    /// The maximum.
    #[serde(with = "never")]
    pub max_ms: Option<f64>,
}

impl Quantile {
    /// All quantiles, ascending.
    pub(super) const ALL: [Self; 6] = [
        Self::P50,
        Self::P90,
        Self::P95,
        Self::P99,
        Self::P999,
        Self::Max,
    ];

    /// Returns its name in tables and conditions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        }
    }

    /// Returns the share of polls that are not slower.
    fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
            Self::Max => 1.0,
        }
    }

    /// Returns this quantile of a latency, in milliseconds.
    pub(super) fn of(self, latency: &Latency) -> Option<f64> {
        match self {
            Self::P50 => latency.p50_ms,
            Self::P90 => latency.p90_ms,
            Self::P95 => latency.p95_ms,
            Self::P99 => latency.p99_ms,
            Self::P999 => latency.p999_ms,
            Self::Max => latency.max_ms,
        }
    }

    /// Returns the quantile of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|quantile| quantile.name() == name)
    }

    /// Returns all names, for a sentence.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl Latency {
    /// Returns the quantiles that `at` has for each share, from 0 to 1.
    pub(super) fn of(at: impl Fn(f64) -> Option<f64>) -> Self {
        let at = |quantile: Quantile| at(quantile.share());
        Self {
            p50_ms: at(Quantile::P50),
            p90_ms: at(Quantile::P90),
            p95_ms: at(Quantile::P95),
            p99_ms: at(Quantile::P99),
            p999_ms: at(Quantile::P999),
            max_ms: at(Quantile::Max),
        }
    }
}
