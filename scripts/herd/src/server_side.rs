//! What the server tells of itself while it is loaded: rebuilds, processor time, memory.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::time::{Instant, interval, timeout};

use crate::{
    exchange::client,
    plan::{Counter, Plan},
    processes,
    run::{Growth, Rebuilds, ServerUse},
};

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(250);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct ServerSide {
    began: Option<Instant>,
    first: Option<u64>,
    last: u64,
    seen: Vec<Growth>,
    cpu_before: f64,
    cpu_secs: f64,
    pss_bytes: u64,
}

impl ServerSide {
    /// The count of rebuilds, where it could be had.
    pub(super) fn rebuilds(&self) -> Option<Rebuilds> {
        Some(Rebuilds {
            total: self.last - self.first?,
            seen: self.seen.clone(),
        })
    }

    /// What the processes used.
    pub(super) fn server_use(&self) -> ServerUse {
        ServerUse {
            cpu_secs: self.cpu_secs - self.cpu_before,
            pss_bytes: self.pss_bytes,
        }
    }

    fn counted(&mut self, count: u64, now: Instant) {
        // A server that was started anew counts from zero again.
        if self.first.is_none() || count < self.last {
            self.first = Some(count);
        } else if let (true, Some(began)) = (count > self.last, self.began) {
            self.seen.push(Growth {
                at: (now - began).as_secs_f64(),
                count: count - self.last,
            });
        }
        self.last = count;
    }
}

/// The first look, before the load.
pub(super) async fn begin(plan: &Plan) -> Rc<RefCell<ServerSide>> {
    let side = Rc::new(RefCell::new(ServerSide::default()));
    look(plan, &side).await;
    let mut first = side.borrow_mut();
    first.cpu_before = first.cpu_secs;
    first.began = Some(Instant::now());
    drop(first);
    side
}

/// Looks again and again, for ever.
pub(super) async fn watch(plan: Rc<Plan>, side: Rc<RefCell<ServerSide>>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        look(&plan, &side).await;
    }
}

/// One look.
pub(super) async fn look(plan: &Plan, side: &RefCell<ServerSide>) {
    if let Some(counter) = &plan.metrics {
        // A server that is too busy to tell is asked again soon.
        if let Ok(Some(count)) = timeout(Duration::from_secs(2), read(counter)).await {
            side.borrow_mut().counted(count, Instant::now());
        }
    }
    if !plan.server_pids.is_empty() {
        let used = processes::used(&plan.server_pids);
        let mut side = side.borrow_mut();
        // Processes that have ended take their time with them.
        side.cpu_secs = side.cpu_secs.max(used.cpu_secs);
        side.pss_bytes = side.pss_bytes.max(used.pss_bytes);
    }
}

async fn read(counter: &Counter) -> Option<u64> {
    let mut answer = client().get(counter.url.clone()).send().await.ok()?;
    let body = answer.body().limit(16 << 20).await.ok()?;
    sum(std::str::from_utf8(&body).ok()?, &counter.name)
}

/// The sum of a counter's series in Prometheus' text format.
fn sum(text: &str, name: &str) -> Option<u64> {
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // The name, and not one that only begins with it.
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        // Labels may hold spaces; what follows the last brace is the value, and perhaps a time.
        let value = rest.rsplit('}').next()?.split_whitespace().next()?;
        value.parse::<f64>().ok()
    });
    let series: Vec<f64> = series.collect();
    (!series.is_empty()).then(|| series.iter().sum::<f64>() as u64)
}
