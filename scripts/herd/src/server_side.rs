//! The server's rebuilds, processor time and memory during a run.

use std::{cell::RefCell, convert::Infallible, rc::Rc, time::Duration};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval, timeout};

use crate::{
    HerdError,
    connections::Connections,
    course::Course,
    plan::{Counter, Plan},
    processes,
    response::Keep,
    sockets::Sockets,
};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(250);
/// Time limit of each further sample.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit of the first sample.
const FIRST_TIMEOUT: Duration = Duration::from_secs(5);

/// Values of the server's counter of rebuilds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rebuilds {
    /// Rebuilds in the whole run.
    pub total: u64,
    /// Increases, in the order of time.
    pub seen: Vec<Growth>,
}

/// An increase of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// When it was noticed, in seconds of the run.
    pub at: f64,
    /// The increase.
    pub count: u64,
}

/// Processor time and memory of the server's processes, including their children.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Processor time in the run, user and system, in seconds.
    pub cpu_secs: f64,
    /// Maximum of the proportional set size, in bytes.
    pub pss_bytes: u64,
    /// The processes that have ended during the run: their processor time is that up to the last sample before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// A process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gone {
    /// Its id.
    pub pid: i32,
    /// When that was noticed, in seconds of the run.
    pub at: f64,
}

/// The figures so far.
#[derive(Debug, Default)]
pub(super) struct ServerSide {
    /// When the load begins.
    pub began: Option<Instant>,
    /// Whether the counter was there.
    is_known: bool,
    /// The last value of the counter.
    last: Option<u64>,
    total: u64,
    seen: Vec<Growth>,
    cpu_before: f64,
    cpu_secs: f64,
    pss_bytes: u64,
    gone: Vec<Gone>,
}

impl ServerSide {
    /// Returns the rebuilds, if there is a counter.
    pub(super) fn rebuilds(&self) -> Option<Rebuilds> {
        if !self.is_known {
            return None;
        }
        Some(Rebuilds {
            total: self.total,
            seen: self.seen.clone(),
        })
    }

    /// Returns processor time and memory.
    pub(super) fn server_use(&self) -> ServerUse {
        ServerUse {
            cpu_secs: self.cpu_secs - self.cpu_before,
            pss_bytes: self.pss_bytes,
            gone: self.gone.clone(),
        }
    }

    /// Notes that these processes are not there.
    fn ended(&mut self, pids: Vec<i32>, now: Instant) {
        for pid in pids {
            if self.gone.iter().all(|gone| gone.pid != pid) {
                let since = self.began.map(|began| now - began);
                let at = since.unwrap_or_default().as_secs_f64();
                self.gone.push(Gone { pid, at });
            }
        }
    }

    fn counted(&mut self, count: u64, now: Instant) {
        // A restarted server counts from zero again.
        let grown = self.last.map_or(0, |last| match count < last {
            true => count,
            false => count - last,
        });
        if let (1.., Some(began)) = (grown, self.began) {
            self.seen.push(Growth {
                at: (now - began).as_secs_f64(),
                count: grown,
            });
        }
        self.total += grown;
        self.last = Some(count);
        self.is_known = true;
    }
}

/// Takes the first sample, before the load.
///
/// # Errors
/// [`HerdError::Metrics`] if the metrics cannot be read: the run would lack the rebuilds. The counter may be missing as long
/// as it is zero.
pub(super) async fn begin(plan: &Plan) -> Result<Rc<RefCell<ServerSide>>, HerdError> {
    let side = Rc::new(RefCell::new(ServerSide::default()));
    if let Some(counter) = &plan.metrics {
        let read = timeout(FIRST_TIMEOUT, read(counter)).await;
        let read = read.unwrap_or_else(|_| Err("no response in time".to_owned()));
        let count = read.map_err(|reason| HerdError::Metrics {
            url: counter.target.shown.clone(),
            reason,
        })?;
        let mut side = side.borrow_mut();
        side.last = Some(count.unwrap_or(0));
        side.is_known = count.is_some();
    }
    sample(plan, &side).await;
    let mut first = side.borrow_mut();
    first.cpu_before = first.cpu_secs;
    drop(first);
    Ok(side)
}

/// Takes samples until dropped.
pub(super) async fn watch(plan: &Plan, side: &RefCell<ServerSide>) -> Infallible {
    let mut ticks = interval(INTERVAL);
    loop {
        ticks.tick().await;
        sample(plan, side).await;
    }
}

/// Takes one sample.
pub(super) async fn sample(plan: &Plan, side: &RefCell<ServerSide>) {
    if let Some(counter) = &plan.metrics {
        // A server that is too busy to respond is sampled again soon.
        if let Ok(Ok(Some(count))) = timeout(TIMEOUT, read(counter)).await {
            side.borrow_mut().counted(count, Instant::now());
        }
    }
    if !plan.server_pids.is_empty() {
        let used = processes::used(&plan.server_pids);
        let gone = processes::gone(&plan.server_pids);
        let mut side = side.borrow_mut();
        // The time of a process that has ended is no longer visible.
        side.cpu_secs = side.cpu_secs.max(used.cpu_secs);
        side.pss_bytes = side.pss_bytes.max(used.pss_bytes);
        side.ended(gone, Instant::now());
    }
}

async fn read(counter: &Counter) -> Result<Option<u64>, String> {
    let target = &counter.target;
    let request = || target.request(Method::GET, Bytes::new());
    let connections = Connections::new(0, None, Rc::new(Sockets::new(1, 1)));
    let place = connections.place(&target.origin, || {}).await;
    let course = Course::default();
    let answer = connections.send(place, Keep::Body, request, &course);
    let answer = answer.await.map_err(|lost| lost.failed.detail)?;
    if !answer.status.is_success() {
        return Err(answer.status.to_string());
    }
    let text = std::str::from_utf8(&answer.body).map_err(|error| error.to_string())?;
    Ok(sum(text, &counter.name))
}

/// Returns the sum of a counter's series in Prometheus' text format.
fn sum(text: &str, name: &str) -> Option<u64> {
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // A longer name may have this one as its prefix.
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        // Labels may contain spaces. The value follows the last brace, and a timestamp may follow the value.
        let value = rest.rsplit('}').next()?.split_whitespace().next()?;
        value.parse::<f64>().ok()
    });
    let series: Vec<f64> = series.collect();
    (!series.is_empty()).then(|| series.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    #[test]
    fn rebuilds_from_before_and_after_a_restart_of_the_server_are_added() {
        let now = Instant::now();
        let mut side = ServerSide {
            began: Some(now),
            ..ServerSide::default()
        };
        for count in [10, 12, 12, 1, 4] {
            side.counted(count, now);
        }
        let rebuilds = side.rebuilds().unwrap();
        assert_eq!(rebuilds.total, 6);
        let seen: Vec<u64> = rebuilds.seen.iter().map(|growth| growth.count).collect();
        assert_eq!(seen, [2, 1, 3]);
    }
}
