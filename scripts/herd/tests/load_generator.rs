//! `herd`, the load generator, against a real publisher:
//!
//! - polls are due at their times, whatever becomes of them; the rate stays what it is
//! - conditional pollers get one body each, and what 304s save is counted
//! - a time-out is followed by a retry at once, and each is counted
//! - a loop that waits misses its turns, and its latency has them; an open arrival does not
//! - who honours Retry-After stays away as long as it says; who does not hammers
//! - a poll without an answer is slower than every other one
//! - validators read every row once, by cursor, in whatever coding; writers' rows are stored
//! - rebuilds are the server's own count
//! - it refuses what would be an attack or a mistake, in one line
//! - the program prints a table or JSON, writes reports that need nothing else, and compares runs

use std::time::Duration;

use cathedral_publisher::{
    config::{Cli, Command, OnFailure},
    herd::{
        self,
        plan::Plan,
        retry::{Failure, RetryPolicy},
        run::Run,
        schedule::Times,
    },
};
use clap::Parser;
use fastrand::Rng;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{
    app::{App, BOARD, Data, FEED, Mode, TOKENS, comes_about},
    command_line,
};

/// A plan of these options, with a token for writers.
fn plan(arguments: &[&str]) -> Result<Plan, String> {
    let program = ["cathedral-publisher", "herd"];
    let cli = Cli::try_parse_from(program.iter().chain(arguments)).unwrap();
    let Command::Herd(options) = cli.command else {
        panic!("another command");
    };
    Plan::new(&options, Some(TOKENS[0].to_owned())).map_err(|error| error.to_string())
}

async fn run(arguments: &[&str]) -> Run {
    let plan = plan(arguments).unwrap();
    herd::run(plan, std::future::pending()).await.unwrap()
}

/// Runs these options, apart from spaces, against the board.
async fn herd_of(app: &App, options: &str) -> Run {
    let url = format!("{}{BOARD}", app.url);
    let arguments: Vec<&str> = std::iter::once(url.as_str())
        .chain(options.split_whitespace())
        .collect();
    run(&arguments).await
}

/// A publisher whose cold cache is being built, so that every reader waits.
async fn app_whose_readers_wait() -> App {
    let app = App::start_in(Data::sample(), Mode::Fail).await;
    app.gate.set(Mode::Hold);
    app.clock.advance(Duration::from_secs(3));
    app.until("the retry", |app| app.gate.builds() == 2).await;
    app
}

async fn let_go(app: App) {
    app.gate.set(Mode::Pass);
    app.stop().await;
}

proptest! {
    #[test]
    fn polls_are_due_at_their_times_and_the_rate_stays(
        first_ms in 0_u64..2000,
        interval_ms in 1_u64..500,
        jitter in 0.0..0.5_f64,
        bursts_ms in prop::collection::vec(0_u64..12_000, 0..4),
        seed: u64,
    ) {
        let end = Duration::from_secs(10);
        let times = Times {
            first: Duration::from_millis(first_ms),
            interval: Duration::from_millis(interval_ms),
            jitter,
            bursts: bursts_ms.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            end,
        };
        let due = times.due(&mut Rng::with_seed(seed));
        prop_assert!(due.is_sorted());
        let bursts = times.bursts.iter().filter(|at| **at < end);
        let mut regular = due.clone();
        for burst in bursts.clone() {
            let at = regular.iter().position(|at| at == burst);
            prop_assert!(at.is_some(), "a burst is not at its moment");
            regular.remove(at.unwrap());
        }
        let expected = (10_000 - first_ms).div_ceil(interval_ms);
        prop_assert_eq!(regular.len() as u64, expected);
        prop_assert!(regular.contains(&times.first));
        // Nobody is further from its time than the jitter allows, however late in the run.
        let reach = times.interval.mul_f64(jitter) + Duration::from_micros(1);
        for (at, due) in regular.iter().enumerate() {
            let time = times.first + times.interval * at as u32;
            prop_assert!(*due + reach >= time && *due <= time + reach);
        }
        prop_assert_eq!(times.due(&mut Rng::with_seed(seed)), due);
    }

    #[test]
    fn a_wait_is_never_longer_than_the_manners_say(retries in 0_u32..100, seed: u64) {
        let rng = &mut Rng::with_seed(seed);
        let policy = |on_failure| RetryPolicy { on_failure, honour_retry_after: true, max_retries: Some(50) };
        let told = Failure::Refused { retry_after: Some(Duration::from_secs(60)) };
        let at_once = policy(OnFailure::Retry);
        let back_off = policy(OnFailure::BackOff);
        if retries >= 50 {
            prop_assert_eq!(at_once.wait(Failure::TimedOut, retries, rng), None);
            return Ok(());
        }
        prop_assert_eq!(at_once.wait(Failure::TimedOut, retries, rng), Some(Duration::ZERO));
        prop_assert_eq!(at_once.wait(told, retries, rng), Some(Duration::from_secs(60)));
        prop_assert_eq!(policy(OnFailure::GiveUp).wait(told, retries, rng), None);
        let longest = Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(retries));
        let wait = back_off.wait(Failure::Broken, retries, rng).unwrap();
        prop_assert!(wait <= longest.min(Duration::from_secs(30)));
    }
}

