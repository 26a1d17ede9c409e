//! The progress line of a run, on a terminal.

use std::{cell::RefCell, io::IsTerminal, rc::Rc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval};

use crate::{table::milliseconds, tally::Tally};

const INTERVAL: Duration = Duration::from_millis(250);

/// Updates the progress line until dropped. Shows nothing if stderr is not a terminal.
pub(super) async fn show(tally: Rc<RefCell<Tally>>, began: Instant, duration: Duration) {
    if !std::io::stderr().is_terminal() {
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
        let progress = tally.borrow().progress();
        let elapsed = began.elapsed();
        let rate = (progress.answered - answered_before) as f64 / INTERVAL.as_secs_f64();
        answered_before = progress.answered;
        bar.0.set_position(elapsed.as_millis() as u64);
        bar.0.set_message(format!(
            "{}/{} s, {rate:.0} answered/s, {} in flight, p50 {}, p99 {}, {} timeouts, {} retries",
            elapsed.as_secs(),
            duration.as_secs(),
            progress.in_flight,
            milliseconds(progress.p50_ms),
            milliseconds(progress.p99_ms),
            progress.timeouts,
            progress.retries,
        ));
    }
}

/// A progress bar that is removed when dropped.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
