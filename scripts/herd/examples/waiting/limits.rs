//! What happens at the limits of a wait: nothing for a minute, a server that stops, clients that vanish.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use herd::table::{bytes, count};

use crate::{
    lab::{ran_on, signal},
    report::{Report, quantiles},
    server::Server,
};

/// Clients wait for `seconds`, and nothing changes.
pub fn quiet(seconds: u32, report: &mut Report) {
    const CLIENTS: u32 = 5_000;
    let server = Server::start(&[]);
    println!(
        "{} clients wait for {seconds} s and nothing changes; {}",
        count(CLIENTS.into()),
        ran_on()
    );
    let cpu = server.used().cpu_secs;
    let herd = server.wait_with(CLIENTS, seconds.into(), None);
    let run = herd.results();
    let waits = run.pollers.waits.clone().unwrap_or_default();
    report.shows(
        "answers: first / unchanged / changed",
        &format!(
            "{} / {} / {}",
            count(waits.first),
            count(waits.unchanged),
            count(waits.changed)
        ),
    );
    // A minute has three ends of a slot at most.
    let goal = u64::from(seconds).div_ceil(25);
    report.holds(
        "answers of one client after its first one, at most",
        &(waits.most_of_a_client - 1).to_string(),
        &format!("at most {goal}"),
        waits.most_of_a_client - 1 <= goal,
    );
    report.holds(
        "answers within a second, except the first ones",
        &count(waits.at_once),
        "0",
        waits.at_once == 0,
    );
    report.holds(
        "answers that were refused, requests that failed",
        &format!(
            "{}, {}",
            waits.refused,
            run.pollers.failed + run.pollers.lost()
        ),
        "0, 0",
        waits.refused == 0 && run.is_clean(),
    );
    let cpu = server.used().cpu_secs - cpu;
    report.shows(
        "requests a client and hour; by polling every 15 s",
        &format!(
            "{:.0}; 240",
            waits.unchanged as f64 / f64::from(CLIENTS) * 3600.0 / run.seconds
        ),
    );
    report.shows(
        "processor time of the server, connecting included",
        &format!("{cpu:.2} s in {seconds} s"),
    );
    report.shows(
        "time of an answer: p50 / p99 / max",
        &quantiles(&run.pollers.latency),
    );
}

/// The server gets SIGTERM while clients wait.
pub fn stop(clients: u32, report: &mut Report) {
    let mut server = Server::start(&[]);
    println!(
        "SIGTERM while {} clients wait; {}",
        count(clients.into()),
        ran_on()
    );
    let ramp = u64::from(clients / 2000) + 3;
    let herd = server.wait_with(clients, ramp + 25, None);
    let waiting = server.until_waiting(clients, Duration::from_secs(ramp + 10));
    // Not while a slot ends.
    crate::server::until_phase(Duration::from_secs(6));
    let signalled = Timestamp::now();
    signal(server.process.0.id(), "-TERM");
    let begun = Instant::now();
    let status = server.process.0.wait().unwrap();
    let exit = begun.elapsed().as_secs_f64();
    let run = herd.results();
    let waits = run.pollers.waits.unwrap_or_default();
    report.holds(
        "clients that waited; that were answered with Connection: close",
        &format!("{waiting:.0}; {}", waits.closing),
        "all",
        waits.closing >= u64::from(clients) && waiting >= f64::from(clients),
    );
    let began: Timestamp = run.began_at.parse().unwrap();
    let last =
        waits.last_closing_at.unwrap_or(f64::MAX) - signalled.duration_since(began).as_secs_f64();
    report.holds(
        "from SIGTERM to the last of these answers",
        &format!("{:.0} ms", last * 1e3),
        "at most 1 s",
        last <= 1.0,
    );
    report.holds(
        "from SIGTERM to the end of the process; its exit code",
        &format!("{exit:.2} s; {:?}", status.code()),
        "at most 2 s; 0",
        exit <= 2.0 && status.success(),
    );
}

/// All clients disappear at once.
pub fn vanish(clients: u32, report: &mut Report) {
    let server = Server::start(&[]);
    println!("{} clients vanish; {}", count(clients.into()), ran_on());
    let rest = server.used().pss_bytes;
    let ramp = u64::from(clients / 2000) + 3;
    let herd = server.wait_with(clients, 600, None);
    let waiting = server.until_waiting(clients, Duration::from_secs(ramp + 20));
    thread::sleep(Duration::from_secs(1));
    let full = server.used().pss_bytes;
    let begun = Instant::now();
    herd.kill();
    let left = server.until_waiting(0, Duration::from_secs(30));
    report.holds(
        "publisher_waiters: before; after; seconds until then",
        &format!(
            "{waiting:.0}; {left:.0}; {:.1}",
            begun.elapsed().as_secs_f64()
        ),
        "0 after 10 s",
        left == 0.0 && begun.elapsed() < Duration::from_secs(10) && waiting >= f64::from(clients),
    );
    thread::sleep(Duration::from_secs(3));
    let after = server.used().pss_bytes;
    report.holds(
        "memory (PSS): at rest; while they waited; afterwards",
        &format!("{}; {}; {}", bytes(rest), bytes(full), bytes(after)),
        "at most 20 % above rest",
        after as f64 <= rest as f64 * 1.2,
    );
    let gone = server.metric("publisher_waits_total", "gone");
    report.holds(
        "waits that ended as gone",
        &count(gone as u64),
        "all",
        gone >= f64::from(clients),
    );
    // What the allocator keeps must at least serve the next ones.
    let herd = server.wait_with(clients, 600, None);
    server.until_waiting(clients, Duration::from_secs(ramp + 20));
    thread::sleep(Duration::from_secs(1));
    let again = server.used().pss_bytes;
    herd.kill();
    server.until_waiting(0, Duration::from_secs(30));
    report.holds(
        "memory while as many others wait",
        &bytes(again),
        "at most 10 % above the first time",
        again as f64 <= full as f64 * 1.1,
    );
}
