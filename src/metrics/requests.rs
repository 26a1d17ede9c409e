//! Request counters: each worker has its own, and a scrape adds them up.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

/// Upper bounds of the latency buckets, in seconds: from a 304 to the longest timeout.
const LATENCY_SECONDS: [f64; 11] = [
    25e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// Statuses that are counted one by one; any other status is counted as `other`.
const STATUSES: [u16; 22] = [
    200, 204, 206, 304, 400, 401, 404, 405, 406, 408, 409, 412, 413, 414, 415, 416, 422, 429, 431,
    500, 502, 503,
];

/// The route of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// active-challenges.
    Board,
    /// active-challenges/changes.
    Changes,
    /// current-challenge.
    Current,
    /// active-cnf.
    Formula,
    /// leaderboard/recent.
    Feed,
    /// /v1/events.
    Events,
    /// /.well-known/cathedral-jwks.json.
    Jwks,
    /// /health and the paths below it.
    Health,
    /// /metrics.
    Metrics,
    /// /openapi.json.
    Description,
    /// The page for browsers.
    Page,
    /// The admin routes.
    Admin,
    /// The path matches no route.
    None,
}

impl Route {
    const ALL: [Self; 13] = [
        Self::Board,
        Self::Changes,
        Self::Current,
        Self::Formula,
        Self::Feed,
        Self::Events,
        Self::Jwks,
        Self::Health,
        Self::Metrics,
        Self::Description,
        Self::Page,
        Self::Admin,
        Self::None,
    ];

    /// Returns whether it is served under the public prefix too, without authentication.
    pub fn is_public(self) -> bool {
        matches!(
            self,
            Self::Board
                | Self::Changes
                | Self::Current
                | Self::Formula
                | Self::Feed
                | Self::Events
                | Self::Jwks
                | Self::Health
        )
    }

    /// Returns its name in labels and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Board => "active-challenges",
            Self::Changes => "changes",
            Self::Current => "current-challenge",
            Self::Formula => "active-cnf",
            Self::Feed => "leaderboard",
            Self::Events => "events",
            Self::Jwks => "jwks",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Description => "openapi",
            Self::Page => "page",
            Self::Admin => "admin",
            Self::None => "none",
        }
    }
}

/// The request counters of one worker, whose thread is the only one that writes them.
#[derive(Debug, Default)]
pub struct RequestCounters {
    routes: [RouteCounters; Route::ALL.len()],
    saved_by_304_bytes: AtomicU64,
    saved_by_coding_bytes: AtomicU64,
    stale: AtomicU64,
    fast: AtomicU64,
}

#[derive(Debug, Default)]
struct RouteCounters {
    /// One for each of [`STATUSES`], and one for all others.
    statuses: [AtomicU64; STATUSES.len() + 1],
    /// One for each of [`LATENCY_SECONDS`], not cumulative, and one for longer times.
    latencies: [AtomicU64; LATENCY_SECONDS.len() + 1],
    nanos: AtomicU64,
    body_bytes: AtomicU64,
}

impl RequestCounters {
    /// Counts an answered request. `time` is from the end of its head to the answer; `body_bytes` is the length
    /// of the body to send.
    pub fn answered(&self, route: Route, status: u16, time: Duration, body_bytes: u64) {
        let counters = &self.routes[route as usize];
        let status = STATUSES.iter().position(|&known| known == status);
        add(&counters.statuses[status.unwrap_or(STATUSES.len())], 1);
        let seconds = time.as_secs_f64();
        let bucket = LATENCY_SECONDS.partition_point(|&bound| bound < seconds);
        add(&counters.latencies[bucket], 1);
        add(
            &counters.nanos,
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        );
        add(&counters.body_bytes, body_bytes);
    }

    /// Counts an answer from the snapshot if that is stale.
    pub fn from_snapshot(&self, stale: bool) {
        if stale {
            add(&self.stale, 1);
        }
    }

    /// Counts an answer of the board on the fast path.
    pub fn on_fast_path(&self) {
        add(&self.fast, 1);
    }

    /// Counts bytes of bodies that were not sent: whole bodies that the client has (304), and the bytes that
    /// content codings saved.
    pub fn saved(&self, not_modified_bytes: usize, coding_bytes: usize) {
        add(&self.saved_by_304_bytes, not_modified_bytes as u64);
        add(&self.saved_by_coding_bytes, coding_bytes as u64);
    }
}

/// Adds to a counter that only this thread writes: an atomic addition would cost more.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Relaxed).wrapping_add(more), Relaxed);
}

/// The request counters of all workers. Cheap to clone; clones share the counters.
#[derive(Debug, Clone)]
pub struct Requests {
    workers: Arc<Mutex<Vec<Arc<RequestCounters>>>>,
    answered: Desc,
    seconds: Desc,
    body: Desc,
    saved: Desc,
    stale: Desc,
    fast: Desc,
}

