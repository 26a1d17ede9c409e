//! The production mix by polling and by waiting, directly and through the shipped nginx with its cache, scaled to an
//! hour.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use herd::{
    run::{Role, Run},
    table::{bytes, count, milliseconds},
};

use crate::{
    lab::{Process, free_address, herd, listens, make_readable, ran_on},
    report::Report,
    server::{BOARD, CHANGES, FEED, Server},
};

const CONFIGURATION: &str = include_str!("../../../deploy/nginx.conf");
/// The time over which clients that wait start.
const RAMP_SECS: f64 = 5.0;
const CODINGS: &str = "gzip,zstd,br";

/// The figures of one run, of an hour if not said otherwise.
struct Hour {
    name: String,
    miners: f64,
    validators: f64,
    at_origin: f64,
    body_bytes: f64,
    /// All bytes on the loopback interface, if nothing else uses it.
    wire_bytes: f64,
    cpu_secs: f64,
    board_ms: Option<f64>,
    row_ms: Option<f64>,
}

/// Formats one figure.
type Cell = fn(&Hour) -> String;

pub fn hour(seconds: u32, report: &mut Report) {
    println!(
        "165 miners (a poll every 15 s) and 200 validators (every 30 s); five eval runs are posted every 5 s and the\n\
         board changes once in {seconds} s; scaled to an hour; {}\n",
        ran_on()
    );
    let has_nginx = Command::new("nginx")
        .arg("-v")
        .stderr(Stdio::null())
        .status()
        .is_ok();
    let mut hours = Vec::new();
    for by_nginx in [false, true] {
        if by_nginx && !has_nginx {
            println!("SKIPPED: nginx is not installed");
            continue;
        }
        for waits in [false, true] {
            hours.push(measure(seconds, by_nginx, waits));
        }
    }
    let rows: [(&str, Cell); 9] = [
        ("", |hour| hour.name.clone()),
        ("requests of the miners", |hour| count(hour.miners as u64)),
        ("requests of the validators", |hour| {
            count(hour.validators as u64)
        }),
        ("requests at the publisher", |hour| {
            count(hour.at_origin as u64)
        }),
        ("body bytes to the clients", |hour| {
            bytes(hour.body_bytes as u64)
        }),
        ("bytes on the wire (with TCP/IP)", |hour| {
            bytes(hour.wire_bytes as u64)
        }),
        ("processor time of the publisher", |hour| {
            format!("{:.1} s", hour.cpu_secs)
        }),
        ("change of the board to a miner, median", |hour| {
            milliseconds(hour.board_ms)
        }),
        ("eval run to a validator, median", |hour| {
            milliseconds(hour.row_ms)
        }),
    ];
    for (name, cell) in rows {
        print!("  {name:<40}");
        for hour in &hours {
            print!(" {:>16}", cell(hour));
        }
        println!();
    }
    println!("  (nginx: the bytes on the wire are those on both of its sides)\n");
    for pair in hours.chunks(2) {
        let [polls, waits] = pair else { continue };
        let goal = if waits.name.contains("nginx") {
            1000.0
        } else {
            250.0
        };
        for (what, ms) in [("board", waits.board_ms), ("eval run", waits.row_ms)] {
            report.holds(
                &format!("{}: {what} to client, median", waits.name),
                &milliseconds(ms),
                &format!("less than {goal:.0} ms"),
                ms.is_some_and(|ms| ms < goal),
            );
        }
        report.holds(
            &format!(
                "{}: requests of the miners, part of those by polling",
                waits.name
            ),
            &format!("{:.0} %", 100.0 * waits.miners / polls.miners),
            "less than 100 %",
            waits.miners < polls.miners,
        );
    }
    // A slot and a change each of the board and of the feed; an hour has 144 slots. One tenth is for the edges.
    let slots = 3600.0 / 25.0;
    let writes = 3600.0 / f64::from(seconds) + 3600.0 / 5.0;
    let goal = (2.0 * slots + writes) * 1.1;
    for hour in hours.iter().filter(|hour| hour.name == "nginx, waiting") {
        report.holds(
            "nginx, waiting: requests at the publisher",
            &count(hour.at_origin as u64),
            &format!("at most {}: slots and writes", count(goal as u64)),
            hour.at_origin <= goal,
        );
    }
}

