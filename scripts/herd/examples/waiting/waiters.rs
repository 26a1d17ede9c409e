//! Many clients wait: their memory, their processor time without a change, and one change.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use herd::{
    run::Run,
    table::{count, milliseconds},
};

use crate::{
    lab::{self, ran_on},
    report::{Report, quantiles},
    server::{BOARD, Server, to_phase, until_phase},
};

/// A slot lasts 25 s. Idleness is measured from here on …
const IDLE_FROM: Duration = Duration::from_secs(4);
const IDLE_SECS: f64 = 7.0;
/// … then polls, and then the change comes. All of it is in one slot.
const CHANGE_AT: Duration = Duration::from_secs(21);
const POLLS: &str = "--clients 64 --rate 200 --duration-secs 7";

pub fn waiters(clients: u32, report: &mut Report) {
    // No rebuild by age while one is counted.
    let server = Server::start(&["--ttl-secs", "600"]);
    println!(
        "{} clients wait for the board; {}",
        count(clients.into()),
        ran_on()
    );
    let alone = polls(&server);
    let rest = server.used().pss_bytes as f64 / 1e6;

    // From here: all connected, a whole idle part, and the change in the slot after that.
    let ramp = f64::from(clients) / 2000.0 + 3.0;
    let connected = SystemTime::now() + Duration::from_secs_f64(ramp);
    let idle_from = Duration::from_secs_f64(ramp) + to_phase(connected, IDLE_FROM);
    let change = (idle_from + CHANGE_AT - IDLE_FROM).as_secs_f64();
    let herd = server.wait_with(clients, change as u64 + 4, Some(change));
    thread::sleep(Duration::from_secs_f64(ramp));
    let waiting = server.until_waiting(clients, Duration::from_secs(20));
    report.holds(
        "clients that wait (publisher_waiters)",
        &count(waiting as u64),
        "all",
        waiting >= f64::from(clients),
    );

    until_phase(IDLE_FROM);
    let before = server.used();
    thread::sleep(Duration::from_secs_f64(IDLE_SECS));
    let after = server.used();
    let more = after.pss_bytes as f64 / 1e6 - rest;
    // 40 MB for 10,000.
    let goal = f64::from(clients) * 4e-3;
    report.holds(
        "memory (PSS): at rest; more while they wait; each",
        &format!(
            "{rest:.1} MB; {more:.1} MB; {:.1} kB",
            more * 1e3 / f64::from(clients)
        ),
        &format!("less than {goal:.0} MB more"),
        more < goal,
    );
    let idle = (after.cpu_secs - before.cpu_secs) / IDLE_SECS * 100.0;
    report.holds(
        "processor time of the server while nothing happens",
        &format!("{idle:.2} % of a core"),
        "at most 1 %",
        idle <= 1.0,
    );
    let beside = polls(&server);
    let p99 = |run: &Run| run.pollers.latency.p99_ms;
    let slower = p99(&beside).unwrap_or(f64::MAX) / p99(&alone).unwrap_or(f64::MIN_POSITIVE);
    report.holds(
        "200 polls a second, p99: alone; beside clients that wait",
        &format!(
            "{}; {}",
            milliseconds(p99(&alone)),
            milliseconds(p99(&beside))
        ),
        "at most twice, or 2 ms",
        slower <= 2.0 || p99(&beside).is_some_and(|ms| ms < 2.0),
    );

    let builds = server.builds();
    let cpu = server.used().cpu_secs;
    let run = herd.results();
    let builds = server.builds() - builds;
    let news = &run.pollers.news;
    report.holds(
        "clients that the change has reached",
        &count(news.seen),
        "all",
        news.seen == u64::from(clients),
    );
    report.holds(
        "from the write to the client: p50 / p99 / the last one",
        &quantiles(&news.latency),
        "p99 less than 500 ms",
        news.latency.p99_ms.is_some_and(|ms| ms < 500.0),
    );
    report.holds(
        "builds of the board",
        &builds.to_string(),
        "1",
        builds == 1.0,
    );
    report.shows(
        "processor time of the server for the change, each client",
        &format!(
            "{:.0} µs",
            (server.used().cpu_secs - cpu) * 1e6 / f64::from(clients)
        ),
    );
    let wakes = server.metric("publisher_wake_seconds_sum", "")
        / server.metric("publisher_wake_seconds_count", "");
    report.shows(
        "publisher_wake_seconds, mean",
        &milliseconds(Some(wakes * 1e3)),
    );
}

fn polls(server: &Server) -> Run {
    lab::herd(&server.url(BOARD), POLLS)
}
