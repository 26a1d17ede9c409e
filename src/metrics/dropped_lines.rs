//! Lines of the log that were dropped: they are counted before there are other metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus::{
    IntCounter,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Counts lines of the log that were dropped. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct DroppedLines(Arc<AtomicU64>);

impl DroppedLines {
    /// Counts lines.
    pub fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Relaxed);
    }

    pub(super) fn collector(&self) -> Result<impl Collector + use<>, prometheus::Error> {
        Ok(Collected {
            new: Arc::clone(&self.0),
            counter: IntCounter::new(
                "publisher_log_lines_dropped_total",
                "Lines of the log that were dropped because stderr was full, slow or closed.",
            )?,
        })
    }
}

struct Collected {
    /// Lines since the last scrape.
    new: Arc<AtomicU64>,
    counter: IntCounter,
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.counter.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.counter.inc_by(self.new.swap(0, Relaxed));
        self.counter.collect()
    }
}
