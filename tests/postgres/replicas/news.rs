//! What one publisher writes, the others serve:
//!
//! - a change at one is seen at the others within a tenth of a second, and soon also if their connections break
//! - a write that is acknowledged is in the next answer of that publisher, while three of them write
//! - commits elsewhere cost the bytes of the new rows, and cached pages stay

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    fleet::{Fleet, post},
    link::Link,
    load, ms, percentile, promise, size,
};
use crate::{
    chaos::{items, model::Stored, server::bearer},
    client::Connection,
    cluster::shared,
    store::LONG,
};

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const FEED: &str = "/v1/leaderboard/recent";
/// `--change-poll-ms`
const POLL: Duration = Duration::from_millis(500);

/// Asks for the feed and the board again and again, and notes when it has seen each key for the first time.
fn watch(address: &str, seen: &Mutex<HashMap<String, Instant>>, stop: &AtomicBool) {
    let mut connection = Connection::open(address).unwrap();
    let mut cursor = "0".to_owned();
    let mut board = Vec::new();
    while !stop.load(Relaxed) {
        let path = format!("{FEED}?since_seq={cursor}&limit=1000");
        let mut keys = Vec::new();
        if let Ok((200, body)) = connection.request("GET", &path, "", b"") {
            let page: Value = serde_json::from_slice(&body).unwrap();
            cursor = page["next_since_seq"].as_str().unwrap().to_owned();
            keys.extend(keys_of(&page, "id"));
        }
        if let Ok((200, body)) = connection.request("GET", BOARD, "", b"")
            && body != board
        {
            keys.extend(keys_of(
                &serde_json::from_slice(&body).unwrap(),
                "challenge_id",
            ));
            board = body;
        }
        let now = Instant::now();
        for key in keys {
            seen.lock().unwrap().entry(key).or_insert(now);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn keys_of(page: &Value, name: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item[name].as_str().unwrap().to_owned())
        .collect()
}

/// Writes an eval run or a challenge. Returns the key and when it was acknowledged.
fn write(connection: &mut Connection, number: usize) -> Option<(String, Instant)> {
    // Few challenges: otherwise the time to read a large board would be measured.
    let is_challenge = number % 20 == 1;
    let key = format!("1-{}-{number}", u8::from(is_challenge));
    let answer = if is_challenge {
        let path = format!("/v1/admin/challenges/{key}");
        let challenge = items::challenge(&key, items::ACTIVE);
        connection.request("PUT", &path, &bearer(), challenge.as_bytes())
    } else {
        let row = items::row(&key);
        connection.request("POST", "/v1/admin/eval-runs", &bearer(), row.as_bytes())
    };
    matches!(answer, Ok((200, _))).then(|| (key, Instant::now()))
}

/// Changes things at the first publisher. Returns how long after the acknowledgement the others served each change;
/// an empty list if one is never seen.
fn delays(fleet: &Fleet, changes: usize) -> Vec<Duration> {
    let stop = &AtomicBool::new(false);
    let seen: [Mutex<HashMap<String, Instant>>; 2] = Default::default();
    thread::scope(|scope| {
        let _ended = load::Ended(stop);
        for (number, seen) in seen.iter().enumerate() {
            let address = fleet.address(number + 1);
            scope.spawn(move || watch(&address, seen, stop));
        }
        let mut written = Vec::new();
        let mut connection = Connection::open(&fleet.address(0)).unwrap();
        // A publisher that has just started listens from its first poll on.
        let begun = Instant::now();
        let first = loop {
            match write(&mut connection, 1_000_000) {
                Some((first, _)) => break first,
                None => assert!(begun.elapsed() < LONG),
            }
        };
        while !seen
            .iter()
            .all(|seen| seen.lock().unwrap().contains_key(&first))
        {
            assert!(begun.elapsed() < LONG);
            thread::sleep(Duration::from_millis(1));
        }
        for number in 0..changes {
            written.extend(write(&mut connection, number));
            thread::sleep(Duration::from_millis(fastrand::u64(5..25)));
        }
        let deadline = Instant::now() + LONG;
        let all_seen = || {
            seen.iter().all(|seen| {
                let seen = seen.lock().unwrap();
                written.iter().all(|(key, _)| seen.contains_key(key))
            })
        };
        while !all_seen() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Relaxed);
        if !all_seen() {
            return Vec::new();
        }
        let of = |seen: &Mutex<HashMap<String, Instant>>| -> Vec<Duration> {
            let seen = seen.lock().unwrap();
            let delays = written
                .iter()
                .map(|(key, at)| seen[key].saturating_duration_since(*at));
            delays.collect()
        };
        seen.iter().flat_map(of).collect()
    })
}

#[test]
fn a_change_at_one_is_seen_at_the_others_within_a_tenth_of_a_second() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 3, &[]);
    let mut delays = delays(&fleet, size(100, 2000));
    let (count, most) = (delays.len(), delays.iter().max().copied());
    let [half, most_of] = match count {
        0 => [Duration::MAX; 2],
        _ => [50, 99].map(|it| percentile(&mut delays, it)),
    };
    let is_short = most_of <= Duration::from_millis(100) || !super::is_full();
    let found = match most {
        Some(most) => format!(
            "{count} changes seen: p50 {}, p99 {}, max {}",
            ms(half),
            ms(most_of),
            ms(most)
        ),
        None => "a change was never seen".to_owned(),
    };
    // Beside other tests of the same machine nobody can promise a tenth of a second.
    promise(
        "8",
        "a change at one publisher is served by two others",
        &found,
        is_short && most.is_some_and(|most| most <= POLL + Duration::from_millis(size(3000, 200))),
    );
}

