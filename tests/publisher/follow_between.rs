//! Following another process of this program through what stands between, and what it may turn into:
//!
//! - a cache that answers for a dead upstream brings no older board back, and confirms nothing
//! - two databases behind one name are not read in turns without a pause
//! - an upstream whose waits all fail is asked less and less often, though its other answers are good
//! - an older database in the place of the upstream's is named in the log, and the follower is not ready then
//! - a lineage of the upstream that may lack eval runs is read anew, also if the first request for that fails
//! - what the upstream has removed is told as the upstream tells it
//! - a new follower has no board, says so, and names no cursor in events

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    app::{BOARD, FEED, eventually, within_limit},
    between::Between,
    follow::{CHANGES, Upstream, data, part, row, rows, seen, until_same},
    process::{Guard, Service, get, run, serve},
};

fn follow(folder: &TempDir, between: &Between, more: &[&str]) -> Service {
    let options = [&["--follow", &between.url, "--change-poll-ms", "50"], more].concat();
    Service::start(serve(&folder.path().join("copy.db"), &options))
}

fn lag(follower: &Service) -> f64 {
    let metrics = get(&follower.address, "/metrics", "");
    let lag = part(&metrics, "publisher_follow_lag_seconds ");
    lag.parse().unwrap()
}

#[test]
fn a_cache_that_answers_for_a_dead_upstream_brings_no_older_board_back_and_confirms_nothing() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let database = PathBuf::from(data.location());
    let mut upstream = Upstream::start(&database);
    upstream.put_challenge(1);
    let between = Between::start(&[upstream.address()]);
    let follower = follow(&folder, &between, &[]);
    for seed in 2..6 {
        until_same(&upstream.address(), &follower.address);
        upstream.put_challenge(seed);
        upstream.post_rows(&[row(&format!("n{seed}"), "00:00:00")]);
    }
    until_same(&upstream.address(), &follower.address);
    let board = seen(&follower.address, BOARD);
    between.place().upstreams.clear();
    upstream.process.signal("-KILL");
    let asked = || between.times(|target| target == CHANGES).len();
    let attempts = |more| {
        let before = asked();
        eventually("attempts", || {
            assert_eq!(seen(&follower.address, BOARD), board);
            asked() >= before + more
        });
    };
    // When it asks again, it has read what came before.
    attempts(1);
    let begun = Instant::now();
    attempts(2);
    // What a cache says does not count.
    let waited = begun.elapsed().as_secs_f64();
    let lag = lag(&follower);
    assert!(lag >= waited, "{lag} {waited}");
    upstream.restart(&database);
    between.place().upstreams.push(upstream.address());
    upstream.put_challenge(6);
    until_same(&upstream.address(), &follower.address);
    follower.signal("-TERM");
    let (_, log) = follower.ended();
    let is_told = log.contains("the board is older than the one that is stored");
    assert!(is_told, "{log}");
}

/// Returns how many answers had another status than 200 and 304.
fn refusals(follower: &Service) -> u32 {
    let metrics = get(&follower.address, "/metrics", "");
    let name = "publisher_follow_requests_total{outcome=\"status\"} ";
    part(&metrics, name).parse().unwrap()
}

/// Returns when such requests came, when there were so many. The next one comes after the answer to the one before: a busy
/// machine makes the time between them longer, and never shorter.
fn times(between: &Between, count: usize, is_meant: impl Fn(&str) -> bool) -> Vec<Instant> {
    eventually("requests", || between.times(&is_meant).len() >= count);
    between.times(&is_meant)
}

#[test]
fn two_databases_behind_one_name_are_not_read_in_turns_without_a_pause() {
    let (one, other, folder) = (data(), data(), TempDir::new().unwrap());
    let upstreams = [&one, &other].map(|data| Upstream::start(&PathBuf::from(data.location())));
    let addresses: Vec<String> = upstreams.iter().map(Upstream::address).collect();
    let between = Between::start(&addresses);
    // Otherwise the next request may wait for longer than the test.
    between.place().ends_waits = true;
    let follower = follow(&folder, &between, &[]);
    eventually("refusals", || refusals(&follower) >= 4);
    let is_first =
        |target: &str| target.contains("since_seq=0&detail=1") && !target.contains("limit");
    let times = times(&between, 3, is_first);
    // All but one are of the feed, which pauses for half a second at least; that one is of the board, at any place.
    let pauses = u32::try_from(times.len()).unwrap() - 2;
    let least = pauses * Duration::from_millis(500);
    assert!(times[times.len() - 1] - times[0] >= least, "{times:?}");
}

#[test]
fn an_upstream_whose_waits_all_fail_is_asked_less_and_less_often() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let upstream = Upstream::start(&PathBuf::from(data.location()));
    let between = Between::start(&[upstream.address()]);
    between.place().ends_waits = true;
    let follower = follow(&folder, &between, &[]);
    until_same(&upstream.address(), &follower.address);
    let is_page = |target: &str| target.ends_with("&detail=1") && !target.contains("=0&");
    for times in [
        times(&between, 5, |target| target == CHANGES),
        times(&between, 5, is_page),
    ] {
        // Half a second, one, two and four, at least, if one of the requests is not of the part that pauses.
        let pauses = times[4] - times[0];
        assert!(pauses >= Duration::from_millis(3500), "{times:?}");
    }
}

