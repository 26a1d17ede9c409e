//! The files of the database are touched by others while they are used:
//!
//! - a database that is moved over the live one is served whole, and the old log is set aside
//! - a database that is still being copied to the path is not opened
//! - after the log is deleted nothing is acknowledged, ready names it, reads continue from memory, and what was
//!   acknowledged before is saved
//! - a log that is truncated, its index that is deleted, and a database that is emptied end the acknowledgements, and
//!   are named by ready; so does a log that is replaced by an older one, and a stop saves what was acknowledged
//! - a log that is cut while rows are written ends the acknowledgements
//! - a database that was moved away is complete, and putting it back needs a restart
//! - a symbolic link that is pointed at another database is followed, and the side files stay with their databases
//! - a log that was left by a killed process is not applied to a database that was moved there meanwhile
//! - a server that may not write serves what it has in memory when the database is replaced
//! - the files are readable and writable by their owner only
//! - a database of the first schema is migrated: its rows keep their rowids, and the statements of its release work on
//! - a migration that fails gives one line without SQL
//! - processes that start at once on a new database, or on one of an earlier schema, all serve

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    app::{BOARD, Data, eventually, within_limit},
    process::{Service, get, post, run, serve},
    wire::row,
};

const PAGE: &str = "/v1/leaderboard/recent?since_ran_at=2026-06-01T00:00:00Z&limit=1000";
const POLL: [&str; 3] = ["--change-poll-ms", "20", "--cache-status"];

fn is_acknowledged(service: &Service, id: &str) -> bool {
    let answer = post(&service.address, &row(id));
    assert!(
        answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 503 "),
        "{answer}"
    );
    answer.starts_with("HTTP/1.1 200 ")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// A database in `folder` with a row for each id, and no side files.
fn database(folder: &TempDir, name: &str, ids: &[&str]) -> PathBuf {
    let data = Data::sample();
    for id in ids {
        data.run(id, "2026-06-07T00:00:00Z", 5);
    }
    let path = folder.path().join(name);
    fs::copy(data.path(), &path).unwrap();
    path
}

fn lineage(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    let lineage =
        connection.query_row("SELECT id FROM lineages ORDER BY ordinal DESC", [], |row| {
            row.get(0)
        });
    lineage.unwrap()
}

/// Returns the ids that the database holds. Fails if it is damaged.
fn stored(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    let mut rows = connection
        .prepare("SELECT id FROM eval_runs ORDER BY id")
        .unwrap();
    let ids = rows.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

/// Waits until the database holds so many eval runs without its log.
fn until_in_the_file(path: &Path, count: i64) {
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    eventually("the content of the log in the database", || {
        let alone = Connection::open_with_flags(&uri, flags).unwrap();
        alone.query_row("SELECT count(*) FROM eval_runs", [], |row| row.get(0)) == Ok(count)
    });
}

fn until_not_ready(service: &Service, reason: &str) {
    let mut last = String::new();
    let not_ready = || {
        last = get(&service.address, "/health/ready", "");
        last.starts_with("HTTP/1.1 503 ") && last.contains(reason)
    };
    assert!(within_limit(not_ready), "{reason}: {last}");
}

fn assert_served_from_memory(service: Service) -> Service {
    for path in [BOARD, PAGE] {
        let answer = get(&service.address, path, "");
        if !answer.starts_with("HTTP/1.1 200 ") {
            service.signal("-TERM");
            panic!("{path}: {answer}\n{}", service.ended().1);
        }
    }
    service
}

/// A served database with the acknowledged row `before`, and with the feed in memory.
fn served(folder: &TempDir) -> (PathBuf, Service) {
    let path = database(folder, "live.db", &["old"]);
    let service = Service::start(serve(&path, &POLL));
    assert!(is_acknowledged(&service, "before"));
    until_cached(&service, "before");
    (path, service)
}

/// A read that began before the first poll is not cached.
fn until_cached(service: &Service, id: &str) {
    eventually("a cached page", || {
        let page = get(&service.address, PAGE, "");
        page.contains("; hit") && page.contains(id)
    });
}

#[test]
fn a_database_that_is_moved_over_the_live_one_is_served_whole_and_the_old_log_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let (path, service) = served(&folder);
    for round in 1..=2 {
        let id = format!("new{round}");
        let other = database(&folder, "other.db", &[&id]);
        let log = fs::metadata(beside(&path, "-wal")).unwrap().ino();
        fs::rename(other, &path).unwrap();
        eventually("the other database", || {
            let page = get(&service.address, PAGE, "");
            page.contains(&id) && !page.contains("before")
        });
        eventually("a write", || is_acknowledged(&service, "after"));
        let aside = beside(&path, &format!("-wal.old-{round}"));
        assert_eq!(fs::metadata(aside).unwrap().ino(), log);
        assert!(get(&service.address, "/health/ready", "").starts_with("HTTP/1.1 200 "));
    }
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("live.db-wal.old-2"), "{said}");
    assert!(
        said.contains("the database was restored: its lineage is"),
        "{said}"
    );
    assert_eq!(stored(&path), ["after", "new2"]);
}