#[actix_web::test]
async fn conditional_pollers_get_one_body_each_and_what_304s_save_is_counted() {
    let app = App::start(Data::sample()).await;
    let body = app.get(BOARD).await.body.len() as u64;
    let run = herd_of(
        &app,
        "--clients 5 --interval-ms 100 --duration-secs 1 --ramp-ms 50",
    )
    .await;
    let seen = &run.pollers;
    assert_eq!((seen.due, seen.answered, seen.failed), (50, 50, 0));
    assert_eq!(seen.attempts, 50);
    let not_modified = seen.statuses[&304];
    let whole = seen.statuses[&200];
    assert_eq!(whole + not_modified, 50);
    // Polls of a client that overlap, on a busy machine, all lack the tag.
    assert!((5..25).contains(&whole), "{whole}");
    assert_eq!(seen.body_bytes, whole * body);
    assert_eq!(seen.saved_bytes, not_modified * body);
    assert!(run.is_clean());
    assert_eq!(run.slices.iter().map(|slice| slice.due).sum::<u64>(), 50);
    let last = seen.distribution.last().unwrap();
    assert!((last.share - 1.0).abs() < 1e-9, "{last:?}");

    let run = herd_of(
        &app,
        "--clients 5 --interval-ms 100 --duration-secs 1 --unconditional",
    )
    .await;
    assert_eq!(run.pollers.statuses.get(&304), None);
    assert_eq!(run.pollers.saved_bytes, 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_time_out_is_followed_by_a_retry_at_once_and_each_is_counted() {
    let app = app_whose_readers_wait().await;
    // One poll of each client, by a barrier; three requests each.
    let options = "--clients 8 --interval-ms 60000 --ramp-ms 0 --timeout-ms 50 --duration-secs 20";
    let run = herd_of(
        &app,
        &format!("{options} --on-failure retry --max-retries 2"),
    )
    .await;
    let seen = &run.pollers;
    assert_eq!((seen.due, seen.answered, seen.failed), (8, 0, 8));
    assert_eq!((seen.attempts, seen.timeouts), (24, 24));
    assert_eq!(
        (seen.retries_after_timeout, seen.retries_after_other),
        (16, 0)
    );
    assert!(!run.is_clean());
    assert!((seen.amplification() - 3.0).abs() < 1e-9);
    assert_eq!((seen.latency.p50_ms, seen.latency.max_ms), (None, None));

    let run = herd_of(&app, &format!("{options} --on-failure give-up")).await;
    assert_eq!((run.pollers.attempts, run.pollers.failed), (8, 8));
    let_go(app).await;
}

#[actix_web::test]
async fn a_loop_that_waits_misses_its_turns_and_an_open_arrival_does_not() {
    let app = app_whose_readers_wait().await;
    // The first poll of a client waits until after the last one was due.
    let options = "--clients 3 --interval-ms 100 --ramp-ms 0 --jitter-percent 0 --duration-secs 1 --timeout-ms 2000 --on-failure give-up";
    let looping = herd_of(&app, &format!("{options} --arrival loop")).await;
    let seen = &looping.pollers;
    assert_eq!((seen.due, seen.failed, seen.missed), (30, 3, 27));
    assert_eq!((seen.answered, seen.latency.p50_ms), (0, None));
    assert_eq!((looping.pollers.attempts, looping.pollers.timeouts), (3, 3));
    let open = herd_of(&app, options).await;
    assert_eq!((open.pollers.due, open.pollers.attempts), (30, 30));
    assert!(open.slices.iter().any(|slice| slice.in_flight > 3));
    let_go(app).await;
}

#[actix_web::test]
async fn the_latency_of_missed_turns_is_that_of_the_answer_they_waited_for() {
    let app = app_whose_readers_wait().await;
    let gate = app.gate.clone();
    actix_rt::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        gate.set(Mode::Pass);
    });
    // One answer takes 1.5 s; had nobody counted the nine turns behind it, p50 would be small.
    let options = "--clients 1 --interval-ms 100 --ramp-ms 0 --jitter-percent 0 --duration-secs 1 --timeout-ms 20000 --arrival loop";
    let run = herd_of(&app, options).await;
    let seen = &run.pollers;
    assert_eq!((seen.due, seen.answered, seen.missed), (10, 1, 9));
    assert_eq!(seen.attempts, 1);
    let (p50, max) = (seen.latency.p50_ms.unwrap(), seen.latency.max_ms.unwrap());
    assert!((900.0..=max - 400.0).contains(&p50), "{p50} of {max}");
    app.stop().await;
}