#[test]
fn an_older_database_is_named_in_the_log_and_the_follower_is_not_ready_then() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let database = PathBuf::from(data.location());
    let mut upstream = Upstream::start(&database);
    let old = folder.path().join("old.db");
    // As `cp` does it, which tells nobody.
    let copied = rusqlite::Connection::open(&database)
        .unwrap()
        .execute("VACUUM INTO ?1", [old.to_str().unwrap()]);
    copied.unwrap();
    upstream.post_rows(&rows(450..460));
    let between = Between::start(&[upstream.address()]);
    let follower = follow(&folder, &between, &["--max-snapshot-age-secs", "1"]);
    until_same(&upstream.address(), &follower.address);
    let all = format!("{FEED}?since_seq=0&limit=1000");
    let before = seen(&follower.address, &all);
    // Otherwise it notices that the file is a copy, and begins a lineage: then all is copied anew at once.
    upstream.restart_with(&old, &["--read-only"]);
    let refused = refusals(&follower);
    eventually("refusals", || refusals(&follower) > refused + 2);
    eventually("a follower that is not ready", || {
        let ready = get(&follower.address, "/health/ready", "");
        ready.starts_with("HTTP/1.1 503") && ready.contains("\"upstream\":\"not confirmed for ")
    });
    assert_eq!(seen(&follower.address, &all), before);
    follower.signal("-TERM");
    let (_, log) = follower.ended();
    assert!(
        log.contains("/v1/leaderboard/recent: it answers 503: it is behind the copy"),
        "{log}"
    );
}

#[test]
fn a_lineage_that_may_lack_eval_runs_is_read_anew_also_if_the_first_request_for_that_fails() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let database = PathBuf::from(data.location());
    let mut upstream = Upstream::start(&database);
    let between = Between::start(&[upstream.address()]);
    let follower = follow(&folder, &between, &[]);
    until_same(&upstream.address(), &follower.address);
    // As the sequence of a promoted standby does.
    let skip = "UPDATE sqlite_sequence SET seq = seq + 32 WHERE name = 'eval_runs'";
    data.database.execute(skip);
    let first_page = format!("{FEED}?since_seq=0&detail=1");
    for round in 0..2 {
        between.place().fails_next = Some(first_page.clone());
        // A new process begins a lineage when it writes.
        upstream.restart(&database);
        upstream.post_rows(&rows(450 + round..451 + round));
        until_same(&upstream.address(), &follower.address);
    }
    // In the second round nothing is left out, so nothing is read anew.
    assert_eq!(
        between.place().fails_next.as_deref(),
        Some(first_page.as_str())
    );
    follower.signal("-TERM");
    let (_, log) = follower.ended();
    assert_eq!(log.matches("reading all of them anew").count(), 2, "{log}");
}

#[test]
fn what_the_upstream_has_removed_is_told_as_the_upstream_tells_it() {
    let (data, folder) = (data(), TempDir::new().unwrap());
    let database = data.location().into_string().unwrap();
    let pruned = run(&[
        "prune",
        "rows",
        "--before",
        "2026-06-07T00:30:00Z",
        "--database",
        &database,
    ]);
    assert!(pruned.status.success(), "{pruned:?}");
    let upstream = Upstream::start(&PathBuf::from(&database));
    let follower = upstream.follow(&folder);
    until_same(&upstream.address(), &follower.address);
    let kept = |address: &str, query: &str| {
        let answer = get(address, &format!("{FEED}?since_seq=0{query}"), "");
        part(&answer, "kept-from: ").to_owned()
    };
    for query in ["", "&limit=7", "&detail=1"] {
        let theirs = kept(&upstream.address(), query);
        assert_eq!(kept(&follower.address, query), theirs, "{query}");
    }
}

#[test]
fn a_new_follower_has_no_board_says_so_and_names_no_cursor_in_events() {
    let folder = TempDir::new().unwrap();
    let options = ["--follow", "http://127.0.0.1:1", "--wait-slot-secs", "1"];
    let follower = Service::start(serve(&folder.path().join("copy.db"), &options));
    let mut stream = TcpStream::connect(&follower.address).unwrap();
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).unwrap();
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    let (mut said, mut piece) = (String::new(), [0; 1000]);
    while !said.contains("\n\n:\n") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{said}");
        said.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    assert!(
        said.contains("retry: ") && !said.contains("event: "),
        "{said}"
    );
    let log = folder.path().join("log");
    let mut command = serve(&folder.path().join("other.db"), &options);
    let log_file = File::create(&log).unwrap();
    let _other = Guard(command.stderr(log_file).spawn().unwrap());
    let is_told = within_limit(|| {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("cannot build the board (nothing was copied from the upstream yet): there is none to serve yet")
    });
    assert!(is_told);
}