#[test]
fn a_database_that_is_still_being_copied_to_the_path_is_not_opened() {
    let folder = TempDir::new().unwrap();
    let (path, service) = served(&folder);
    let copy = fs::read(database(&folder, "other.db", &["new"])).unwrap();
    fs::remove_file(&path).unwrap();
    let mut place = fs::File::create(&path).unwrap();
    for part in copy.chunks(copy.len() / 3 + 1) {
        until_not_ready(&service, "live.db");
        assert!(!is_acknowledged(&service, "meanwhile"));
        assert!(get(&service.address, PAGE, "").contains("before"));
        place.write_all(part).unwrap();
    }
    eventually("the copy", || {
        get(&service.address, PAGE, "").contains(r#""new""#)
    });
    eventually("a write", || is_acknowledged(&service, "after"));
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    assert_eq!(stored(&path), ["after", "new"]);
}

#[test]
fn a_log_that_is_replaced_by_an_older_one_ends_the_acknowledgements_and_a_stop_saves_them() {
    let folder = TempDir::new().unwrap();
    let (path, service) = served(&folder);
    let log = beside(&path, "-wal");
    fs::copy(&log, beside(&path, "-copy")).unwrap();
    assert!(is_acknowledged(&service, "last"));
    until_cached(&service, "last");
    fs::rename(beside(&path, "-copy"), &log).unwrap();
    assert!(!is_acknowledged(&service, "after"));
    until_not_ready(&service, "live.db-wal: was replaced by another file");
    let service = assert_served_from_memory(service);
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    assert!(beside(&path, "-wal.old-1").exists());
    assert_eq!(stored(&path), ["before", "last", "old"]);
}

#[test]
fn a_log_that_is_cut_while_rows_are_written_ends_the_acknowledgements() {
    let folder = TempDir::new().unwrap();
    let (path, service) = served(&folder);
    for number in 0..20 {
        assert!(is_acknowledged(&service, &format!("row{number}")));
    }
    let log = fs::OpenOptions::new()
        .write(true)
        .open(beside(&path, "-wal"))
        .unwrap();
    // What a commit in flight does: it writes behind the end that it knows.
    let bytes = log.metadata().unwrap().len();
    log.set_len(bytes / 2).unwrap();
    log.set_len(bytes).unwrap();
    eventually("the hole is noticed", || {
        !is_acknowledged(&service, "after")
    });
    until_not_ready(&service, "live.db-wal: was truncated");
}

#[test]
fn a_database_that_was_moved_away_is_complete_and_putting_it_back_needs_a_restart() {
    let folder = TempDir::new().unwrap();
    let (path, service) = served(&folder);
    let away = folder.path().join("away.db");
    fs::rename(&path, &away).unwrap();
    fs::rename(database(&folder, "other.db", &["new"]), &path).unwrap();
    eventually("the other database", || {
        get(&service.address, PAGE, "").contains(r#""new""#)
    });
    // Its log is set aside; the poll has written it into the database, which lies elsewhere now.
    until_in_the_file(&away, 2);
    fs::rename(&path, folder.path().join("wrong.db")).unwrap();
    fs::rename(&away, &path).unwrap();
    until_not_ready(
        &service,
        "live.db: was put back after another database was in its place",
    );
    assert!(!is_acknowledged(&service, "after"));
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    let service = Service::start(serve(&path, &POLL));
    assert!(is_acknowledged(&service, "again"));
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    assert_eq!(stored(&path), ["again", "before", "old"]);
}

#[test]
fn after_the_log_is_deleted_nothing_is_acknowledged_and_what_was_acknowledged_before_is_saved() {
    for kill in [false, true] {
        let folder = TempDir::new().unwrap();
        let (path, service) = served(&folder);
        fs::remove_file(beside(&path, "-wal")).unwrap();
        for _ in 0..3 {
            assert!(!is_acknowledged(&service, "after"));
        }
        until_not_ready(
            &service,
            r#""database":"live.db-wal: does not exist any more""#,
        );
        let service = assert_served_from_memory(service);
        assert!(!beside(&path, "-wal").exists(), "a new log was begun");
        until_in_the_file(&path, 2);
        service.signal(if kill { "-KILL" } else { "-TERM" });
        assert_eq!(service.ended().0, (!kill).then_some(0));
        assert_eq!(stored(&path), ["before", "old"]);
    }
}

#[test]
fn a_log_or_index_or_database_that_is_cut_or_deleted_ends_the_acknowledgements() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 3] = [
        (
            |path| {
                let log = fs::OpenOptions::new()
                    .write(true)
                    .open(beside(path, "-wal"));
                log.unwrap().set_len(0).unwrap();
            },
            "live.db-wal: was truncated",
        ),
        (
            |path| fs::remove_file(beside(path, "-shm")).unwrap(),
            "live.db-shm: does not exist any more",
        ),
        (
            |path| {
                let database = fs::OpenOptions::new().write(true).open(path);
                database.unwrap().set_len(0).unwrap();
            },
            "live.db: was truncated",
        ),
    ];
    for (harm, reason) in harms {
        let folder = TempDir::new().unwrap();
        let (path, service) = served(&folder);
        harm(&path);
        let sizes =
            || ["", "-wal"].map(|suffix| fs::metadata(beside(&path, suffix)).unwrap().len());
        let left = sizes();
        for _ in 0..3 {
            assert!(!is_acknowledged(&service, "after"), "{reason}");
        }
        until_not_ready(&service, reason);
        let service = assert_served_from_memory(service);
        assert_eq!(sizes(), left, "{reason}: nothing is touched");
        service.signal("-TERM");
        assert_eq!(service.ended().0, Some(0), "{reason}");
        assert_eq!(sizes(), left, "{reason}: nothing is touched by the stop");
    }
}

