//! A server that does not answer:
//!
//! - every call returns by its deadline while the server hangs, and reads go on after
//! - a server that was killed is used again when it is back
//! - a read that is given up ends at the server as well
//! - a request to cancel waits for the server, as pgbouncer 1.18 ends otherwise
//! - a store that is dropped ends its thread, also while calls are given up
//! - a store may be made while the server is away, and the watcher migrates later
//! - a read that panics gives nobody a connection in the middle of an answer

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use cathedral_publisher::{
    domain::{
        cursor::{Cursor, PageLimit},
        seq_cursor::SeqCursor,
    },
    store::{
        SeqPageError, StoreError,
        postgres::{PostgresStore, error::PostgresError},
    },
};

use super::{eventually, insert, open, options, soon};
use crate::cluster::{Cluster, shared};

const SHORT: Duration = Duration::from_millis(300);
/// A busy machine may be late by so much.
const LATE: Duration = Duration::from_secs(20);

fn is_timeout(error: &StoreError) -> bool {
    match error {
        StoreError::Postgres(PostgresError::Timeout) => true,
        StoreError::Postgres(PostgresError::Connect { causes, .. }) => causes.contains("in time"),
        StoreError::Postgres(_)
        | StoreError::Pool(_)
        | StoreError::Sqlite(_)
        | StoreError::File(_)
        | StoreError::Open(_)
        | StoreError::Corrupt { .. }
        | StoreError::NotCopied
        | StoreError::NotACopy
        | StoreError::TakenOver
        | StoreError::Lineage(_) => false,
    }
}

#[test]
fn every_call_returns_by_its_deadline_while_the_server_hangs_and_reads_go_on_after() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    let store = open(&database.url());
    let stamp = store.stamp(soon()).unwrap();
    let mut watcher = store.watcher();
    watcher.poll().unwrap();
    database.cluster.pause();
    let start = Cursor::tuple("2026-06-07T00:00:00Z", None).unwrap();
    let limit = PageLimit::parse("9").unwrap();
    thread::scope(|scope| {
        // More than the pool has connections.
        for call in 0..12 {
            let (store, stamp, start) = (&store, &stamp, &start);
            scope.spawn(move || {
                let begun = Instant::now();
                let deadline = begun + SHORT;
                let outcome = match call % 6 {
                    0 => store.board(deadline).map(drop),
                    1 => store
                        .feed_page(start, None, limit, deadline, &mut |_| {})
                        .map(drop),
                    2 => {
                        match store.feed_page_by_seq(SeqCursor::Start, limit, deadline, &mut |_| {})
                        {
                            Err(SeqPageError::Store(error)) => Err(error),
                            other => panic!("{other:?}"),
                        }
                    }
                    3 => store.inserted_since(stamp, deadline).map(drop),
                    4 => store.stamp(deadline).map(drop),
                    _ => store.prepare(deadline),
                };
                let error = outcome.unwrap_err();
                assert!(is_timeout(&error), "{error}");
                assert!(begun.elapsed() < SHORT + LATE, "{:?}", begun.elapsed());
            });
        }
    });
    let begun = Instant::now();
    assert!(is_timeout(&watcher.poll().unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(5) + SHORT + LATE);
    database.cluster.resume();
    store.board(soon()).unwrap();
    eventually(|| watcher.poll().is_ok_and(|state| state.is_some()));
}

#[test]
fn a_server_that_was_killed_is_used_again_when_it_is_back() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    let store = open(&database.url());
    let mut watcher = store.watcher();
    let before = watcher.poll().unwrap().unwrap();
    database.cluster.kill();
    store.board(Instant::now() + LATE).unwrap_err();
    watcher.poll().unwrap_err();
    let begun = Instant::now();
    let failures = (0..4).filter(|_| watcher.poll().is_err()).count();
    assert_eq!(failures, 4);
    // It waits before it connects again: 100, 200 and 400 ms, and up to half less.
    assert!(
        begun.elapsed() > Duration::from_millis(300),
        "{:?}",
        begun.elapsed()
    );
    database.cluster.restart();
    eventually(|| store.board(Instant::now() + LATE).is_ok());
    let mut state = None;
    eventually(|| {
        state = watcher.poll().ok().flatten();
        state.is_some()
    });
    assert_eq!(state.unwrap(), before);
}