fn measure(seconds: u32, by_nginx: bool, waits: bool) -> Hour {
    let options: &[&str] = if by_nginx {
        &["--trusted-proxies", "127.0.0.1"]
    } else {
        &[]
    };
    let server = Server::start(options);
    let folder = tempfile::TempDir::new().unwrap();
    let nginx = by_nginx.then(|| nginx(folder.path(), &server.address));
    let address = nginx
        .as_ref()
        .map_or(&server.address, |(_, address)| address);
    let from = |path: &str| format!("http://{address}{path}");
    let way = if waits {
        // Everything before this run is read once.
        format!(
            "--wait --ramp-ms 15000 --feed-since {}",
            server.end_of_feed()
        )
    } else {
        let now = jiff::Timestamp::now();
        format!("--interval-ms 15000 --arrival loop --feed-interval-ms 30000 --feed-since {now}")
    };
    let change_at = f64::from(seconds) * 0.6;
    let options = format!(
        "{way} --clients 165 --duration-secs {seconds} --accept-encoding {CODINGS} --from-addresses 20 \
         --validators 200 --feed-url {} --feed-accept-encoding {CODINGS} \
         --writers 1 --write-rows 5 --write-interval-ms 5000 --write-url {} --change-url {} --change-at {change_at}",
        from(FEED),
        server.url("/v1/admin/eval-runs"),
        server.url("/v1/admin/challenges"),
    );
    let (requests, wire, cpu) = (
        server.public_requests(),
        wire_bytes(),
        server.used().cpu_secs,
    );
    let run: Run = herd(&from(if waits { CHANGES } else { BOARD }), &options);
    let an_hour = 3600.0 / f64::from(seconds);
    let validators = run.validators.unwrap();
    // The first request of a client that waits comes once in its life.
    let later = |role: &Role| role.attempts - role.waits.as_ref().map_or(0, |waits| waits.first);
    // Through a cache few of them get to the publisher: one for each second of the ramp at most.
    let first = match (&run.pollers.waits, by_nginx) {
        (Some(_), false) => f64::from(run.pollers.clients + validators.clients),
        (Some(_), true) => 2.0 * RAMP_SECS,
        (None, _) => 0.0,
    };
    Hour {
        name: format!(
            "{}{}",
            if by_nginx { "nginx, " } else { "" },
            if waits { "waiting" } else { "polling" }
        ),
        miners: later(&run.pollers) as f64 * an_hour,
        validators: later(&validators) as f64 * an_hour,
        at_origin: (server.public_requests() - requests - first).max(0.0) * an_hour,
        body_bytes: (run.pollers.body_bytes + validators.body_bytes) as f64 * an_hour,
        wire_bytes: (wire_bytes() - wire) * an_hour,
        cpu_secs: (server.used().cpu_secs - cpu) * an_hour,
        board_ms: run.pollers.news.latency.p50_ms,
        row_ms: validators.news.latency.p50_ms,
    }
}

/// Starts nginx with the shipped configuration and its cache.
fn nginx(folder: &Path, publisher: &str) -> (Process, String) {
    let address = free_address();
    let path = |name: &str| folder.join(name).display().to_string();
    let shipped = CONFIGURATION
        .replace("127.0.0.1:8080", publisher)
        .replace("listen 8090", &format!("listen {address}"))
        .replace("/var/cache/cathedral-publisher", &path("cache"));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {};\n", path(name)))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid {}; error_log stderr; events {{ worker_connections 2000; }}\n\
         http {{ access_log off;\n{temporary}{shipped}}}\n",
        path("pid")
    );
    fs::write(folder.join("nginx.conf"), configuration).unwrap();
    make_readable(folder);
    let process = Command::new("nginx")
        .args(["-e", "stderr", "-c", &path("nginx.conf")])
        .stdin(Stdio::null())
        .spawn();
    let process = Process(process.unwrap());
    listens(&address);
    (process, address)
}

/// Returns the bytes that were sent on the loopback interface so far.
fn wire_bytes() -> f64 {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let received = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    let received = received.and_then(|rest| rest.split_whitespace().next());
    received.map_or(0.0, |number| number.parse().unwrap())
}
