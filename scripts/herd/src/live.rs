//! The progress line of a run, on a terminal.

use std::{convert::Infallible, io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};

use crate::{progress::Progress, table::milliseconds};

/// Time between two updates.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// The progress of each shard.
pub(super) type Shown = Vec<watch::Receiver<Option<Progress>>>;

/// Updates the progress line until dropped. Shows nothing if stderr is not a terminal.
pub(super) async fn show(shards: Shown, began: Instant, duration: Duration) -> Infallible {
    if !std::io::stderr().is_terminal() {
        drop(shards);
        return std::future::pending().await;
    }
    let template = ProgressStyle::with_template("{bar:24} {msg}");
    let bar = ProgressBar::new(duration.as_millis() as u64)
        .with_style(template.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let bar = Cleared(bar);
    let mut ticks = interval(INTERVAL);
    let mut answered_before = 0;
    loop {
        ticks.tick().await;
        let Some(progress) = whole(&shards) else {
            continue;
        };
        let elapsed = began.elapsed();
        let answered = progress.answered.saturating_sub(answered_before);
        let rate = answered as f64 / INTERVAL.as_secs_f64();
        answered_before = progress.answered;
        bar.0.set_position(elapsed.as_millis() as u64);
        bar.0.set_message(format!(
            "{}/{} s, {rate:.0} answered/s, {} in flight, p50 {}, p99 {}, {} timeouts, {} retries",
            elapsed.as_secs(),
            duration.as_secs(),
            progress.in_flight,
            milliseconds(progress.latency.quantile_ms(0.5)),
            milliseconds(progress.latency.quantile_ms(0.99)),
            progress.timeouts,
            progress.retries,
        ));
    }
}

/// Returns the progress of all shards together, if they have shown any.
fn whole(shards: &Shown) -> Option<Progress> {
    let mut all = shards.iter().filter_map(|shard| shard.borrow().clone());
    let mut whole = all.next()?;
    for progress in all {
        whole.merge(&progress).ok()?;
    }
    Some(whole)
}

/// A progress bar that is removed when dropped.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
