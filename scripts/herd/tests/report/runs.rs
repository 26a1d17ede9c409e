//! Runs whose course is made up: 40 polls per second, and what became of them.

use herd::{
    bands::{band, ends_ms},
    run::{FORMAT, Run},
};
use serde_json::{Value, json};

const TIMEOUT_MS: f64 = 1000.0;

/// What happened to polls and requests in one second.
#[derive(Clone, Copy)]
struct Second {
    due: u64,
    sent: u64,
    answered: u64,
    ms: f64,
}

fn run(name: &str, seconds: &[Second], length: f64) -> Run {
    let ends = ends_ms();
    let sum = |of: fn(&Second) -> u64| seconds.iter().map(of).sum::<u64>();
    let (due, sent, answered) = (
        sum(|second| second.due),
        sum(|second| second.sent),
        sum(|second| second.answered),
    );
    let slices: Vec<Value> = seconds
        .iter()
        .enumerate()
        .map(|(at, second)| {
            let mut histogram = vec![0; band(&ends, second.ms) + 1];
            *histogram.last_mut().unwrap() = second.answered;
            let failed = second.sent.saturating_sub(second.answered);
            let failures = if failed > 0 {
                json!({ "timed out": failed })
            } else {
                json!({})
            };
            json!({
                "at": at as f64 * length, "seconds": length, "due": second.due, "answered": second.answered,
                "attempts": second.sent, "failures": failures, "in_flight": second.sent,
                "latency": latency(Some(second.ms)), "histogram": histogram,
                "unanswered": second.due.saturating_sub(second.answered),
            })
        })
        .collect();
    let most = seconds
        .iter()
        .filter(|second| second.answered > 0)
        .map(|second| second.ms)
        .fold(0.0, f64::max);
    let within = answered as f64 / due.max(1) as f64;
    let quantile = |share: f64| match () {
        () if due == 0 => Value::Null,
        () if answered > 0 && within >= share => most.into(),
        () => "never".into(),
    };
    let failed = sent - answered.min(sent);
    let run = json!({
        "format": FORMAT, "name": name, "url": "http://127.0.0.1:8080/board", "began_at": "2026-01-01T00:00:00Z",
        "seconds": seconds.len() as f64 * length, "timeout_ms": TIMEOUT_MS,
        "pollers": {
            "clients": 600, "due": due, "answered": answered, "failed": due - answered.min(due), "missed": 0,
            "attempts": sent, "statuses": { "200": answered }, "in_flight": 0, "reopened": 0,
            "failures": if failed > 0 { json!({ "timed out": { "count": failed, "first": "no response" } }) } else { json!({}) },
            "retries_after_timeout": sent - due.min(sent), "retries_after_other": 0, "body_bytes": 1_000_000,
            "saved_bytes": 0, "rows": 0,
            "latency": { "p50_ms": quantile(0.5), "p90_ms": quantile(0.9), "p99_ms": quantile(0.99),
                "p999_ms": quantile(0.999), "max_ms": quantile(1.0) },
            "service": latency(Some(most)),
            "distribution": if answered > 0 { json!([{ "ms": most / 2.0, "share": 0 }, { "ms": most, "share": within }]) }
                else { json!([]) },
        },
        "validators": null, "writers": null, "bands_ms": ends, "slices": slices,
        "rebuilds": { "total": sent, "seen": seconds.iter().enumerate()
            .map(|(at, second)| json!({ "at": at, "count": second.sent })).collect::<Vec<_>>() },
        "server": null,
        "plan": { "url": "http://127.0.0.1:8080/board", "clients": 600, "rate": 40.0, "header": ["Accept: a/b", "X: \"<b>\""] },
        "generator": { "threads": 2, "verdict": "on-time", "delay": latency(Some(0.1)), "cpu_secs": 2.0,
            "busiest_cpu_secs": 1.0, "shards": [] },
    });
    serde_json::from_value(run).unwrap()
}

