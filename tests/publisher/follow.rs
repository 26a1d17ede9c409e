//! Following another process of this program, which is waited for:
//!
//! - board, pages, tags, cursors and positions are those of the upstream, and change with it
//! - an upstream that is killed and comes back is followed again, and so is one that a killed follower comes back to
//! - an upstream that is restored, or gets another database, is copied as it is then
//! - a follower without its upstream serves what it has, and one that never had anything is not ready
//! - what was copied first is served at once, and nothing is served before
//! - a new follower is ready when it serves the board of an upstream that is older than its database
//! - an upstream that has given an eval run another number is read anew
//! - a follower whose database is not its copy any more is not ready, and says why
//! - the backup of a follower is restored into a new file only, and only a copy is promoted
//! - if the lock file is deleted, the process that follows last copies, and the one before is not ready and says why
//! - nobody writes to a follower, no second process follows with its database, and one with other data is not overwritten

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
};

use cathedral_publisher::{config::Kind, demo::sample::Sample};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    app::{BOARD, CURRENT, Data, FEED, TOKENS, eventually, within_limit},
    client::Connection,
    process::{Service, activated, get, post, publisher, run, serve},
};

pub const CHANGES: &str = "/v1/synthetic-boolean/active-challenges/changes";

/// An upstream that keeps its address when its process is another one.
pub struct Upstream {
    listener: TcpListener,
    pub process: Service,
}

impl Upstream {
    pub fn start(database: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let process = Service::start(activated(database, &listener, &[]));
        Self { listener, process }
    }

    pub fn restart(&mut self, database: &Path) {
        self.restart_with(database, &[]);
    }

    pub fn restart_with(&mut self, database: &Path, options: &[&str]) {
        self.process.signal("-KILL");
        self.process.ended_unread();
        self.process = Service::start(activated(database, &self.listener, options));
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    pub fn follow(&self, folder: &TempDir) -> Service {
        let url = format!("http://{}", self.address());
        let options = ["--follow", &url, "--change-poll-ms", "50"];
        Service::start(serve(&folder.path().join("copy.db"), &options))
    }

    pub fn put(&self, method: &str, path: &str, body: &str) {
        let fields = format!("Authorization: Bearer {}\r\n", TOKENS[0]);
        let mut connection = Connection::open(&self.address()).unwrap();
        let (status, answer) = connection
            .request(method, path, &fields, body.as_bytes())
            .unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    }

    pub fn post_rows(&self, rows: &[String]) {
        self.put("POST", "/v1/admin/eval-runs", &rows.join("\n"));
    }

    pub fn put_challenge(&self, seed: u64) {
        let mut item = Vec::new();
        Sample::new(seed)
            .challenge(1)
            .write_item(&mut item)
            .unwrap();
        self.put(
            "POST",
            "/v1/admin/challenges",
            std::str::from_utf8(&item).unwrap(),
        );
    }
}

pub fn row(id: &str, time: &str) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T{time}Z","weighted_score":1.0,"eval_output_schema_version":5}}"#
    )
}

pub fn rows(ids: std::ops::Range<u32>) -> Vec<String> {
    // In another order than that of their times; each seventh is not published.
    let row = |id: u32| {
        let time = id * 7919 % 3600;
        let row = row(
            &format!("r{id}"),
            &format!("00:{:02}:{:02}.{:03}", time / 60, time % 60, id % 1000),
        );
        if id % 7 == 3 {
            row.replace(":5}", ":4}")
        } else {
            row
        }
    };
    ids.map(row).collect()
}

pub fn data() -> Data {
    let data = Data::sample();
    data.import(Kind::Rows, rows(0..450).join("\n").as_bytes());
    data
}

pub fn part<'a>(answer: &'a str, name: &str) -> &'a str {
    let field = answer
        .lines()
        .find(|line| line.to_lowercase().starts_with(name));
    &field.unwrap_or_else(|| panic!("{name}: {answer}"))[name.len()..]
}

/// What clients see: status, entity-tag and body.
pub fn seen(address: &str, target: &str) -> (String, String, String) {
    let answer = get(address, target, "");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let tag = if head.starts_with("HTTP/1.1 200") {
        part(head, "etag: ")
    } else {
        ""
    };
    (head[..12].to_owned(), tag.to_owned(), body.to_owned())
}