#[actix_web::test]
async fn who_honours_retry_after_stays_away_and_who_does_not_hammers() {
    // A cold cache whose build failed: 503 with Retry-After, until time passes.
    let app = App::start_in(Data::sample(), Mode::Fail).await;
    let options =
        "--clients 2 --interval-ms 60000 --ramp-ms 0 --duration-secs 1 --on-failure retry";
    let polite = herd_of(&app, &format!("{options} --honour-retry-after")).await;
    // Told a second or more, they would come back after the end.
    assert_eq!(
        (polite.pollers.attempts, polite.pollers.of_class(5)),
        (2, 2)
    );
    let rude = herd_of(&app, &format!("{options} --max-retries 20")).await;
    assert_eq!(
        (rude.pollers.attempts, rude.pollers.retries_after_other),
        (42, 40)
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_poll_without_an_answer_is_slower_than_every_other_one() {
    let app = App::start(Data::sample()).await;
    let mut run = herd_of(&app, "--clients 4 --interval-ms 50 --duration-secs 1").await;
    assert!(run.pollers.latency.max_ms.is_some());
    // No such path is an answer, and not what was asked for.
    let url = format!("{}/nowhere", app.url);
    let lost = herd::run(
        plan(&[&url, "--clients", "4", "--duration-secs", "1"]).unwrap(),
        std::future::pending(),
    );
    let lost = lost.await.unwrap();
    assert_eq!(lost.pollers.of_class(4), lost.pollers.due);
    assert_eq!(
        (lost.pollers.answered, lost.pollers.latency.p50_ms),
        (0, None)
    );
    assert!(!lost.is_clean());
    assert!(
        lost.pollers
            .distribution
            .iter()
            .all(|point| point.share == 0.0)
    );
    run.name = "after".to_owned();
    let table = herd::table::table(&[lost, run]);
    let goodput = table
        .lines()
        .find(|line| line.starts_with("goodput"))
        .unwrap();
    assert!(
        goodput.contains("0.0/s (0.0 %)") && goodput.contains("(100.0 %)"),
        "{table}"
    );
    app.stop().await;
}

#[actix_web::test]
async fn validators_read_every_row_once_and_writers_rows_are_stored() {
    let data = Data::sample();
    data.sample_runs(2500, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    let (feed, write) = (
        format!("{}{FEED}", app.url),
        format!("{}/v1/admin/eval-runs", app.url),
    );
    let board = format!("{}{BOARD}", app.url);
    let reading = format!(
        "--clients 1 --duration-secs 2 --validators 3 --feed-interval-ms 300 --feed-limit 1000 --feed-url {feed}"
    );
    let mut as_they_are = None;
    for coding in ["", "gzip", "zstd", "br"] {
        let mut arguments: Vec<&str> = std::iter::once(board.as_str())
            .chain(reading.split(' '))
            .collect();
        if !coding.is_empty() {
            arguments.extend(["--feed-accept-encoding", coding]);
        }
        let only_read = run(&arguments).await;
        let validators = only_read.validators.as_ref().unwrap();
        assert_eq!(validators.rows, 3 * 2500, "{coding}: {validators:?}");
        assert_eq!(validators.failed, 0);
        let bytes = validators.body_bytes;
        let most = *as_they_are.get_or_insert(bytes + 1);
        assert!(bytes < most, "{coding}: {bytes} of {most} bytes");
    }
    let wrote = run(&[
        &board,
        "--clients",
        "1",
        "--duration-secs",
        "1",
        "--writers",
        "2",
        "--write-url",
        &write,
        "--write-interval-ms",
        "250",
        "--write-rows",
        "30",
    ])
    .await;
    let writers = wrote.writers.as_ref().unwrap();
    assert_eq!((writers.failed, writers.rows), (0, 30 * writers.due));
    assert!(writers.rows > 0);
    let stored: u64 = app.data.write(|connection| {
        let count = "SELECT count(*) FROM eval_runs";
        connection.query_row(count, [], |row| row.get(0)).unwrap()
    });
    assert_eq!(stored, 2500 + writers.rows);
    app.stop().await;
}

#[actix_web::test]
async fn rebuilds_are_the_servers_own_count() {
    let app = App::start(Data::sample()).await;
    let metrics = format!("{}/metrics", app.url);
    let (clock, gate) = (app.clock.clone(), app.gate.clone());
    // The board expires while the herd polls.
    actix_rt::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        clock.advance(Duration::from_secs(31));
    });
    let options =
        format!("--clients 20 --interval-ms 50 --duration-secs 2 --metrics-url {metrics}");
    let run = herd_of(&app, &options).await;
    let rebuilds = run.rebuilds.as_ref().unwrap();
    assert_eq!((rebuilds.total, gate.builds()), (1, 2));
    assert_eq!(rebuilds.seen.len(), 1);
    assert!(run.is_clean());
    let metrics = app.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let line = "publisher_board_builds_total{outcome=\"built\"} 2";
    assert!(
        metrics.text().lines().any(|found| found == line),
        "{}",
        metrics.text()
    );
    let line = "publisher_board_builds_total{outcome=\"failed\"} 0";
    assert!(metrics.text().contains(line));
    app.gate.set(Mode::Panic);
    app.clock.advance(Duration::from_secs(31));
    app.get(BOARD).await;
    let line = "publisher_board_builds_total{outcome=\"failed\"} 1";
    comes_about("the count of a build that panicked", async || {
        app.get("/metrics").await.text().contains(line)
    })
    .await;
    app.stop().await;
}

#[test]
fn it_refuses_what_would_be_an_attack_or_a_mistake() {
    let here = "http://127.0.0.1:9/x";
    for (arguments, reason) in [
        (
            vec!["http://192.0.2.1/x"],
            "192.0.2.1:80 is not this machine",
        ),
        (vec!["https://127.0.0.1/x"], "only http is spoken here"),
        (vec!["nonsense"], "is no URL"),
        (vec![here, "--clients", "2000"], "raise --max-connections"),
        (vec![here, "--rate=-1"], "--rate must be"),
        (vec![here, "--rate", "inf"], "--rate must be"),
        (vec![here, "--burst-at", "31"], "--burst-at must be"),
        (vec![here, "--burst-at", "NaN"], "--burst-at must be"),
        (
            vec![here, "--metrics-url", "http://192.0.2.1/m"],
            "is not this machine",
        ),
        (
            vec![here, "--writers", "1", "--write-url", "http://192.0.2.1/w"],
            "is not this machine",
        ),
        (
            vec![
                here,
                "--validators",
                "1",
                "--feed-url",
                here,
                "--feed-since",
                "soon",
            ],
            "must be an ISO-8601 time",
        ),
    ] {
        let refused = plan(&arguments).unwrap_err();
        assert!(refused.contains(reason), "{arguments:?}: {refused}");
    }
    assert!(plan(&["http://192.0.2.1/x", "--i-own-this-server"]).is_ok());
    assert!(plan(&["http://localhost:9/x"]).is_ok());
    assert!(plan(&["http://[::1]:9/x"]).is_ok());
}

#[test]
fn a_target_that_is_not_there_is_one_clear_line() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", port.local_addr().unwrap());
    drop(port);
    let output = command_line::run(&["herd", &url]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("nothing answers at 127.0.0.1:"), "{text}");
    let output = command_line::run(&["herd", &url, "--report", "run.pdf"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("a report ends in .html, .svg or .png"),
        "{text}"
    );
    let output = command_line::run(&["herd", &url, "--report", "no/such/folder/run.svg"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no such folder"), "{text}");
}

#[actix_web::test]
async fn the_program_prints_json_writes_reports_and_compares_runs() {
    let app = App::start(Data::sample()).await;
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let board = format!("{}{BOARD}", app.url);
    let herd = |name: &'static str, url: &str, more: &[&str]| {
        let url = url.to_owned();
        let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
        actix_rt::task::spawn_blocking(move || {
            let options = "--clients 4 --interval-ms 100 --duration-secs 1 --strict";
            let mut arguments = vec!["herd", url.as_str(), "--name", name];
            arguments.extend(options.split(' '));
            arguments.extend(more.iter().map(String::as_str));
            command_line::run(&arguments)
        })
    };
    let pid = std::process::id().to_string();
    let good = herd("good", &board, &["--json", "--server-pid", &pid])
        .await
        .unwrap();
    assert!(good.status.success(), "{good:?}");
    let run: Run = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((run.name.as_str(), run.pollers.failed), ("good", 0));
    if cfg!(target_os = "linux") {
        let used = run.server.as_ref().unwrap();
        assert!(used.cpu_secs > 0.0 && used.pss_bytes > 1 << 20, "{used:?}");
    }
    // A name that would be markup is text.
    let missing = format!("{}/<missing>", app.url)
        .replace('<', "%3C")
        .replace('>', "%3E");
    let svg = file("run.svg");
    let bad = herd("<b>bad</b>", &missing, &["--json", "--report", &svg])
        .await
        .unwrap();
    assert_eq!(bad.status.code(), Some(1), "--strict");
    assert!(String::from_utf8(bad.stderr).unwrap().contains("--strict"));
    for (name, output) in [("good.json", &good.stdout), ("bad.json", &bad.stdout)] {
        std::fs::write(file(name), output).unwrap();
    }
    let (html, png) = (file("both.html"), file("both.png"));
    let compared = command_line::run(&[
        "herd-compare",
        &file("good.json"),
        &file("bad.json"),
        "--report",
        &html,
        "--report",
        &png,
    ]);
    let table = String::from_utf8(compared.stdout).unwrap();
    assert!(compared.status.success());
    let head = table.lines().next().unwrap();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["good", "<b>bad</b>"]
    );

    let svg = std::fs::read_to_string(svg).unwrap();
    resvg::usvg::Tree::from_str(&svg, &Default::default()).unwrap();
    for page in [svg, std::fs::read_to_string(html).unwrap()] {
        assert!(page.contains("prefers-color-scheme:dark"));
        assert!(page.contains("&lt;b&gt;bad") && !page.contains("<b>bad"));
        // Nothing is fetched: the only addresses are the name space and the text of the target.
        for fetching in ["src=", "href", "url(", "@import", "<script"] {
            assert!(!page.contains(fetching), "{fetching}");
        }
    }
    let png = resvg::tiny_skia::Pixmap::load_png(png).unwrap();
    assert_eq!((png.width(), png.height()), (2240, 1980));
    let colours: std::collections::HashSet<u32> = png
        .pixels()
        .iter()
        .map(|pixel| u32::from_be_bytes([pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()]))
        .collect();
    assert!(colours.len() > 50, "lines and letters are drawn");
    std::fs::write(file("not.json"), "{}").unwrap();
    let wrong = command_line::run(&["herd-compare", &file("not.json")]);
    assert_eq!(wrong.status.code(), Some(1));
    app.stop().await;
}
