//! The proof that `since_seq` delivers every row exactly once:
//!
//! - whatever is written, by two writers on one file, and whenever backups are restored and clients pull, also through
//!   a cache that keeps every immutable page: no client misses a row, and none gets one twice that was never away
//! - after another tool has restored the database in place, a client misses no row that this server writes
//! - after another tool has restored the database in place, the poll begins a new lineage
//! - a cursor that was ahead when a process began to write was not given in its lineage: the client gets the row
//! - after a restore, cursors of the database that was replaced count up to where both have the same rows
//! - after a backup was copied over the database while no process had it open, a client misses no row
//! - of restores that run at once, no lineage seems to be one of the future afterwards
//! - a page costs the same behind any number of rows that are not published

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use awc::http::Method;
use cathedral_publisher::{
    domain::{cursor::PageLimit, eval_run::EvalRun, seq_cursor::SeqCursor},
    store::sqlite::{
        backup::Backup,
        open::open_writer,
        read::{self, feed_page_by_seq},
        restore::Restore,
        write::{begin_lineage, insert_eval_run},
    },
};
use proptest::prelude::*;
use rusqlite::Connection;

use serde_json::Value;

use crate::{
    app::{App, Data, FEED, wait_until},
    process::{self, Service, serve},
    wire,
};

const BUSY: Duration = Duration::from_secs(20);
const RUNS: &str = "/v1/admin/eval-runs";

fn open(path: &Path) -> Connection {
    let connection = open_writer(path, BUSY).unwrap();
    // What is tested does not depend on the disk.
    connection
        .pragma_update(None, "synchronous", "OFF")
        .unwrap();
    connection
}

fn row(id: &str, second: u8, version: u8) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:{second:02}Z","eval_output_schema_version":{version}}}"#
    )
}

fn back_up(database: &Path, file: &Path) {
    let backup = Backup::prepare(database, file, true).unwrap();
    backup.run(|_| ()).unwrap();
}

fn restore(database: &Path, file: &Path) {
    let restore = Restore::prepare(file, database).unwrap();
    restore.run(|_| ()).unwrap();
}

/// As `sqlite3 database '.restore file'`.
fn restore_in_place(database: &Path, file: &Path) {
    let from = Connection::open(file).unwrap();
    let mut into = Connection::open(database).unwrap();
    into.busy_timeout(BUSY).unwrap();
    let backup = rusqlite::backup::Backup::new(&from, &mut into).unwrap();
    backup
        .run_to_completion(1000, Duration::from_millis(1), None)
        .unwrap();
}