/// Returns the pages in the order of commits, as a client reads them.
pub fn walk(address: &str, from: &str) -> Vec<(String, String, String)> {
    let (mut cursor, mut pages) = (from.to_owned(), Vec::new());
    loop {
        let page = seen(address, &format!("{FEED}?since_seq={cursor}&limit=100"));
        let json: Value = serde_json::from_str(&page.2).unwrap();
        let is_empty = json["items"].as_array().is_none_or(Vec::is_empty);
        pages.push(page);
        if is_empty {
            return pages;
        }
        cursor = json["next_since_seq"].as_str().unwrap().to_owned();
    }
}

/// Returns the cursor at the end of the feed.
fn end(address: &str) -> String {
    let (.., page) = walk(address, "0").pop().unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    page["next_since_seq"].as_str().unwrap().to_owned()
}

/// Returns the position of the board.
fn position(address: &str) -> String {
    let answer = get(address, CHANGES, "");
    let link = part(&answer, "link: ");
    link.split(['=', '&']).nth(1).unwrap().to_owned()
}

fn targets() -> Vec<String> {
    let feed = |query: &str| format!("{FEED}?{query}");
    vec![
        BOARD.to_owned(),
        CURRENT.to_owned(),
        feed("since_ran_at=2000-01-01T00:00:00Z&since_id="),
        feed("since_ran_at=2026-06-07T00:20:00Z&since_id=&limit=7"),
        feed("since=2026-06-07T00:59:00Z"),
        feed("since_seq=0&limit=1000"),
    ]
}

/// Waits until both answer alike.
pub fn until_same(upstream: &str, follower: &str) {
    for target in targets() {
        eventually(&target, || {
            let theirs = seen(upstream, &target);
            theirs.0 == "HTTP/1.1 200" && theirs == seen(follower, &target)
        });
    }
    assert_eq!(walk(upstream, "0"), walk(follower, "0"));
}

#[test]
fn board_pages_tags_cursors_and_positions_are_those_of_the_upstream_and_change_with_it() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let upstream = Upstream::start(&PathBuf::from(data.location()));
    upstream.put("PUT", "/v1/admin/merkle-epochs/7", r#"{"root":"x"}"#);
    upstream.put_challenge(77);
    let follower = upstream.follow(&folder);
    let (theirs, ours) = (upstream.address(), follower.address.clone());
    until_same(&theirs, &ours);
    eventually("the position", || position(&theirs) == position(&ours));
    // Nobody polls: the time slots of this upstream last longer than the test.
    let before = end(&theirs);
    for number in 450..460 {
        upstream.post_rows(&rows(number..number + 1));
        upstream.put_challenge(u64::from(number));
    }
    until_same(&theirs, &ours);
    assert_eq!(walk(&theirs, &before), walk(&ours, &before));
    clients_go_to_and_fro(&upstream, &ours, 1);
    // A follower can be followed.
    let folder = TempDir::new().unwrap();
    let url = format!("http://{ours}");
    let options = ["--follow", &url, "--change-poll-ms", "50"];
    let second = Service::start(serve(&folder.path().join("copy.db"), &options));
    until_same(&theirs, &second.address);
    upstream.post_rows(&rows(470..480));
    until_same(&theirs, &second.address);
    follower.signal("-TERM");
    let (_, log) = follower.ended();
    let told = log.contains("the lineage of the upstream is");
    assert!(told && !log.contains("restored"), "{log}");
}