#[test]
fn a_symbolic_link_that_is_pointed_at_another_database_is_followed() {
    let folder = TempDir::new().unwrap();
    let first = database(&folder, "first.db", &["first"]);
    let second = database(&folder, "second.db", &["second"]);
    let link = folder.path().join("link.db");
    symlink(&first, &link).unwrap();
    let service = Service::start(serve(&link, &POLL));
    assert!(is_acknowledged(&service, "into-first"));
    assert!(beside(&first, "-wal").exists() && !beside(&link, "-wal").exists());
    let next = folder.path().join("next.db");
    symlink(&second, &next).unwrap();
    fs::rename(&next, &link).unwrap();
    eventually("the second database", || {
        let page = get(&service.address, PAGE, "");
        page.contains(r#""second""#) && !page.contains("first")
    });
    if !is_acknowledged(&service, "into-second") {
        service.signal("-TERM");
        panic!("{}", service.ended().1);
    }
    eventually("the size of the log", || {
        let metrics = get(&service.address, "/metrics", "");
        let line = |line: &str| line.strip_prefix("publisher_wal_bytes ")?.parse().ok();
        metrics.lines().find_map(line) == Some(fs::metadata(beside(&second, "-wal")).unwrap().len())
    });
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    assert_eq!(stored(&first), ["first", "into-first"]);
    assert_eq!(stored(&second), ["into-second", "second"]);
}

#[test]
fn a_log_that_a_killed_process_left_is_not_applied_to_another_database() {
    let folder = TempDir::new().unwrap();
    let (path, service) = served(&folder);
    let before = lineage(&path);
    service.signal("-KILL");
    service.ended();
    // The database itself is recovered as ever.
    let service = Service::start(serve(&path, &POLL));
    assert!(get(&service.address, PAGE, "").contains("before"));
    assert_eq!(lineage(&path), before);
    assert!(is_acknowledged(&service, "again"));
    service.signal("-KILL");
    service.ended();

    // As `rm` and `cp` do; the new file may even get the inode of the old one.
    let other = database(&folder, "other.db", &["new"]);
    fs::remove_file(&path).unwrap();
    fs::copy(other, &path).unwrap();
    let files = || ["", "-wal"].map(|suffix| fs::read(beside(&path, suffix)).unwrap());
    let left = files();
    for command in ["serve", "export rows", "import rows -"] {
        let mut arguments: Vec<_> = command.split(' ').collect();
        arguments.extend(["--database", path.to_str().unwrap()]);
        let output = run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains("live.db-wal: belongs to another file"),
            "{said}"
        );
    }
    assert_eq!(files(), left, "nothing is touched");
    // One that was served in its own file.
    let own = folder.path().join("own.db");
    let maker = Service::start(serve(&own, &POLL));
    assert!(is_acknowledged(&maker, "new"));
    maker.signal("-TERM");
    assert_eq!(maker.ended().0, Some(0));
    fs::rename(own, &path).unwrap();
    let left = files();
    let output = run(&["serve", "--database", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(files(), left, "nothing is touched");
    for suffix in ["-wal", "-shm"] {
        fs::rename(
            beside(&path, suffix),
            beside(&path, &format!("{suffix}.away")),
        )
        .unwrap();
    }
    let service = Service::start(serve(&path, &POLL));
    assert_ne!(lineage(&path), before);
    assert!(is_acknowledged(&service, "after"));
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    assert_eq!(stored(&path), ["after", "new"]);
}

#[test]
fn a_server_that_may_not_write_serves_what_it_has_in_memory_when_the_database_is_replaced() {
    let folder = TempDir::new().unwrap();
    let (path, writer) = served(&folder);
    let reader = Service::start(serve(&path, &[&POLL[..], &["--read-only"]].concat()));
    until_cached(&reader, "before");
    writer.signal("-KILL");
    writer.ended();
    let other = database(&folder, "other.db", &["new"]);
    fs::rename(other, &path).unwrap();
    until_not_ready(&reader, "live.db-wal: belongs to another file");
    let reader = assert_served_from_memory(reader);
    for suffix in ["-wal", "-shm"] {
        fs::rename(
            beside(&path, suffix),
            beside(&path, &format!("{suffix}.away")),
        )
        .unwrap();
    }
    eventually("the other database", || {
        get(&reader.address, PAGE, "").contains(r#""new""#)
    });
    assert!(get(&reader.address, "/health/ready", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn the_files_are_readable_and_writable_by_their_owner_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new.db");
    let service = Service::start(serve(&path, &POLL));
    assert!(is_acknowledged(&service, "a"));
    for suffix in ["", "-wal", "-shm"] {
        let mode = fs::metadata(beside(&path, suffix))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
}

#[test]
fn processes_that_start_at_once_on_a_new_database_or_on_one_of_an_earlier_schema_all_serve() {
    const STEPS: [&str; 2] = [
        include_str!("../../sql/0001_initial.sql"),
        include_str!("../../sql/0002_versions.sql"),
    ];
    let rounds = std::env::var("ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        for version in 0..=STEPS.len() {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("a.db");
            if version > 0 {
                let connection = Connection::open(&path).unwrap();
                for sql in &STEPS[..version] {
                    connection.execute_batch(sql).unwrap();
                }
                // Those of a release are in WAL mode; a copy may not be.
                let mode = if round % 2 == 0 { "WAL" } else { "DELETE" };
                let end = format!("PRAGMA user_version = {version}; PRAGMA journal_mode = {mode}");
                connection.execute_batch(&end).unwrap();
            }
            let services: Vec<Service> = thread::scope(|scope| {
                let start = || Service::start(serve(&path, &["--workers", "1"]));
                let starts = [(); 5].map(|()| scope.spawn(start));
                starts.map(|start| start.join().unwrap()).into()
            });
            for (number, service) in services.iter().enumerate() {
                let id = number.to_string();
                eventually("a row", || is_acknowledged(service, &id));
            }
            for service in &services {
                assert!(get(&service.address, "/health/ready", "").starts_with("HTTP/1.1 200 "));
            }
            let connection = Connection::open(&path).unwrap();
            let count = "SELECT count(*) FROM eval_runs";
            let count = connection.query_row(count, [], |row| row.get(0));
            assert_eq!(count, Ok(5), "version {version}");
        }
    }
}

#[test]
fn a_migration_that_fails_gives_one_line_without_sql() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(include_str!("../../sql/0001_initial.sql"))
        .unwrap();
    connection
        .execute_batch("CREATE TABLE lineages (x); PRAGMA user_version = 1")
        .unwrap();
    let output = run(&["serve", "--database", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    let reason = "cannot be migrated from schema version 1 to";
    assert!(
        said.contains(reason) && said.contains("table lineages already exists"),
        "{said}"
    );
    assert!(!said.contains("CREATE") && said.len() < 300, "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_database_of_the_first_schema_is_migrated_and_the_statements_of_its_release_work_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("first.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(include_str!("../../sql/0001_initial.sql"))
        .unwrap();
    let insert = "INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES (?1, ?2, 5, ?3)
                  ON CONFLICT (id) DO NOTHING";
    let insert = |id: &str| {
        let body = row(id);
        connection.execute(insert, [id, "2026-06-07T00:00:00.000Z", &body])
    };
    for id in ["gone", "b", "a"] {
        insert(id).unwrap();
    }
    connection
        .execute_batch("DELETE FROM eval_runs WHERE id = 'gone'; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
        .unwrap();
    let output = run(&["serve", "--read-only", "--database", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("has schema version 1"), "{said}");
    let service = Service::start(serve(&path, &POLL));
    let rowids = || -> Vec<(String, i64)> {
        let mut rows = connection
            .prepare("SELECT id, rowid FROM eval_runs ORDER BY rowid")
            .unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(rowids(), [("b".to_owned(), 2), ("a".to_owned(), 3)]);
    assert_eq!(insert("c"), Ok(1));
    assert_eq!(insert("a"), Ok(0));
    eventually("the row", || {
        get(&service.address, PAGE, "").contains(r#""id":"c""#)
    });
    // A number is never used again.
    connection
        .execute_batch("DELETE FROM eval_runs WHERE id = 'c'")
        .unwrap();
    eventually("the deletion", || {
        !get(&service.address, PAGE, "").contains(r#""id":"c""#)
    });
    insert("d").unwrap();
    assert!(rowids()[2].1 > 4, "{:?}", rowids());
    // The table enforces the stored form of a time, and the length of an id.
    let bad = "INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES (?1, ?2, 5, '{}')";
    let long = "x".repeat(257);
    for (id, ran_at) in [
        ("e", "2026-06-07T00:00:00Z"),
        ("e", "2026-06-07 00:00:00.000Z"),
        ("", "2026-06-07T00:00:00.000Z"),
        (&long, "2026-06-07T00:00:00.000Z"),
    ] {
        assert!(
            connection.execute(bad, [id, ran_at]).is_err(),
            "{id:?} {ran_at}"
        );
    }
}

/// With 300,000 rows (`ROWS=300000`) it took 17 s in a debug build, and no read took longer than 0.12 s:
/// `cargo test --release --test publisher -- --ignored --nocapture a_million`.
#[test]
#[ignore = "measures"]
#[expect(clippy::print_stdout, reason = "it prints what it has measured")]
fn a_million_eval_runs_of_the_first_schema_are_migrated_while_a_client_of_the_old_release_reads() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("first.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL")
        .unwrap();
    connection
        .execute_batch(include_str!("../../sql/0001_initial.sql"))
        .unwrap();
    let rows: u32 = std::env::var("ROWS").map_or(1_000_000, |rows| rows.parse().unwrap());
    let fill = "
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO eval_runs
        SELECT printf('run-%08d-%s', i, hex(randomblob(4))),
               strftime('%Y-%m-%dT%H:%M:%fZ', 1780790400 + i / 1000.0, 'unixepoch'),
               4 + (i % 5 > 0), printf('{\"x\":\"%.800c\"}', 'x') FROM n";
    connection.execute(fill, [rows]).unwrap();
    connection
        .execute_batch("PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    // What the release before asks for.
    let page = "SELECT count(*) FROM (SELECT body FROM eval_runs WHERE (ran_at, id) > (?1, '') AND schema_version >= 5
                ORDER BY ran_at, id LIMIT 200)";
    let is_done = AtomicBool::new(false);
    let (took, (reads, longest)) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let connection = Connection::open(&path).unwrap();
            let (mut reads, mut longest) = (0_u64, Duration::ZERO);
            while !is_done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let count: i64 = connection
                    .query_row(page, ["2026"], |row| row.get(0))
                    .unwrap();
                assert_eq!(count, 200);
                (reads, longest) = (reads + 1, longest.max(begun.elapsed()));
            }
            (reads, longest)
        });
        let begun = Instant::now();
        let migrated =
            cathedral_publisher::store::sqlite::open::open_writer(&path, Duration::from_secs(60));
        let took = begun.elapsed();
        is_done.store(true, Ordering::Relaxed);
        drop(migrated.unwrap());
        (took, reader.join().unwrap())
    });
    let bytes = fs::metadata(&path).unwrap().len() >> 20;
    println!(
        "{rows} rows: {took:.1?}; {reads} reads meanwhile, the longest {longest:.1?}; {bytes} MiB"
    );
}
