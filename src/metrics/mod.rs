//! What the server tells of itself, in Prometheus' text format.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry, TextEncoder};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// From the rebuild of a small board, 50 µs, to the default timeout.
const BUILD_SECONDS: [f64; 9] = [50e-6, 200e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 1.0, 5.0];

/// The server's counters, in a registry of their own. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    builds: IntCounterVec,
    build_seconds: Histogram,
    feed_pages: IntCounterVec,
}

/// How a build of the board ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildOutcome {
    /// With a snapshot.
    Built,
    /// With an error or a panic.
    Failed,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// Where a name is invalid or taken, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let builds = Opts::new(
            "publisher_board_builds_total",
            "Builds of the board from the database, by outcome.",
        );
        let build_seconds = HistogramOpts::new(
            "publisher_board_build_seconds",
            "Time a build of the board took, the wait for a connection included.",
        );
        let feed_pages = Opts::new(
            "publisher_feed_pages_total",
            "Pages of the feed asked for, by where they came from: held, joined to a read under way, made of the tail in memory, or read.",
        );
        let metrics = Self {
            registry: Registry::new(),
            builds: IntCounterVec::new(builds, &["outcome"])?,
            build_seconds: Histogram::with_opts(build_seconds.buckets(BUILD_SECONDS.to_vec()))?,
            feed_pages: IntCounterVec::new(feed_pages, &["from"])?,
        };
        metrics
            .registry
            .register(Box::new(metrics.builds.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.build_seconds.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.feed_pages.clone()))?;
        // A counter that has counted nothing yet says 0 instead of being absent.
        for outcome in [BuildOutcome::Built, BuildOutcome::Failed] {
            metrics.builds.with_label_values(&[outcome.label()]);
        }
        for from in ["held", "joined", "tail", "read"] {
            metrics.feed_pages.with_label_values(&[from]);
        }
        Ok(metrics)
    }

    /// Counts a page that was held.
    pub fn feed_page_held(&self) {
        self.feed_pages.with_label_values(&["held"]).inc();
    }

    /// Counts a page that somebody was reading already.
    pub fn feed_page_joined(&self) {
        self.feed_pages.with_label_values(&["joined"]).inc();
    }

    /// Counts a page that is made of the newest rows.
    pub fn feed_page_from_tail(&self) {
        self.feed_pages.with_label_values(&["tail"]).inc();
    }

    /// Counts a page that is read.
    pub fn feed_page_read(&self) {
        self.feed_pages.with_label_values(&["read"]).inc();
    }

    /// Counts a build that took `time`.
    pub fn build_ended(&self, outcome: BuildOutcome, time: Duration) {
        self.builds.with_label_values(&[outcome.label()]).inc();
        self.build_seconds.observe(time.as_secs_f64());
    }

    /// All of them, as text.
    ///
    /// # Errors
    /// Where a metric has no name, which is a mistake in this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl BuildOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Failed => "failed",
        }
    }
}