#[test]
fn a_read_that_is_given_up_ends_at_the_server_as_well() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&insert(&["a"], 1));
    let url = database.url();
    // An exclusive lock: reads wait.
    let locker = thread::spawn({
        let (cluster, name) = (Arc::clone(&cluster), database.name.clone());
        move || cluster.sql(&name, "BEGIN; LOCK TABLE feed_version; SELECT pg_sleep(3)")
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'cathedral-publisher' AND state = 'active' AND datname = current_database()";
    eventually(|| {
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'feed_version'::regclass AND mode = 'AccessExclusiveLock' AND granted";
        database.sql(locked) != "0"
    });
    assert!(is_timeout(
        &store.stamp(Instant::now() + SHORT).unwrap_err()
    ));
    eventually(|| database.sql(waiting) == "0");
    assert!(!locker.is_finished());
    locker.join().unwrap();
    store.probe(soon()).unwrap();
    assert!(url.contains(&database.name));
}

/// Relays connections to `port`. Tells of each request to cancel whether its client waits for the server.
fn relay(port: u16) -> (u16, Receiver<bool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let relayed = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            thread::spawn(move || {
                let (mut from_client, mut client) = (client.try_clone()?, client);
                let mut server = TcpStream::connect(("127.0.0.1", port))?;
                let mut from_server = server.try_clone()?;
                let mut head = [0; 8];
                from_client.read_exact(&mut head)?;
                server.write_all(&head)?;
                if head[4..] == 80_877_102_u32.to_be_bytes() {
                    let mut key = [0; 8];
                    from_client.read_exact(&mut key)?;
                    from_client.set_read_timeout(Some(SHORT))?;
                    let waits = from_client.read(&mut [0; 1]).is_err();
                    server.write_all(&key)?;
                    let _ = tell.send(waits);
                    return Ok(0);
                }
                thread::spawn(move || {
                    let copied = io::copy(&mut from_server, &mut client);
                    let _ = client.shutdown(Shutdown::Both);
                    copied
                });
                let copied = io::copy(&mut from_client, &mut server);
                let _ = server.shutdown(Shutdown::Both);
                copied
            });
        }
    });
    (relayed, told)
}

#[test]
fn a_request_to_cancel_waits_for_the_server_as_pgbouncer_1_18_ends_otherwise() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    let (port, told) = relay(database.cluster.port());
    let direct = database.cluster.port().to_string();
    let store = open(&database.url().replace(&direct, &port.to_string()));
    store.stamp(soon()).unwrap();
    database.cluster.pause();
    assert!(is_timeout(
        &store.stamp(Instant::now() + SHORT).unwrap_err()
    ));
    assert!(told.recv_timeout(super::LONG).unwrap());
    database.cluster.resume();
}

/// Returns how many threads of this process have the name.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "postgres").count()
}

#[test]
fn a_store_that_is_dropped_ends_its_thread_also_while_calls_are_given_up() {
    // In a process of its own, as other tests have stores.
    const CHILD: &str = "PUBLISHER_TEST_THREADS";
    let name =
        "store::failing::a_store_that_is_dropped_ends_its_thread_also_while_calls_are_given_up";
    let Ok(url) = std::env::var(CHILD) else {
        let Some(cluster) = Cluster::start(&[]) else {
            return;
        };
        let database = Arc::new(cluster).database();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, database.url());
        let child = thread::spawn(move || child.output().unwrap());
        // It asks to be paused by the first row of this table.
        eventually(|| database.sql("SELECT to_regclass('pause') IS NOT NULL") == "t");
        database.cluster.pause();
        let output = child.join().unwrap();
        database.cluster.resume();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.status.success() && !said.contains("panicked"),
            "{said}"
        );
        return;
    };
    assert_eq!(threads(), 0);
    let store = open(&url);
    let mut watcher = store.watcher();
    watcher.poll().unwrap();
    assert_eq!(threads(), 1);
    pause(&url);
    // Until it hangs.
    while store.probe(Instant::now() + SHORT).is_ok() {}
    for _ in 0..5 {
        store.probe(Instant::now() + SHORT).unwrap_err();
    }
    drop((watcher, store));
    assert_eq!(threads(), 0);
}

fn pause(url: &str) {
    let (_, rest) = url.split_once('@').unwrap();
    let (place, name) = rest.split_once('/').unwrap();
    let (host, port) = place.split_once(':').unwrap();
    let mut psql = std::process::Command::new("psql");
    psql.args([
        "-X",
        "-h",
        host,
        "-p",
        port,
        "-U",
        crate::cluster::ROLE,
        "-d",
        name,
    ]);
    assert!(
        psql.args(["-c", "CREATE TABLE pause ()"])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_store_may_be_made_while_the_server_is_away_and_the_watcher_migrates_later() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    database.cluster.shut_down();
    let error = PostgresStore::open(options(&database.url()), soon()).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    let store = PostgresStore::new(options(&database.url())).unwrap();
    let error = store.board(soon()).unwrap_err();
    assert!(
        matches!(error, StoreError::Postgres(PostgresError::NotPrepared)),
        "{error}"
    );
    let mut watcher = store.watcher();
    watcher.poll().unwrap_err();
    database.cluster.restart();
    eventually(|| watcher.poll().is_ok());
    store.board(soon()).unwrap();
    assert_eq!(database.sql("SELECT version FROM publisher_schema"), "1");
}

/// Tests that panic on purpose, one at a time.
static PANICS: Mutex<()> = Mutex::new(());

fn quiet() -> MutexGuard<'static, ()> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_read_that_panics_gives_nobody_a_connection_in_the_middle_of_an_answer() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&insert(&["a", "b", "c"], 1));
    let _quiet = quiet();
    for _ in 0..5 {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let limit = PageLimit::parse("9").unwrap();
            store.feed_page_by_seq(SeqCursor::Start, limit, soon(), &mut |_| {
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        store.board(soon()).unwrap();
    }
    let in_transaction = "SELECT count(*) FROM pg_stat_activity
        WHERE state LIKE 'idle in%' AND datname = current_database()";
    eventually(|| database.sql(in_transaction) == "0");
}