#[test]
fn a_change_is_seen_soon_also_if_the_connections_break() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 3, &[]);
    let stop = &AtomicBool::new(false);
    let delays = thread::scope(|scope| {
        let _ended = load::Ended(stop);
        scope.spawn(|| {
            let listeners = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = '{}' AND state = 'idle'",
                database.name
            );
            while !stop.load(Relaxed) {
                cluster.sql("postgres", &listeners);
                thread::sleep(Duration::from_secs(1));
            }
        });
        let delays = delays(&fleet, size(100, 1000));
        stop.store(true, Relaxed);
        delays
    });
    let most = delays.iter().max().copied().unwrap_or(Duration::MAX);
    promise(
        "8",
        "the same while all idle connections are terminated each second",
        &format!(
            "{} changes seen: max {}",
            delays.len(),
            ms(most.min(Duration::from_secs(999)))
        ),
        !delays.is_empty() && most <= POLL + Duration::from_millis(size(3000, 200)),
    );
}

#[test]
fn an_acknowledged_write_is_in_the_next_answer_of_that_publisher_while_three_write() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 3, &[]);
    let model = load::model(1, &Stored::default());
    let (mut shown, mut written) = (0, 0);
    let wanted = size(100, 1000);
    load::during(&fleet, &model, 12, &mut [], || {
        for number in 0..10 * wanted {
            if written == wanted {
                break;
            }
            let Ok(mut connection) = Connection::open(&fleet.address(number % 3)) else {
                continue;
            };
            let Some((key, _)) = write(&mut connection, 10_000 + number) else {
                continue;
            };
            written += 1;
            let path = if key.starts_with("1-1") {
                BOARD.to_owned()
            } else {
                let row: Value = serde_json::from_str(&items::row(&key)).unwrap();
                let ran_at = row["ran_at"].as_str().unwrap();
                format!("{FEED}?since_ran_at={ran_at}&since_id=&limit=10")
            };
            let (status, body) = connection.request("GET", &path, "", b"").unwrap();
            let has = String::from_utf8_lossy(&body).contains(&format!("\"{key}\""));
            shown += usize::from(status == 200 && has);
        }
    });
    promise(
        "9",
        "an acknowledged write is in the next GET, beside 12 writers at 3 publishers",
        &format!("{shown} of {written}"),
        shown == wanted,
    );
}

#[test]
fn commits_elsewhere_cost_the_bytes_of_the_new_rows_and_cached_pages_stay() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 1, &[]);
    let link = Link::to(cluster.port());
    let other = Fleet::start(database.url_through(link.port), 1, &[]);
    let row = |number: usize| items::row(&format!("1-{}-{number}", "x".repeat(20)));
    let post_rows = |range: std::ops::Range<usize>| -> usize {
        let rows: Vec<String> = range.map(row).collect();
        let rows = rows.join("\n");
        assert_eq!(post(&fleet.address(0), &rows).unwrap().0, 200);
        rows.len()
    };
    post_rows(0..1000);
    let mut connection = Connection::open(&other.address(0)).unwrap();
    let mut page = |cursor: &str| -> (String, usize) {
        let path = format!("{FEED}?since_seq={cursor}&limit=200");
        let (status, body) = connection.request("GET", &path, "", b"").unwrap();
        assert_eq!(status, 200);
        let page: Value = serde_json::from_slice(&body).unwrap();
        let count = page["items"].as_array().unwrap().len();
        (page["next_since_seq"].as_str().unwrap().to_owned(), count)
    };
    // Until it has all that is there, and has cached it.
    let mut cursors = vec!["0".to_owned()];
    let mut pulled = 0;
    let begun = Instant::now();
    while pulled < 1000 {
        let (next, count) = page(cursors.last().unwrap());
        pulled += count;
        if count == 200 {
            cursors.push(next);
        }
        assert!(begun.elapsed() < LONG);
    }
    let mut cursor = cursors.pop().unwrap();
    let received = link.received();
    let (mut written, groups) = (0, size(10, 200));
    for group in 0..groups {
        let rows = 1000 + group * 30..1030 + group * 30;
        written += post_rows(rows);
        let mut count = 0;
        let begun = Instant::now();
        while count < 30 {
            let (next, new) = page(&cursor);
            count += new;
            cursor = next;
            assert!(begun.elapsed() < LONG);
            thread::sleep(Duration::from_millis(1));
        }
        for full in &cursors {
            assert_eq!(page(full).1, 200);
        }
    }
    let read = (link.received() - received) as usize;
    let times = read as f64 / written as f64;
    promise(
        "11",
        "bytes read from PostgreSQL while another publisher writes, one client follows, and old pages are asked for",
        &format!("{read} bytes for {written} bytes of new rows: {times:.2} times"),
        times <= 2.0,
    );
}
