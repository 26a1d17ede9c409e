//! `check`: does a publisher keep the contract?
//!
//! - this program keeps it, with the saved answers of the production service, too
//! - another publisher that keeps it passes, and what it does not have is not offered
//! - each broken rule is named
//! - a file server fails with reasons
//! - a server that never ends an answer, or that is not there, is left within the time
//! - the table and the JSON have the same content, and the exit code says whether all rules hold
//! - an invalid URL, a file of keys and a certificate that cannot be read give one clear line

mod faults;

use std::{
    process::{Command as Process, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use cathedral_publisher::{
    check::{self, Report, Subject, Verdict},
    config::{Cli, Command, Kind},
    domain::signature::PublicKeys,
    fetch::Fetcher,
};
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    app::{Data, eventually, live_answer},
    foreign::{self, Fault, Foreign},
    process::{Guard, Service, run, serve},
};

/// Runs the checks in this process.
fn check(url: &str, options: &[&str], keys: Option<PublicKeys>) -> Report {
    let cli = Cli::parse_from(["cathedral-publisher", "check", url].iter().chain(options));
    let Command::Check(options) = cli.command else {
        panic!("{cli:?}");
    };
    let fetcher = Fetcher::new("--ca-file", None, false).unwrap();
    let subject = Subject { url, fetcher, keys };
    check::check(subject, &options.settings, &mut |_| ()).unwrap()
}

/// The checks with this outcome.
fn names(report: &Report, verdict: Verdict) -> Vec<&str> {
    let found = report.checks.iter().filter(|it| it.verdict == verdict);
    found.map(|it| it.name.as_str()).collect()
}

fn seen<'r>(report: &'r Report, name: &str) -> &'r str {
    let found = report.checks.iter().find(|it| it.name == name);
    &found.unwrap_or_else(|| panic!("{name}: {report:?}")).seen
}

#[test]
fn this_program_keeps_the_contract() {
    let data = Data::sample();
    data.sample_runs(260, "2026-06-07T00:00:00Z");
    let folder = TempDir::new().unwrap();
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, run(&["sample", "jwks"]).stdout).unwrap();
    let keys = ["--jwks", jwks.to_str().unwrap()];
    let service = Service::start(serve(&data.location(), &keys));
    let url = format!("http://{}", service.address);
    let report = check(&url, &[], None);
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
    assert_eq!(seen(&report, "signatures"), "260 valid");
    assert!(report.count(Verdict::Holds) >= 30, "{report:#?}");
    assert!(seen(&report, "feed cursor").starts_with("260 rows, the whole feed"));
    assert!(seen(&report, "since_seq").starts_with("260 rows, the whole feed"));
    // Below the prefix, and of an empty feed.
    let report = check(
        &format!("{url}/api/cathedral/"),
        &["--max-rows", "100"],
        None,
    );
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
    assert!(seen(&report, "feed cursor").starts_with("100 rows, the oldest ones"));
    let empty = Data::empty();
    let service = Service::start(serve(&empty.location(), &[]));
    let report = check(&format!("http://{}", service.address), &[], None);
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
}

#[test]
fn the_saved_answers_of_the_production_service_keep_the_contract() {
    let saved = ["board.json", "rows.json", "jwks.json"].map(live_answer);
    let [Some(board), Some(rows), Some(keys)] = saved else {
        return;
    };
    let data = Data::empty();
    data.import(Kind::Board, &std::fs::read(board).unwrap());
    data.import(Kind::Rows, &std::fs::read(rows).unwrap());
    let service = Service::start(serve(&data.location(), &[]));
    let url = format!("http://{}", service.address);
    let output = run(&["check", &url, "--jwks", keys.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && said.contains(" 50 valid\n"),
        "{said}"
    );
}

#[test]
fn another_publisher_passes_and_what_it_does_not_have_is_not_offered() {
    let report = check(&Foreign::with_samples(Fault::None).url, &[], None);
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
    assert_eq!(names(&report, Verdict::NotOffered), ["active-cnf"]);
    assert_eq!(
        seen(&report, "signatures"),
        format!("{} valid", foreign::ROWS)
    );
    let old = Fault::Asked(foreign::as_before);
    let report = check(&Foreign::with_samples(old).url, &[], None);
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
    assert_eq!(
        names(&report, Verdict::NotOffered),
        [
            "board codings",
            "changes",
            "active-cnf",
            "feed codings",
            "keys",
            "since_seq"
        ]
    );
    // Behind a cache that has older answers of one coding for a while.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let older = Fault::Content(|asked, text| {
        let is_coded = asked.is_board() && asked.field("accept-encoding").is_some();
        if is_coded && ASKED.fetch_add(1, Relaxed) < 8 {
            *text = text.replace("challenge-4", "challenge-5");
        }
    });
    let report = check(&Foreign::with_samples(older).url, &[], None);
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
    // Behind nginx, which refuses a field that comes twice.
    let proxied = Fault::Answer(|asked, answer| {
        let lists = asked
            .fields
            .iter()
            .filter(|(name, _)| name == "if-none-match")
            .count();
        if lists > 1 {
            answer.status = 400;
            answer.set("server", "nginx/1.27.0");
        }
    });
    let report = check(&Foreign::with_samples(proxied).url, &[], None);
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
    let not_offered = names(&report, Verdict::NotOffered);
    assert!(
        not_offered.contains(&"board 304 of two lines"),
        "{not_offered:?}"
    );
    // Behind a cache that has kept the answer for an hour.
    let kept = Fault::Answer(|_, answer| {
        let date = std::time::SystemTime::now() - Duration::from_secs(3600);
        answer.set("date", &httpdate::fmt_http_date(date));
        answer.set("age", "3600");
    });
    let report = check(&Foreign::with_samples(kept).url, &[], None);
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report:#?}");
}

