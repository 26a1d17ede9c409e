//! Requests, counted by each worker for itself and added up when somebody asks.

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

/// Upper bounds, in seconds: from a 304 to the longest wait that there is.
const LATENCY_SECONDS: [f64; 11] = [
    25e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// What is answered apart; any other status is counted as `other`.
const STATUSES: [u16; 20] = [
    200, 204, 304, 400, 401, 404, 405, 406, 408, 409, 412, 413, 414, 415, 422, 429, 431, 500, 502,
    503,
];

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// active-challenges.
    Board,
    /// current-challenge.
    Current,
    /// leaderboard/recent.
    Feed,
    /// /health and what is below it.
    Health,
    /// /metrics.
    Metrics,
    /// /openapi.json.
    Description,
    /// The admin routes.
    Admin,
    /// No route.
    None,
}

impl Route {
    const ALL: [Self; 8] = [
        Self::Board,
        Self::Current,
        Self::Feed,
        Self::Health,
        Self::Metrics,
        Self::Description,
        Self::Admin,
        Self::None,
    ];

    /// Whether it is served with the public prefix, to everybody.
    pub fn is_public(self) -> bool {
        matches!(
            self,
            Self::Board | Self::Current | Self::Feed | Self::Health
        )
    }

    /// Its name among the labels and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Board => "active-challenges",
            Self::Current => "current-challenge",
            Self::Feed => "leaderboard",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Description => "openapi",
            Self::Admin => "admin",
            Self::None => "none",
        }
    }
}

/// The counts of one worker, which alone writes them.
#[derive(Debug, Default)]
pub struct Tally {
    routes: [RouteTally; Route::ALL.len()],
    saved_by_304_bytes: AtomicU64,
    saved_by_coding_bytes: AtomicU64,
    stale: AtomicU64,
    fast: AtomicU64,
}

#[derive(Debug, Default)]
struct RouteTally {
    /// By [`STATUSES`], and the others.
    statuses: [AtomicU64; STATUSES.len() + 1],
    /// By [`LATENCY_SECONDS`], not cumulative, and the longer ones.
    latencies: [AtomicU64; LATENCY_SECONDS.len() + 1],
    nanos: AtomicU64,
    body_bytes: AtomicU64,
}

impl Tally {
    /// A request was answered, `time` after its head was there; `body_bytes` are to be sent.
    pub fn answered(&self, route: Route, status: u16, time: Duration, body_bytes: u64) {
        let tally = &self.routes[route as usize];
        let status = STATUSES.iter().position(|&known| known == status);
        add(&tally.statuses[status.unwrap_or(STATUSES.len())], 1);
        let seconds = time.as_secs_f64();
        let bucket = LATENCY_SECONDS.partition_point(|&bound| bound < seconds);
        add(&tally.latencies[bucket], 1);
        add(
            &tally.nanos,
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        );
        add(&tally.body_bytes, body_bytes);
    }

    /// The board was answered, from a stale snapshot or a fresh one.
    pub fn from_snapshot(&self, stale: bool) {
        if stale {
            add(&self.stale, 1);
        }
    }

    /// The board was answered on the fast path.
    pub fn on_fast_path(&self) {
        add(&self.fast, 1);
    }

    /// Counts bytes of bodies that did not have to be sent: whole bodies that the client holds (304), and
    /// what content codings saved.
    pub fn saved(&self, not_modified_bytes: usize, coding_bytes: usize) {
        add(&self.saved_by_304_bytes, not_modified_bytes as u64);
        add(&self.saved_by_coding_bytes, coding_bytes as u64);
    }
}

/// One thread alone writes: an atomic addition would only cost.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Relaxed).wrapping_add(more), Relaxed);
}

/// All workers' counts. Cheap to clone; clones see the same workers.
#[derive(Debug, Clone)]
pub struct Requests {
    workers: Arc<Mutex<Vec<Arc<Tally>>>>,
    answered: Desc,
    seconds: Desc,
    body: Desc,
    saved: Desc,
    stale: Desc,
    fast: Desc,
}

impl Requests {
    /// No worker.
    ///
    /// # Errors
    /// Where a name is invalid, which is a mistake in this file.
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

    /// The counts of one more worker.
    pub fn worker(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        self.tallies().push(Arc::clone(&tally));
        tally
    }

    fn tallies(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Tally>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, count: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        self.tallies()
            .iter()
            .map(|tally| count(tally).load(Relaxed))
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
                let count = self.sum(|tally| &tally.routes[route as usize].statuses[at]);
                // 200 is there from the start, so that a rate has something to begin with.
                if count > 0 || at == 0 {
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
                    self.sum(|tally| &tally.routes[route as usize].latencies[bucket])
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
                let nanos = self.sum(|tally| &tally.routes[route as usize].nanos);
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
                let bytes = self.sum(|tally| &tally.routes[route as usize].body_bytes);
                counter(&[("route", route.label())], bytes)
            })
            .collect()
    }

    fn saved(&self) -> Vec<Metric> {
        vec![
            counter(
                &[("by", "304")],
                self.sum(|tally| &tally.saved_by_304_bytes),
            ),
            counter(
                &[("by", "coding")],
                self.sum(|tally| &tally.saved_by_coding_bytes),
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
        let alone = |desc, count: fn(&Tally) -> &AtomicU64| {
            let metrics = vec![counter(&[], self.sum(count))];
            family(desc, MetricType::COUNTER, metrics)
        };
        vec![
            family(&self.answered, MetricType::COUNTER, self.answered()),
            family(&self.seconds, MetricType::HISTOGRAM, self.seconds()),
            family(&self.body, MetricType::COUNTER, self.body()),
            family(&self.saved, MetricType::COUNTER, self.saved()),
            alone(&self.stale, |tally| &tally.stale),
            alone(&self.fast, |tally| &tally.fast),
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
