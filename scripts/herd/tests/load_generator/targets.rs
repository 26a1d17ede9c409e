//! Figures of each target:
//!
//! - with several targets the table, the JSON and the report have the polls, failures and quantiles of each; with one they
//!   have not
//! - they add up to those of all pollers, on any number of threads, also those of polls that were skipped
//! - of very many targets the worst have a row, and all are in the JSON

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use herd::{failures::Reason, report, run::Run, table::table};
use tempfile::TempDir;

use crate::{EMPTY, herd_of, run, stub};

/// Starts a server that answers: `/missing…` with 404, `/slow` after a while, all else at once. Returns its URL.
fn paths() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || -> std::io::Result<()> {
                let mut path = String::new();
                for line in BufReader::new(socket.try_clone()?).lines() {
                    let line = line?;
                    if let Some(rest) = line.strip_prefix("GET ") {
                        rest.clone_into(&mut path);
                    }
                    if !line.is_empty() {
                        continue;
                    }
                    if path.starts_with("/missing") {
                        socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                        continue;
                    }
                    if path.starts_with("/slow") {
                        thread::sleep(Duration::from_millis(300));
                    }
                    socket.write_all(EMPTY)?;
                }
                Ok(())
            });
        }
    });
    url
}

fn sums(run: &Run) -> [u64; 4] {
    let sum = |of: fn(&herd::run::OfTarget) -> u64| run.targets.iter().map(of).sum();
    [
        sum(|target| target.due),
        sum(|target| target.answered),
        sum(|target| target.failed),
        sum(|target| target.failures.values().sum()),
    ]
}

fn of_all(run: &Run) -> [u64; 4] {
    let role = &run.pollers;
    let failures = role.failures.count(|_| true);
    [role.due, role.answered, role.failed, failures]
}

#[actix_web::test]
async fn each_of_several_targets_has_its_figures() {
    let url = paths();
    let targets = [
        format!("2 {url}/fast"),
        format!("1 {url}/missing"),
        format!("1 {url}/slow"),
    ];
    for options in [
        "--threads 1 --arrival open --interval-ms 100",
        "--threads 3 --arrival loop --interval-ms 50",
    ] {
        let mut arguments: Vec<&str> = targets
            .iter()
            .flat_map(|target| ["--target", target])
            .collect();
        arguments.extend("--clients 6 --duration-secs 2 --timeout-ms 20000".split(' '));
        arguments.extend(options.split(' '));
        let run = run(&arguments).await;
        assert_eq!(sums(&run), of_all(&run), "{options}");
        let [fast, missing, slow] = run.targets.as_slice() else {
            panic!("{:?}", run.targets);
        };
        assert!(fast.url.ends_with("/fast") && slow.url.ends_with("/slow"));
        let failures: Vec<_> = missing.failures.iter().collect();
        assert_eq!(failures, [(&Reason::Status(404), &missing.failed)]);
        assert_eq!((missing.answered, fast.failed, slow.failed), (0, 0, 0));
        assert_eq!(missing.latency.p50_ms, Some(f64::INFINITY));
        assert!(slow.latency.max_ms.unwrap() > 290.0, "{slow:?}");
        assert!(missing.failed > 0 && fast.answered > slow.answered);

        let text = table(std::slice::from_ref(&run));
        let row = |url: &str| text.lines().find(|line| line.starts_with(url)).unwrap();
        let failed = format!("{} 404", missing.failed);
        assert!(row(&missing.url).ends_with(&failed), "{text}");
        assert!(row(&missing.url).contains("never"), "{text}");
        assert!(row(&fast.url).ends_with('0'), "{text}");
        let json = serde_json::to_value(&run).unwrap();
        assert_eq!(json["targets"][1]["failures"]["404"], missing.failed);
        assert_eq!(json["targets"][1]["latency"]["p99_ms"], "never");
        assert_eq!(serde_json::from_value::<Run>(json).unwrap(), run);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("run.html");
        report::write(std::slice::from_ref(&run), &path).unwrap();
        let page = std::fs::read_to_string(path).unwrap().replace("<wbr>", "");
        assert!(page.contains("<summary>Targets</summary>"), "{page}");
        assert!(page.contains("/missing</th>"), "{page}");
    }
}

#[actix_web::test]
async fn one_target_has_no_figures_of_its_own() {
    let url = stub(|socket| socket.write_all(EMPTY));
    let run = herd_of(&url, "--clients 2 --interval-ms 100 --duration-secs 1").await;
    assert!(run.targets.is_empty());
    assert!(!serde_json::to_string(&run).unwrap().contains("\"targets\""));
    assert!(!table(&[run]).contains("targets of"));
}

#[actix_web::test]
async fn of_very_many_targets_the_worst_have_a_row_and_all_are_in_the_json() {
    let url = paths();
    let mut targets: Vec<String> = (0..40).map(|at| format!("1 {url}/fast/{at}")).collect();
    targets.extend((0..3).map(|at| format!("1 {url}/missing/{at}")));
    let mut arguments: Vec<&str> = targets
        .iter()
        .flat_map(|target| ["--target", target])
        .collect();
    let options = "--clients 10 --rate 200 --duration-secs 2 --timeout-ms 20000";
    arguments.extend(options.split(' '));
    let run = run(&arguments).await;
    assert_eq!(run.targets.len(), 43);
    assert_eq!(sums(&run), of_all(&run));
    let text = table(&[run]);
    let rows = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!((rows("/missing/"), rows("/fast/")), (3, 17), "{text}");
    assert!(text.contains("23 more in the JSON"), "{text}");
}