#[test]
fn each_broken_rule_is_named() {
    let mut wrong = Vec::new();
    for (name, fault, expected) in faults::all() {
        let report = check(
            &Foreign::with_samples(fault).url,
            &["--max-stale", "0"],
            None,
        );
        if report.failed() != expected {
            let failed = report
                .checks
                .iter()
                .filter(|it| it.verdict == Verdict::Fails);
            let failed: Vec<String> = failed.map(ToString::to_string).collect();
            wrong.push(format!("{name}: expected {expected:?}, found {failed:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_server_fails_with_reasons() {
    let folder = TempDir::new().unwrap();
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let server = Process::new("python3")
        .args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            &address.port().to_string(),
        ])
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _server = Guard(server.unwrap());
    eventually("the file server", || {
        std::net::TcpStream::connect(address).is_ok()
    });
    let output = run(&["check", &format!("http://{address}")]);
    let (said, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("FAIL  board                    404, expected 200"),
        "{said}"
    );
    assert!(
        error.contains("checks fail: board, feed, unknown path"),
        "{error}"
    );
}

#[test]
fn a_server_that_never_ends_an_answer_or_is_not_there_is_left_in_time() {
    let head = "HTTP/1.1 200 x\r\ncontent-type: application/json\r\n\r\n";
    let sends = |head, piece, pause_ms| {
        let pause = Duration::from_millis(pause_ms);
        Foreign::with_samples(Fault::Bytes(head, piece, pause)).url
    };
    for (url, name, reason) in [
        // Bytes as fast as they are read.
        (sends(head, &[b' '; 65_536], 0), "board", "more than"),
        // One byte after the other.
        (
            sends(head, b" ", 50),
            "connection",
            "no complete answer in 1 s",
        ),
        // A head without an end.
        (
            sends("HTTP/1.1 200 x\r\n", b"x-y: z\r\n", 1),
            "connection",
            "",
        ),
        ("http://127.0.0.1:1".to_owned(), "connection", "refused"),
    ] {
        let options = ["--timeout", if name == "board" { "60" } else { "1" }];
        let report = check(&url, &options, None);
        assert!(report.failed().contains(&name), "{url}: {report:#?}");
        assert!(seen(&report, name).contains(reason), "{report:#?}");
        assert!(report.body_bytes < 2 << 30);
    }
    // Every answer is in time, all together are not.
    let slow = Fault::Answer(|_, _| std::thread::sleep(Duration::from_millis(100)));
    let report = check(
        &Foreign::with_samples(slow).url,
        &["--total-timeout", "2"],
        None,
    );
    let last = report.checks.last().unwrap();
    assert!(last.seen.contains("--total-timeout"), "{report:#?}");
}

#[test]
fn the_table_and_the_json_have_the_same_content_and_the_exit_code_says_whether_all_rules_hold() {
    let broken = Fault::Answer(|asked, answer| {
        if asked.is_board() {
            answer.status = 500;
            answer.body = b"\x1b[31m".to_vec();
        }
    });
    for (fault, code) in [(Fault::None, 0), (broken, 1)] {
        let url = Foreign::with_samples(fault).url;
        let table = run(&["check", &url]);
        let json = run(&["check", &url, "--json"]);
        let text = String::from_utf8(table.stdout).unwrap();
        let json_text = String::from_utf8(json.stdout).unwrap();
        assert_eq!(json_text.lines().count(), 1);
        let value: Value = serde_json::from_str(&json_text).unwrap();
        let checks = value["checks"].as_array().unwrap();
        assert_eq!(text.lines().count(), checks.len() + 1, "{text}");
        for (line, check) in text.lines().zip(checks) {
            assert!(line.contains(check["name"].as_str().unwrap()), "{line}");
            let verdict = match check["verdict"].as_str().unwrap() {
                "holds" => "ok ",
                "fails" => "FAIL ",
                _ => "- ",
            };
            assert!(line.starts_with(verdict), "{line}");
        }
        let error = String::from_utf8(table.stderr).unwrap();
        assert_eq!(table.status.code(), Some(code), "{text}{error}");
        assert_eq!(json.status.code(), Some(code));
        assert!(!text.contains('\u{1b}') && !error.contains('\u{1b}'));
        if code == 1 {
            let expected = format!("{url}: 1 of {} checks fail: board\n", checks.len());
            assert!(error.ends_with(&expected), "{error}");
        }
    }
}

#[test]
fn an_invalid_url_and_files_that_cannot_be_read_give_one_clear_line() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "{}").unwrap();
    let (file, missing) = (file.to_str().unwrap(), "/no/such/file");
    for (arguments, reason) in [
        (
            &["check", "localhost:8080"][..],
            "must begin with http:// or https://",
        ),
        (&["check", "http://a/?x"], "must have no query"),
        (&["check", "http://u:p@a/"], "must not contain a user"),
        (&["check", "http://127.0.0.1:1", "--jwks", missing], missing),
        (
            &["check", "http://127.0.0.1:1", "--jwks", file],
            "the JWK set",
        ),
        (
            &["check", "https://127.0.0.1:1", "--ca-file", missing],
            missing,
        ),
        (
            &["check", "https://127.0.0.1:1", "--ca-file", file],
            "it has no certificate",
        ),
    ] {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(reason), "{said}");
    }
}