/// Ids of the published rows.
fn published(connection: &Connection) -> BTreeSet<String> {
    let ids = "SELECT id FROM eval_runs WHERE schema_version >= 5";
    let mut ids = connection.prepare(ids).unwrap();
    let ids = ids.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

#[derive(Debug, Clone)]
struct Client {
    cursor: SeqCursor,
    seen: BTreeMap<String, u32>,
    /// Whether it pulls through the cache.
    is_behind_cache: bool,
}

/// A database, its clients, and a cache before it that keeps immutable pages for ever.
struct World {
    folder: tempfile::TempDir,
    writers: [Connection; 2],
    clients: Vec<Client>,
    cached: HashMap<(SeqCursor, usize), (Vec<String>, SeqCursor)>,
    backups: Vec<PathBuf>,
    written: Vec<String>,
    /// Published rows that a restore has taken away; another one may have brought them back.
    away: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("pulls.db");
        let client = |number: usize| Client {
            cursor: SeqCursor::Start,
            seen: BTreeMap::new(),
            is_behind_cache: number % 2 == 1,
        };
        let mut world = Self {
            writers: [open(&path), open(&path)],
            folder,
            clients: (0..4).map(client).collect(),
            cached: HashMap::new(),
            backups: Vec::new(),
            written: Vec::new(),
            away: BTreeSet::new(),
        };
        world.step(Step::Backup);
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("pulls.db")
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(writer, rows, is_rolled_back) => {
                let transaction = self.writers[writer].unchecked_transaction().unwrap();
                for (second, version) in rows {
                    let id = format!("r{}", self.written.len());
                    let row = row(&id, second, version);
                    insert_eval_run(&transaction, &EvalRun::from_json(&row).unwrap()).unwrap();
                    self.written.push(row);
                }
                if !is_rolled_back {
                    transaction.commit().unwrap();
                }
            }
            Step::WriteAgain(writer, number) => {
                if let Some(row) = self.written.get(number) {
                    let run = EvalRun::from_json(row).unwrap();
                    insert_eval_run(&self.writers[writer], &run).unwrap();
                }
            }
            Step::Restart(writer) => self.writers[writer] = open(&self.path()),
            Step::NewLineage(writer) => begin_lineage(&self.writers[writer], 0, true).unwrap(),
            Step::Backup => {
                let number = self.backups.len();
                let file = self.folder.path().join(format!("{number}.backup"));
                back_up(&self.path(), &file);
                self.backups.push(file);
            }
            Step::Restore(number) => {
                let before = published(&self.writers[0]);
                restore(&self.path(), &self.backups[number % self.backups.len()]);
                let after = published(&self.writers[0]);
                self.away.extend(before.difference(&after).cloned());
            }
            Step::Pull(client, limit) => drop(self.pull(client, limit)),
        }
    }

    /// Returns how many rows came.
    fn pull(&mut self, number: usize, limit: usize) -> usize {
        let client = &mut self.clients[number];
        let key = (client.cursor, limit);
        let cached = self.cached.get(&key).filter(|_| client.is_behind_cache);
        let (rows, next) = cached.cloned().unwrap_or_else(|| {
            let mut rows = Vec::new();
            let limit = PageLimit::new(limit as u16).unwrap();
            let end = feed_page_by_seq(&self.writers[1], client.cursor, limit, |row| {
                let run = EvalRun::from_json(std::str::from_utf8(row).unwrap());
                rows.push(run.unwrap().id);
            });
            (rows, end.unwrap().next)
        });
        if rows.len() == limit && client.cursor != SeqCursor::Start {
            let page = (rows.clone(), next);
            self.cached.insert(key, page);
        }
        for id in &rows {
            *client.seen.entry(id.clone()).or_default() += 1;
        }
        client.cursor = SeqCursor::parse(&next.to_string()).unwrap();
        rows.len()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Rows by their second and version, and whether the transaction is rolled back.
    Write(usize, Vec<(u8, u8)>, bool),
    WriteAgain(usize, usize),
    Restart(usize),
    NewLineage(usize),
    Backup,
    Restore(usize),
    Pull(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let writer = 0_usize..2;
    let rows = prop::collection::vec((0_u8..60, 4_u8..7), 1..4);
    prop_oneof![
        8 => (writer.clone(), rows, prop::bool::weighted(0.1)).prop_map(|(writer, rows, back)| Step::Write(writer, rows, back)),
        2 => (writer.clone(), 0_usize..20).prop_map(|(writer, number)| Step::WriteAgain(writer, number)),
        1 => writer.clone().prop_map(Step::Restart),
        1 => writer.prop_map(Step::NewLineage),
        2 => Just(Step::Backup),
        3 => (0_usize..6).prop_map(Step::Restore),
        12 => (0_usize..4, 1_usize..4).prop_map(|(client, limit)| Step::Pull(client, limit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("SEQ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48),
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]
    #[test]
    fn no_client_misses_a_row_and_none_gets_one_twice_that_was_never_away(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        let stored = published(&world.writers[0]);
        for number in 0..world.clients.len() {
            // A client that is full asks again.
            while world.pull(number, 3) > 0 {}
            for id in &stored {
                let count = world.clients[number].seen.get(id).copied().unwrap_or_default();
                let may_be_twice = world.away.contains(id);
                prop_assert!(count == 1 || (count > 1 && may_be_twice), "{id}: {count}");
            }
        }
    }
}

async fn post(app: &App, row: &str) {
    let answer = app.admin(Method::POST, RUNS, row).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn page(app: &App, cursor: &str) -> (Vec<String>, String) {
    let answer = app.get(&format!("{FEED}?since_seq={cursor}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let page = answer.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let items = page["items"].as_array().unwrap().iter();
    let ids = items.map(|row| text(&row["id"])).collect();
    (ids, text(&page["next_since_seq"]))
}

#[actix_web::test]
async fn a_cursor_that_was_ahead_when_a_process_began_to_write_was_not_given_in_its_lineage() {
    let data = Data::empty();
    data.run("a", "2026-06-07T00:00:01Z", 5);
    let app = App::start(data).await;
    let (_, cursor) = page(&app, "0").await;
    let ahead = cursor.replace(".1", ".2");
    let answer = app.get(&format!("{FEED}?since_seq={ahead}")).await;
    assert_eq!(answer.status, 503);
    post(&app, &row("b", 1, 5)).await;
    assert_eq!(page(&app, &ahead).await.0, ["b"]);
    app.stop().await;
}

/// Starts with rows `a` and `b`, of which there is a backup, and `c`.
async fn start_with_backup() -> (App, PathBuf) {
    let app = App::start(Data::empty()).await;
    for id in ["a", "b"] {
        post(&app, &row(id, 1, 5)).await;
    }
    let file = app.data.path().with_file_name("backup.db");
    back_up(&app.data.path(), &file);
    post(&app, &row("c", 1, 5)).await;
    (app, file)
}

#[actix_web::test]
async fn after_another_tool_restored_in_place_a_client_misses_no_row_that_this_server_writes() {
    let (app, file) = start_with_backup().await;
    let (rows, cursor) = page(&app, "0").await;
    assert_eq!(rows, ["a", "b", "c"]);
    restore_in_place(&app.data.path(), &file);
    // The poll has not seen it: the clock stands still.
    for id in ["d", "e"] {
        post(&app, &row(id, 1, 5)).await;
    }
    let (rows, next) = page(&app, &cursor).await;
    assert_eq!(rows, ["d", "e"]);
    assert!(next.ends_with(".4") && next != cursor);
    app.stop().await;
}

#[actix_web::test]
async fn after_another_tool_restored_in_place_the_poll_begins_a_new_lineage() {
    let (app, file) = start_with_backup().await;
    let (_, cursor) = page(&app, "0").await;
    restore_in_place(&app.data.path(), &file);
    wait_until("the poll", async || {
        app.clock.advance(Duration::from_secs(1));
        app.get(&format!("{FEED}?since_seq={cursor}")).await.status == 200
    })
    .await;
    assert!(page(&app, &cursor).await.1.ends_with(".2"));
    // Another process writes.
    app.data.run("d", "2026-06-07T00:00:00Z", 5);
    wait_until("the row", async || {
        app.clock.advance(Duration::from_secs(1));
        page(&app, &cursor).await.0 == ["d"]
    })
    .await;
    // What went on in the same history is left alone.
    let lineages = |app: &App| {
        app.data
            .write(|it| read::lineages(it).unwrap().known().len())
    };
    let before = lineages(&app);
    for id in ["e", "f", "g"] {
        post(&app, &row(id, 1, 5)).await;
        app.clock.advance(Duration::from_secs(1));
    }
    // The first write of this process begins one.
    assert!(lineages(&app) <= before + 1);
    app.stop().await;
}

#[actix_web::test]
async fn after_a_restore_cursors_of_the_database_that_was_replaced_count_up_to_the_same_rows() {
    let (app, file) = start_with_backup().await;
    let (_, first) = page(&app, "0").await;
    let second = {
        restore(&app.data.path(), &file);
        post(&app, &row("d", 1, 5)).await;
        let (rows, cursor) = page(&app, &first).await;
        assert_eq!(rows, ["d"]);
        cursor
    };
    // The same backup again: it does not know the lineage in which `d` was written.
    restore(&app.data.path(), &file);
    post(&app, &row("e", 1, 5)).await;
    post(&app, &row("f", 1, 5)).await;
    for cursor in [&first, &second] {
        assert_eq!(page(&app, cursor).await.0, ["e", "f"], "{cursor}");
    }
    let (rows, third) = page(&app, "0").await;
    assert_eq!(rows, ["a", "b", "e", "f"]);
    // A database that has nothing in common.
    let other = Data::empty();
    other.run("x", "2026-06-07T00:00:00Z", 5);
    back_up(&other.path(), &file);
    restore(&app.data.path(), &file);
    wait_until("the restore", async || {
        app.clock.advance(Duration::from_secs(1));
        page(&app, "0").await.0 == ["x"]
    })
    .await;
    for cursor in [&first, &second, &third] {
        let answer = app.get(&format!("{FEED}?since_seq={cursor}")).await;
        assert_eq!(answer.status, 410, "{cursor}: {}", answer.text());
    }
    fs::remove_file(file).unwrap();
    app.stop().await;
}

#[test]
fn of_restores_that_run_at_once_no_lineage_seems_to_be_one_of_the_future_afterwards() {
    let data = Data::empty();
    let path = data.path();
    let file = path.with_file_name("backup.db");
    back_up(&path, &file);
    let known = |connection: &Connection| read::lineages(connection).unwrap().known().to_vec();
    let connection = open(&path);
    for _ in 0..4 {
        let is_done = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let connection = Connection::open(&path).unwrap();
                connection.busy_timeout(BUSY).unwrap();
                let mut seen = Vec::new();
                while !is_done.load(Ordering::Relaxed) {
                    seen.extend(known(&connection));
                }
                seen
            });
            let restores = [(); 3].map(|()| scope.spawn(|| restore(&path, &file)));
            for restore in restores {
                restore.join().unwrap();
            }
            is_done.store(true, Ordering::Relaxed);
            watcher.join().unwrap()
        });
        let current = known(&connection).pop().unwrap().lineage;
        for lineage in seen.iter().map(|known| known.lineage) {
            assert!(
                lineage.ordinal < current.ordinal || lineage == current,
                "{lineage}"
            );
        }
    }
}

#[test]
fn a_page_costs_the_same_behind_any_number_of_rows_that_are_not_published() {
    let data = Data::empty();
    data.write(|connection| {
        let plan = |sql: &str| -> Vec<String> {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let mut plan = connection.prepare(&sql).unwrap();
            let nulls = vec![rusqlite::types::Null; plan.parameter_count()];
            let lines = plan.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3));
            lines.unwrap().map(Result::unwrap).collect()
        };
        let by_seq = include_str!("../../sql/queries/feed_page_by_seq.sql");
        let index = "SEARCH eval_runs USING INDEX eval_runs_published";
        assert_eq!(plan(by_seq), [format!("{index} (seq>?)")]);
        let last = include_str!("../../sql/queries/last_published_seq.sql");
        assert_eq!(plan(last), [index]);
        let by_place = plan(include_str!("../../sql/queries/feed_page.sql"));
        let index = "SEARCH eval_runs USING INDEX eval_runs_feed ((ran_at,id)>(?,?)";
        assert!(
            by_place[0].starts_with(index) && by_place.len() == 1,
            "{by_place:?}"
        );
    });
}

#[test]
fn after_a_backup_was_copied_over_the_stopped_database_a_client_misses_no_row() {
    let data = Data::empty();
    let (path, old) = (data.path(), data.path().with_extension("old"));
    let run = |rows: &[&str], cursor: &str| {
        let service = Service::start(serve(&path, &[]));
        for id in rows {
            process::post(&service.address, &wire::row(id));
        }
        let page = format!("{FEED}?since_seq={cursor}");
        let page = wire::Client::connect(&service.address).ask(wire::get(&page, ""));
        service.signal("-TERM");
        assert_eq!(service.ended().0, Some(0));
        page
    };
    let next = |page: &wire::Answer| {
        let page: Value = serde_json::from_slice(&page.body).unwrap();
        page["next_since_seq"].as_str().unwrap().to_owned()
    };
    run(&["a1", "a2", "a3"], "0");
    fs::copy(&path, &old).unwrap();
    let seen = next(&run(&[], "0"));
    let later = next(&run(&["b1", "b2", "b3"], "0"));
    // In place: the same file, with nothing in it that could tell.
    fs::copy(&old, &path).unwrap();
    let written = ["c1", "c2", "c3", "c4", "c5"];
    // The copy does not know the lineage in which the last rows were written.
    assert_eq!(run(&written, &later).status, 410);
    let page = run(&[], &seen);
    assert_eq!(page.status, 200, "{}", page.head);
    let json: Value = serde_json::from_slice(&page.body).unwrap();
    let ids = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), written);
    // Starts without a write begin nothing.
    let lineages = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        read::lineages(&connection).unwrap().known().len()
    };
    let before = lineages(&path);
    run(&[], "0");
    assert_eq!(lineages(&path), before);
}
