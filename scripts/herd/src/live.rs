//! The line that shows how a run goes, on a terminal.

use std::{cell::RefCell, io::IsTerminal, rc::Rc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval};

use crate::{table::milliseconds, tally::Tally};

const LOOK: Duration = Duration::from_millis(250);

/// Shows it for ever. On anything but a terminal there is no line, as nobody watches it.
pub(super) async fn show(tally: Rc<RefCell<Tally>>, began: Instant, duration: Duration) {
    if !std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let template = ProgressStyle::with_template("{bar:24} {msg}");
    let bar = ProgressBar::new(duration.as_millis() as u64)
        .with_style(template.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let bar = Cleared(bar);
    let mut looks = interval(LOOK);
    let mut answered_before = 0;
    loop {
        looks.tick().await;
        let glance = tally.borrow().glance();
        let elapsed = began.elapsed();
        let rate = (glance.answered - answered_before) as f64 / LOOK.as_secs_f64();
        answered_before = glance.answered;
        bar.0.set_position(elapsed.as_millis() as u64);
        bar.0.set_message(format!(
            "{}/{} s, {rate:.0} answered/s, {} in flight, p50 {}, p99 {}, {} time-outs, {} retries",
            elapsed.as_secs(),
            duration.as_secs(),
            glance.in_flight,
            milliseconds(glance.p50_ms),
            milliseconds(glance.p99_ms),
            glance.timeouts,
            glance.retries,
        ));
    }
}

/// Leaves no line behind, however the run ends.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