impl Requests {
    /// Counters without a worker.
    ///
    /// # Errors
    /// If a name is invalid, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(|&label| label.to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, Default::default())
        };
        Ok(Self {
            workers: Arc::default(),
            answered: desc(
                "publisher_http_requests_total",
                "Requests answered, by route and status.",
                &["route", "status"],
            )?,
            seconds: desc(
                "publisher_http_request_duration_seconds",
                "Time from the head of a request to the head of its answer, by route.",
                &["route"],
            )?,
            body: desc(
                "publisher_http_response_body_bytes_total",
                "Bytes of bodies sent, as they were coded, by route.",
                &["route"],
            )?,
            saved: desc(
                "publisher_http_saved_bytes_total",
                "Bytes of bodies that did not have to be sent: whole ones that the client had (304), and what a content coding made shorter.",
                &["by"],
            )?,
            stale: desc(
                "publisher_board_stale_answers_total",
                "Answers of the board that were past their time while it was being rebuilt.",
                &[],
            )?,
            fast: desc(
                "publisher_http_fast_path_requests_total",
                "Requests of the board that were answered without the framework; the others were unusual.",
                &[],
            )?,
        })
    }

    /// Adds a worker, and returns its counters.
    pub fn worker(&self) -> Arc<RequestCounters> {
        let counters = Arc::new(RequestCounters::default());
        self.workers().push(Arc::clone(&counters));
        counters
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<RequestCounters>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, count: impl Fn(&RequestCounters) -> &AtomicU64) -> u64 {
        self.workers()
            .iter()
            .map(|counters| count(counters).load(Relaxed))
            .sum()
    }

    fn answered(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for route in Route::ALL {
            let names = STATUSES
                .iter()
                .map(u16::to_string)
                .chain(["other".to_owned()]);
            for (at, status) in names.enumerate() {
                let count = self.sum(|counters| &counters.routes[route as usize].statuses[at]);
                // A series that begins with its first request has no rate then: those that alarms watch are shown
                // from the start.
                let is_watched = |code: &u16| matches!(code, 200 | 304 | 500..);
                let is_watched = STATUSES.get(at).is_some_and(is_watched);
                if count > 0 || is_watched {
                    metrics.push(counter(
                        &[("route", route.label()), ("status", &status)],
                        count,
                    ));
                }
            }
        }
        metrics
    }

    fn seconds(&self) -> Vec<Metric> {
        let routes = Route::ALL.into_iter();
        routes
            .map(|route| {
                let at = |bucket: usize| {
                    self.sum(|counters| &counters.routes[route as usize].latencies[bucket])
                };
                let mut so_far = 0;
                let mut buckets = Vec::new();
                for (bucket, bound) in LATENCY_SECONDS.into_iter().enumerate() {
                    so_far += at(bucket);
                    let mut written = Bucket::default();
                    written.set_upper_bound(bound);
                    written.set_cumulative_count(so_far);
                    buckets.push(written);
                }
                let nanos = self.sum(|counters| &counters.routes[route as usize].nanos);
                let mut histogram = Histogram::default();
                histogram.set_sample_count(so_far + at(LATENCY_SECONDS.len()));
                histogram.set_sample_sum(nanos as f64 / 1e9);
                histogram.set_bucket(buckets);
                let mut metric = Metric::from_label(labels(&[("route", route.label())]));
                metric.set_histogram(histogram);
                metric
            })
            .collect()
    }

    fn body(&self) -> Vec<Metric> {
        let routes = Route::ALL.into_iter();
        routes
            .map(|route| {
                let bytes = self.sum(|counters| &counters.routes[route as usize].body_bytes);
                counter(&[("route", route.label())], bytes)
            })
            .collect()
    }

    fn saved(&self) -> Vec<Metric> {
        vec![
            counter(
                &[("by", "304")],
                self.sum(|counters| &counters.saved_by_304_bytes),
            ),
            counter(
                &[("by", "coding")],
                self.sum(|counters| &counters.saved_by_coding_bytes),
            ),
        ]
    }
}

impl Collector for Requests {
    fn desc(&self) -> Vec<&Desc> {
        vec![
            &self.answered,
            &self.seconds,
            &self.body,
            &self.saved,
            &self.stale,
            &self.fast,
        ]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let alone = |desc, count: fn(&RequestCounters) -> &AtomicU64| {
            let metrics = vec![counter(&[], self.sum(count))];
            family(desc, MetricType::COUNTER, metrics)
        };
        vec![
            family(&self.answered, MetricType::COUNTER, self.answered()),
            family(&self.seconds, MetricType::HISTOGRAM, self.seconds()),
            family(&self.body, MetricType::COUNTER, self.body()),
            family(&self.saved, MetricType::COUNTER, self.saved()),
            alone(&self.stale, |counters| &counters.stale),
            alone(&self.fast, |counters| &counters.fast),
        ]
    }
}

fn family(desc: &Desc, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn counter(names: &[(&str, &str)], count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::from_label(labels(names));
    metric.set_counter(counter);
    metric
}

fn labels(names: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    names.iter().map(pair).collect()
}
