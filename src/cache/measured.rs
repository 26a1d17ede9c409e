//! Counts and times the builds of another builder.

use std::{sync::Arc, time::Instant};

use super::build::{BuildError, BuildSnapshot, Built};
use crate::metrics::{BuildOutcome, Metrics};

/// The builder that is measured, and where its builds are counted.
#[derive(Debug)]
pub struct Measured {
    /// What builds.
    pub inner: Arc<dyn BuildSnapshot>,
    /// What counts.
    pub metrics: Metrics,
}

/// Counts when it is dropped, so that a build that panics is counted too.
struct Count<'a> {
    metrics: &'a Metrics,
    begun: Instant,
    outcome: BuildOutcome,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.metrics.build_ended(self.outcome, self.begun.elapsed());
    }
}

impl BuildSnapshot for Measured {
    fn build(&self, deadline: Instant) -> Result<Built, BuildError> {
        let mut count = Count {
            metrics: &self.metrics,
            begun: Instant::now(),
            outcome: BuildOutcome::Failed,
        };
        let built = self.inner.build(deadline)?;
        count.outcome = BuildOutcome::Built;
        Ok(built)
    }
}