/// Clients that got cursor and position at one of them wait at the other one, and are told of the next change.
fn clients_go_to_and_fro(upstream: &Upstream, ours: &str, number: u64) {
    let theirs = upstream.address();
    until_same(&theirs, ours);
    let id = format!("told{number}");
    std::thread::scope(|scope| {
        for (from, to) in [(ours, theirs.as_str()), (theirs.as_str(), ours)] {
            let (cursor, position) = (end(from), position(from));
            let tag = seen(from, BOARD).1;
            for target in [
                format!("{FEED}?since_seq={cursor}&slot=99999999999"),
                format!("{CHANGES}?after={position}&slot=99999999999"),
            ] {
                let (id, tag) = (&id, tag.clone());
                scope.spawn(move || {
                    // At most one answer without news, as from a server with another lineage.
                    let mut target = target;
                    for _ in 0..2 {
                        let answer = get(to, &target, &format!("If-None-Match: {tag}\r\n"));
                        if answer.starts_with("HTTP/1.1 200")
                            && (answer.contains(id) || answer.contains("\"count\""))
                        {
                            return;
                        }
                        let path = target.split('?').next().unwrap();
                        let link = part(&answer, "link: ");
                        target = format!(
                            "{path}{}",
                            link.trim_start_matches('<').split('>').next().unwrap()
                        );
                    }
                    panic!("{target}");
                });
            }
        }
        eventually("waiting clients", || {
            let waiting = |address: &str| {
                let metrics = get(address, "/metrics", "");
                part(&metrics, "publisher_waiters ").parse::<u32>().unwrap()
            };
            // The follower is a client of its upstream, too.
            waiting(&theirs) >= 4 && waiting(ours) >= 2
        });
        upstream.post_rows(&[row(&id, "00:00:00")]);
        upstream.put_challenge(10_000 + number);
    });
    until_same(&theirs, ours);
}

#[test]
fn an_upstream_or_a_follower_that_is_killed_goes_on_where_it_was() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let database = PathBuf::from(data.location());
    let mut upstream = Upstream::start(&database);
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let cursor = end(&follower.address);
    upstream.restart(&database);
    upstream.post_rows(&rows(500..700));
    upstream.put_challenge(5);
    until_same(&upstream.address(), &follower.address);
    follower.signal("-KILL");
    drop(follower);
    upstream.post_rows(&rows(700..1100));
    upstream.put_challenge(6);
    upstream.restart(&database);
    upstream.put_challenge(7);
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let (theirs, ours) = (
        walk(&upstream.address(), &cursor),
        walk(&follower.address, &cursor),
    );
    assert_eq!(theirs, ours);
    clients_go_to_and_fro(&upstream, &follower.address, 1);
    let metrics = get(&follower.address, "/metrics", "");
    assert!(
        metrics.contains("publisher_follow_rejected_total{reason=\"numbers\"} 0"),
        "{metrics}"
    );
}

#[test]
fn an_upstream_that_is_restored_or_gets_another_database_is_copied_as_it_is_then() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let database = PathBuf::from(data.location());
    let mut upstream = Upstream::start(&database);
    let follower = upstream.follow(&folder);
    let (theirs, ours) = (upstream.address(), follower.address.clone());
    until_same(&theirs, &ours);
    let backup = folder.path().join("backup.db");
    let command = |name: &str| {
        let output = publisher(&[name])
            .arg(&backup)
            .arg("--database")
            .arg(&database)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    command("backup");
    upstream.post_rows(&rows(450..800));
    upstream.put_challenge(5);
    upstream.put_challenge(6);
    until_same(&theirs, &ours);
    let cursor = end(&ours);
    command("restore");
    for address in [&theirs, &ours] {
        let all = format!("{FEED}?since_seq=0&limit=1000");
        eventually("the restored feed", || {
            !seen(address, &all).2.contains("\"r700\"")
        });
    }
    until_same(&theirs, &ours);
    upstream.post_rows(&rows(800..900));
    upstream.put_challenge(7);
    until_same(&theirs, &ours);
    assert_eq!(walk(&theirs, &cursor), walk(&ours, &cursor));
    clients_go_to_and_fro(&upstream, &ours, 1);
    // Some of its eval runs are the same, with other numbers.
    let other = Data::sample();
    other.import(Kind::Rows, rows(840..1500).join("\n").as_bytes());
    other.import(Kind::Rows, rows(100..200).join("\n").as_bytes());
    upstream.restart(&PathBuf::from(other.location()));
    until_same(&theirs, &ours);
    upstream.post_rows(&rows(2000..2010));
    upstream.put_challenge(8);
    clients_go_to_and_fro(&upstream, &ours, 2);
}