fn latency(ms: Option<f64>) -> Value {
    json!({ "p50_ms": ms, "p90_ms": ms, "p99_ms": ms, "p999_ms": ms, "max_ms": ms })
}

fn seconds(number: u32, of: impl Fn(u32) -> Second) -> Vec<Second> {
    (0..number).map(of).collect()
}

fn good(ms: f64) -> Second {
    Second {
        due: 40,
        sent: 40,
        answered: 40,
        ms,
    }
}

fn bad(sent: u64) -> Second {
    Second {
        due: 40,
        sent,
        answered: 0,
        ms: 1.0,
    }
}

/// At second 18 the server stops answering in time, for good.
pub fn collapse() -> Run {
    let of = |at| if at < 18 { good(9.0) } else { bad(210) };
    run("collapse", &seconds(45, of), 1.0)
}

/// It recovers after 12 seconds.
pub fn recovery() -> Run {
    let of = |at| match at {
        18..30 => bad(900),
        _ => good(9.0),
    };
    run("recovery", &seconds(45, of), 1.0)
}

pub fn calm() -> Run {
    run("calm", &seconds(45, |_| good(0.7)), 1.0)
}

/// No request is answered.
pub fn refused() -> Run {
    run("refused", &seconds(40, |_| bad(40)), 1.0)
}

/// It has many targets, some of which fail.
pub fn targets() -> Run {
    let mut run = calm();
    let of = |at: u64| {
        let failures = match at % 3 {
            0 => json!({ "404": 1_000_000, "timed out": 12, "invalid page": 3 }),
            _ => json!({}),
        };
        json!({
            "url": format!("https://a-long-name-of-a-server.example:65535/{}?at={at}", "long/".repeat(at as usize)),
            "due": 1_234_567, "answered": 234_567 * at, "failed": at, "failures": failures, "latency": latency(Some(9.0)),
        })
    };
    run.targets = serde_json::from_value((0..30).map(of).collect()).unwrap();
    run
}

/// A million polls per second.
pub fn busy() -> Run {
    let million = Second {
        due: 1_000_000,
        sent: 1_000_000,
        answered: 1_000_000,
        ms: 0.8,
    };
    run("1,000,000/s", &seconds(60, |_| million), 1.0)
}

/// The last column of time is shorter than the others.
pub fn uneven() -> Run {
    run("uneven", &seconds(41, |_| good(9.0)), 0.25)
}

/// One poll in one second.
pub fn short() -> Run {
    let mut run = run(
        "short",
        &seconds(1, |_| Second {
            due: 1,
            sent: 1,
            answered: 1,
            ms: 3.0,
        }),
        1.0,
    );
    run.pollers.clients = 1;
    run
}

/// Nothing happened.
pub fn empty() -> Run {
    let mut run = run("", &[], 1.0);
    run.rebuilds = None;
    run
}

/// A day of billions of polls, with a name that is markup, runs from right to left and would control a terminal.
pub fn huge() -> Run {
    let many = 3_000_000_000_000;
    let of = |at| Second {
        due: many,
        sent: many * 40,
        answered: if at < 100 { many } else { many / 3 },
        ms: if at < 100 { 3.0 } else { 700_000.0 },
    };
    let mut run = run(
        "<script>alert(1)</script> اختبار الحمل \u{202e}& \u{1b}[31m\u{0}",
        &seconds(240, of),
        360.0,
    );
    run.url = format!("http://[::1]:65535/{}", "long/".repeat(60));
    let mut failures = serde_json::Map::new();
    for status in 400..420 {
        let first = "<img src=x onerror=alert(1)> \u{1b}[2J";
        failures.insert(
            format!("{status}"),
            json!({ "count": 28_680, "first": first }),
        );
        for (at, slice) in run.slices.iter_mut().enumerate() {
            let reason = status.to_string().parse().unwrap();
            slice.failures.insert(reason, at as u64);
        }
    }
    run.pollers.failures = serde_json::from_value(failures.into()).unwrap();
    run
}
