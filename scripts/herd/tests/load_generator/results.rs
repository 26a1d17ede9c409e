//! What the results say of the run itself:
//!
//! - what ended it, and how many polls of `--requests` were not due before
//! - which limit held requests back
//! - a quantile that falls among polls without a response is `never`; a run without polls has no quantiles
//! - the generator is late, or the bottleneck, by the figure that the remark names; a run in time has no remark

use std::{io::Write as _, thread, time::Duration};

use herd::run::{Ended, Run, Verdict};
use serde_json::{Value, json};

use crate::{herd_of, silent, stub};

fn table(run: &Run) -> String {
    herd::table::table(std::slice::from_ref(run))
}

fn answering() -> String {
    stub(|socket| socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
}

/// A server that takes a while to answer.
fn slow() -> String {
    stub(|socket| {
        thread::sleep(Duration::from_millis(300));
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    })
}

#[actix_web::test]
async fn what_ended_a_run_is_said_and_how_many_polls_were_not_due_before() {
    let url = answering();
    for (options, ended, due, not_due) in [
        (
            "-n 150 --rate 100 --duration-secs 1",
            Ended::Duration,
            100,
            50,
        ),
        ("-n 50 --rate 100 --duration-secs 3", Ended::Requests, 50, 0),
        ("-n 50 --rate 100", Ended::Requests, 50, 0),
        ("--rate 100 --duration-secs 1", Ended::Duration, 100, 0),
    ] {
        let run = herd_of(&url, &format!("--clients 10 --jitter-percent 0 {options}")).await;
        assert_eq!((run.ended, run.not_due), (ended, not_due), "{options}");
        assert_eq!(run.pollers.due, due, "{options}");
        let said = table(&run).contains("50 polls of --requests were not sent");
        assert_eq!(said, not_due > 0, "{}", table(&run));
    }
    // A closed loop, in which nobody can know it before.
    let options = "--clients 2 --interval-ms 0 -n 1000 --duration-secs 1 --timeout-ms 5000";
    let run = herd_of(&slow(), options).await;
    assert_eq!(run.ended, Ended::Duration);
    assert_eq!(run.not_due, 1000 - run.pollers.due);
    let json = serde_json::to_value(&run).unwrap();
    assert_eq!(json["ended"], "duration");
}

#[actix_web::test]
async fn the_limit_that_held_requests_back_is_said() {
    let options = "--clients 2 --ramp-ms 0 --duration-secs 1 --on-failure give-up";
    for (options, limit, not_sent) in [
        (
            "--interval-ms 100 --max-connections 2",
            "--max-connections",
            true,
        ),
        (
            "--burst-at 0.2 --burst-at 0.3 --interval-ms 500 --max-rate 4",
            "--max-rate",
            true,
        ),
    ]
    .map(|(more, limit, not_sent)| (format!("{options} {more}"), limit, not_sent))
    {
        let run = herd_of(&silent(), &format!("{options} --timeout-ms 2000")).await;
        let by = run.pollers.held_back_by;
        let counts = [
            ("--max-connections", by.max_connections),
            ("--max-rate", by.max_rate),
            ("polls", by.max_polls),
        ];
        for (name, count) in counts {
            assert_eq!(count > 0, name == limit, "{options}: {counts:?}");
        }
        let table = table(&run);
        assert!(table.contains(&format!("held back by {limit}")), "{table}");
        assert!(table.contains("requests were held back, which the latencies contain"));
        let detail = format!("not sent: {limit} left no turn before the end of the run");
        assert_eq!(table.contains(&detail), not_sent, "{table}");
        let json = serde_json::to_value(&run).unwrap();
        let key = limit.trim_start_matches('-').replace('-', "_");
        assert!(json["pollers"]["held_back_by"][key].as_u64().unwrap() > 0);
    }
}

#[actix_web::test]
async fn a_quantile_is_never_among_polls_without_a_response_and_without_polls_there_is_none() {
    let options =
        "--clients 2 --interval-ms 100 --duration-secs 1 --timeout-ms 50 --on-failure give-up";
    let run = herd_of(&silent(), options).await;
    let json = serde_json::to_value(&run).unwrap();
    let all = |value: Value| json!({ "p50_ms": value, "p90_ms": value, "p95_ms": value, "p99_ms": value, "p999_ms": value, "max_ms": value });
    assert_eq!(json["pollers"]["latency"], all("never".into()));
    assert_eq!(json["pollers"]["service"], all(Value::Null), "no response");
    assert_eq!(json["pollers"]["news"]["latency"], all(Value::Null));
    // The same from the file.
    let read: Run = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(read, run);
    let table = table(&run);
    let cell = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    assert_eq!(cell("due to response, p95"), "never");
    assert_eq!(cell("sent to response, p50 / p99"), "- / -");
    let fails = |condition: &str| {
        let condition: herd::condition::Condition = condition.parse().unwrap();
        condition.failure(&run)
    };
    let said = "p95>1h: never, as too many polls got no response";
    assert_eq!(fails("p95>1h").as_deref(), Some(said));
    assert_eq!(fails("p95<1h"), None);

    let mut wrong = json;
    wrong["pollers"]["latency"]["p50_ms"] = "soon".into();
    let refused = serde_json::from_value::<Run>(wrong).unwrap_err();
    assert!(
        refused.to_string().contains("is not a quantile"),
        "{refused}"
    );
}

#[actix_web::test]
async fn the_remark_on_the_generator_names_the_figure_of_its_verdict() {
    let mut run = herd_of(
        &answering(),
        "--clients 2 --interval-ms 100 --duration-secs 1",
    )
    .await;
    run.generator.secs = 2.0;
    run.generator.busiest_cpu_secs = 1.9;
    run.generator.delay.p99_ms = Some(7.0);
    run.pollers.latency.p99_ms = Some(20.0);
    for (verdict, said) in [
        (Verdict::OnTime, ""),
        (
            Verdict::Late,
            "at p99 polls started 7.0 ms after they were due, which the latencies contain (p99: 20.0 ms)",
        ),
        (Verdict::Saturated, "used 95 % of a processor"),
    ] {
        run.generator.verdict = verdict;
        let table = table(&run);
        let remarks: Vec<&str> = table
            .lines()
            .filter(|line| line.contains("the load generator"))
            .collect();
        assert_eq!(remarks.len(), usize::from(!said.is_empty()), "{table}");
        assert!(
            remarks.iter().all(|remark| remark.contains(said)),
            "{remarks:?}"
        );
    }
}