#[test]
fn a_follower_without_its_upstream_serves_what_it_has_and_one_that_never_had_anything_is_not_ready()
{
    let (data, folder, empty) = (data(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let upstream = Upstream::start(&PathBuf::from(data.location()));
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let before: Vec<_> = targets()
        .iter()
        .map(|target| seen(&follower.address, target))
        .collect();
    let walked = walk(&follower.address, "0");
    let url = format!("http://{}", upstream.address());
    drop(upstream);
    follower.signal("-TERM");
    assert_eq!(follower.ended().0, Some(0));
    let start = |folder: &TempDir| {
        let options = ["--follow", &url, "--max-snapshot-age-secs", "3600"];
        Service::start(serve(&folder.path().join("copy.db"), &options))
    };
    let follower = start(&folder);
    let after: Vec<_> = targets()
        .iter()
        .map(|target| seen(&follower.address, target))
        .collect();
    assert_eq!((after, walk(&follower.address, "0")), (before, walked));
    let ready = get(&follower.address, "/health/ready", "");
    assert!(ready.contains(r#""upstream":"ok""#), "{ready}");
    let follower = start(&empty);
    let ready = get(&follower.address, "/health/ready", "");
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains(r#""upstream":"not copied yet""#),
        "{ready}"
    );
    eventually("failed requests", || {
        let metrics = get(&follower.address, "/metrics", "");
        !metrics.contains("publisher_follow_requests_total{outcome=\"failed\"} 0")
            && part(&metrics, "publisher_follow_lag_seconds ")
                .parse::<f64>()
                .unwrap()
                > 0.0
    });
    // What it does not have is not empty.
    for target in targets().iter().map(String::as_str).chain([CHANGES]) {
        let (status, ..) = seen(&follower.address, target);
        assert_eq!(status, "HTTP/1.1 503", "{target}");
    }
}

#[test]
fn what_was_copied_first_is_served_at_once_and_nothing_is_served_before() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let upstream = Upstream::start(&PathBuf::from(data.location()));
    let url = format!("http://{}", upstream.address());
    // Neither age nor a poll brings the board.
    let options = [
        "--follow",
        &url,
        "--ttl-secs",
        "3600",
        "--change-poll-ms",
        "3600000",
    ];
    let follower = Service::start(serve(&folder.path().join("copy.db"), &options));
    let (theirs, ours) = (upstream.address(), follower.address.clone());
    for target in targets() {
        let expected = seen(&theirs, &target);
        eventually(&target, || {
            let answer = seen(&ours, &target);
            assert!(
                answer.0 == "HTTP/1.1 503" || answer == expected,
                "{answer:?}"
            );
            answer == expected
        });
    }
    let is_ready = || get(&ours, "/health/ready", "").starts_with("HTTP/1.1 200");
    eventually("a ready follower", is_ready);
}

#[test]
fn a_new_follower_is_ready_when_it_serves_the_board_of_an_upstream_that_is_older_than_its_database()
{
    let (data, folder) = (data(), TempDir::new().unwrap());
    let path = PathBuf::from(data.location());
    let lineages = "UPDATE lineages SET ordinal = ordinal - 1000";
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute(lineages, [])
        .unwrap();
    let upstream = Upstream::start(&path);
    let board = seen(&upstream.address(), BOARD);
    for number in 0..3 {
        let url = format!("http://{}", upstream.address());
        let options = ["--follow", &url, "--change-poll-ms", "50"];
        let copy = folder.path().join(format!("{number}.db"));
        let follower = Service::start(serve(&copy, &options));
        eventually("readiness", || {
            get(&follower.address, "/health/ready", "").starts_with("HTTP/1.1 200")
        });
        assert_eq!(seen(&follower.address, BOARD), board);
    }
}

#[test]
fn an_upstream_that_has_given_an_eval_run_another_number_is_read_anew() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let database = PathBuf::from(data.location());
    let upstream = Upstream::start(&database);
    upstream.post_rows(&rows(450..460));
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let renumber = "UPDATE eval_runs SET seq = seq + 1000 WHERE id = 'r440';
        UPDATE sqlite_sequence SET seq = seq + 1000 WHERE name = 'eval_runs'";
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch(renumber)
        .unwrap();
    upstream.post_rows(&rows(460..470));
    until_same(&upstream.address(), &follower.address);
    let metrics = get(&follower.address, "/metrics", "");
    let count = |series: &str| part(&metrics, series).parse::<u32>().unwrap();
    let rejected = count("publisher_follow_requests_total{outcome=\"rejected\"} ");
    assert!(rejected > 0, "{metrics}");
    assert_eq!(
        count("publisher_follow_rejected_total{reason=\"numbers\"} "),
        rejected
    );
    follower.signal("-TERM");
    let (_, log) = follower.ended();
    assert_eq!(log.matches("reading all of them anew").count(), 1, "{log}");
    assert!(
        log.contains("is already stored with different bytes"),
        "{log}"
    );
}

#[test]
fn a_follower_whose_database_is_not_its_copy_any_more_is_not_ready_and_says_why() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let upstream = Upstream::start(&PathBuf::from(data.location()));
    let mut follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let ready = || get(&follower.address, "/health/ready", "");
    eventually("readiness", || ready().starts_with("HTTP/1.1 200"));
    let mut log = String::new();
    let own = Data::sample();
    own.import(Kind::Rows, rows(0..30).join("\n").as_bytes());
    let moved = folder.path().join("moved.db");
    // In one file.
    let copied = rusqlite::Connection::open(own.location())
        .unwrap()
        .execute("VACUUM INTO ?1", [moved.to_str().unwrap()]);
    copied.unwrap();
    std::fs::rename(&moved, folder.path().join("copy.db")).unwrap();
    eventually("a follower that is not ready", || {
        let ready = ready();
        ready.starts_with("HTTP/1.1 503")
            && ready.contains(r#""database":"no copy of another publisher any more""#)
    });
    upstream.post_rows(&rows(450..460));
    // The poll tells it, and so does what cannot store the new eval runs.
    while log.matches("no copy of another publisher").count() < 2 {
        log += &follower.log_line();
    }
    follower.signal("-TERM");
    log += &follower.ended().1;
    assert_eq!(
        log.matches("the lineage of the upstream is").count(),
        1,
        "{log}"
    );
    assert!(!log.contains("no such table"), "{log}");
}

#[test]
fn the_backup_of_a_follower_is_restored_into_a_new_file_only_and_only_a_copy_is_promoted() {
    let (own, folder) = (data(), TempDir::new().unwrap());
    let database = own.location().into_string().unwrap();
    let upstream = Upstream::start(&PathBuf::from(&database));
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (copy, backup, new) = (file("copy.db"), file("backup.db"), file("new.db"));
    let succeeds = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{output:?}");
    };
    let refused = |arguments: &[&str], reason: &str| {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    succeeds(&["backup", &backup, "--database", &copy]);
    let count = "SELECT count(*) FROM eval_runs";
    let before = own.database.number(count);
    refused(
        &["restore", &backup, "--database", &database],
        "restore it into a new file",
    );
    assert_eq!(own.database.number(count), before);
    upstream.post_rows(&rows(450..451));
    let url = format!("http://{}", upstream.address());
    let promote = |database: &str, more: &[&str], reason: &str| {
        let serve = [
            "serve",
            "--promote",
            "--address",
            "127.0.0.1:0",
            "--database",
            database,
        ];
        refused(&[&serve, more].concat(), reason);
    };
    let missing = file("missing.db");
    promote(&missing, &[], "there is nothing to promote");
    assert!(!Path::new(&missing).exists());
    promote(&database, &[], "there is nothing to promote");
    promote(&copy, &["--follow", &url], "cannot be used with --follow");
    promote(&backup, &["--read-only"], "cannot be used with --read-only");
    promote(
        "postgres://127.0.0.1:1/x",
        &[],
        "there is nothing to promote",
    );
    succeeds(&["restore", &backup, "--database", &new]);
    // A service that is started again with the same options goes on.
    for _ in 0..2 {
        let promoted = Service::start(serve(&new, &["--promote"]));
        let stored = post(&promoted.address, &row("mine", "00:00:00"));
        assert!(stored.starts_with("HTTP/1.1 200"), "{stored}");
        promoted.signal("-TERM");
        promoted.ended();
    }
}

#[test]
fn if_the_lock_file_is_deleted_the_process_that_follows_last_copies() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let upstream = Upstream::start(&PathBuf::from(data.location()));
    let mut first = upstream.follow(&folder);
    until_same(&upstream.address(), &first.address);
    std::fs::remove_file(folder.path().join("copy.db-follower")).unwrap();
    let second = upstream.follow(&folder);
    eventually("a follower that is not ready", || {
        let ready = get(&first.address, "/health/ready", "");
        ready.starts_with("HTTP/1.1 503")
            && ready.contains(r#""database":"another process follows with it""#)
    });
    upstream.post_rows(&rows(450..460));
    until_same(&upstream.address(), &second.address);
    let mut log = String::new();
    while !log.contains("another process has begun to follow with this database") {
        log += &first.log_line();
    }
    first.signal("-TERM");
    first.ended();
    upstream.post_rows(&rows(460..470));
    until_same(&upstream.address(), &second.address);
    let ready = get(&second.address, "/health/ready", "");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
}

#[test]
fn nobody_writes_to_a_follower_and_a_database_with_other_data_is_not_overwritten() {
    let (own, folder) = (data(), TempDir::new().unwrap());
    let upstream = Upstream::start(&PathBuf::from(own.location()));
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let refused = post(&follower.address, &row("mine", "00:00:00"));
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
    follower.signal("-TERM");
    follower.ended();
    let url = format!("http://{}", upstream.address());
    let log = folder.path().join("log");
    let mut command = serve(&folder.path().join("copy.db"), &["--follow", &url]);
    let mut follower = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
    let is_told = within_limit(|| {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("the admin token is ignored")
    });
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert!(is_told);
    let copy = folder.path().join("copy.db");
    let refused = |database: &Path, options: &[&str], reason: &str| {
        let mut command = serve(database, &["--follow", &url]);
        let output = command.args(options).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason), "{said}");
    };
    let other = data();
    let count = other.database.number("SELECT count(*) FROM eval_runs");
    refused(
        &PathBuf::from(other.location()),
        &[],
        "needs a database of its own",
    );
    assert_eq!(
        other.database.number("SELECT count(*) FROM eval_runs"),
        count
    );
    refused(
        Path::new("postgres://127.0.0.1:1/x"),
        &["--snapshot-file", "x"],
        "SQLite",
    );
    refused(&copy, &["--read-only"], "cannot be used with");
    // Nor do other processes, until it is no copy any more.
    let file = folder.path().join("row.json");
    std::fs::write(&file, row("mine", "00:00:00")).unwrap();
    let backup = folder.path().join("backup.db");
    let (file, path) = (file.to_str().unwrap(), copy.to_str().unwrap());
    let backup = backup.to_str().unwrap();
    let backed_up = run(&["backup", backup, "--database", path]);
    assert!(backed_up.status.success(), "{backed_up:?}");
    for command in [
        &["import", "rows", file][..],
        &["restore", backup],
        &["serve", "--address", "127.0.0.1:0"],
    ] {
        let output = run(&[command, &["--database", path]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        let is_told = said.contains("is a copy of http://") && said.contains("serve --promote");
        assert!(!output.status.success() && is_told, "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    refused(&copy, &[], "another process follows with it");
    let other_name = folder.path().join("other.db");
    std::fs::hard_link(&copy, &other_name).unwrap();
    refused(&other_name, &[], "has another name (a hard link)");
    std::fs::remove_file(&other_name).unwrap();
    let promoted = run(&[
        "serve",
        "--promote",
        "--database",
        path,
        "--address",
        "127.0.0.1:0",
    ]);
    let said = String::from_utf8(promoted.stderr).unwrap();
    assert!(
        !promoted.status.success() && said.contains("another process follows"),
        "{said}"
    );
    let before = walk(&follower.address, "0");
    follower.signal("-KILL");
    drop(follower);
    let own = Service::start(serve(&copy, &["--promote"]));
    assert_eq!(walk(&own.address, "0"), before);
    let stored = post(&own.address, &row("mine", "00:00:00"));
    assert!(stored.starts_with("HTTP/1.1 200"), "{stored}");
    own.signal("-TERM");
    own.ended();
    refused(&copy, &[], "needs a database of its own");
}
