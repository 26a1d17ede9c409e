//! `backup` and `restore`:
//!
//! - a backup under 64 writers contains every row that was acknowledged before it began; it is one file of mode 0600 that
//!   passes `integrity_check`
//! - a restore into a served database is followed by board and feed, also with equal counts; a page is old or new, never
//!   both; a write that is acknowledged after it is in the database, and the log names the new lineage
//! - a reader that does not end delays no writer after a restore
//! - a restore creates a missing database, and migrates a backup of an earlier schema; page sizes may differ
//! - a file that is not a whole backup of this program is refused, and nothing is changed
//! - a name that would damage a database is refused, and an existing file unless it is to be replaced
//! - `kill -9` leaves the old content or the new one, and the next run removes what remained; a signal leaves nothing
//! - a full disk leaves nothing behind

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use cathedral_publisher::demo::sample::Sample;
use rusqlite::Connection as Sqlite;

use crate::{
    app::{BOARD, Data, TOKENS, eventually},
    client::Connection,
    process::{self, Guard, Service, get, publisher, run, serve},
    wire::row,
};

const RUNS: &str = "/v1/admin/eval-runs";
const PAGE: &str = "/v1/leaderboard/recent?since_ran_at=2026-01-01T00:00:00Z&limit=50";

fn backup(database: &Path, file: &Path) -> Output {
    command("backup", file, database, &[])
}

fn restore(file: &Path, database: &Path) -> Output {
    command("restore", file, database, &[])
}

fn command(name: &str, file: &Path, database: &Path, options: &[&str]) -> Output {
    let (file, database) = (file.to_str().unwrap(), database.to_str().unwrap());
    let mut arguments = vec![name, file, "--database", database, "--log-level", "warn"];
    arguments.extend(options);
    run(&arguments)
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{reason}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(reason), "{stderr} does not say {reason}");
}

/// Returns the names of the files in the folder of `file`.
fn names_beside(file: &Path) -> Vec<String> {
    let entries = fs::read_dir(file.parent().unwrap()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn everything(database: &Path) -> Vec<u8> {
    let output = run(&["export", "all", "--database", database.to_str().unwrap()]);
    succeeded(&output);
    output.stdout
}

fn ids(database: &Path) -> BTreeSet<String> {
    let connection = Sqlite::open(database).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    let mut statement = connection.prepare("SELECT id FROM eval_runs").unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

fn lineage(database: &Path) -> String {
    let connection = Sqlite::open(database).unwrap();
    connection
        .query_row("SELECT id FROM lineages ORDER BY ordinal DESC", [], |row| {
            row.get(0)
        })
        .unwrap()
}

fn stop(service: Service) -> String {
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    said
}

/// Clients that post rows until they are told to end.
struct Writers {
    ending: AtomicBool,
    acknowledged: Mutex<Vec<String>>,
    rejected: AtomicUsize,
}

impl Writers {
    /// Runs `work` while `count` clients write.
    fn during<T>(count: u32, address: &str, work: impl FnOnce(&Self) -> T) -> T {
        let writers = Self {
            ending: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            rejected: AtomicUsize::new(0),
        };
        thread::scope(|scope| {
            for writer in 0..count {
                let writers = &writers;
                scope.spawn(move || writers.write(address, writer));
            }
            let ends = Ends(&writers.ending);
            let result = work(&writers);
            drop(ends);
            result
        })
    }

    fn write(&self, address: &str, writer: u32) {
        let mut connection = Connection::open(address).unwrap();
        let token = format!("Authorization: Bearer {}\r\n", TOKENS[0]);
        for number in 0.. {
            if self.ending.load(SeqCst) {
                return;
            }
            let id = format!("w{writer}-{number}");
            let row = row(&id);
            let (status, body) = connection
                .request("POST", RUNS, &token, row.as_bytes())
                .unwrap();
            match status {
                200 => self.acknowledged.lock().unwrap().push(id),
                503 => drop(self.rejected.fetch_add(1, SeqCst)),
                _ => panic!("{status}: {}", String::from_utf8_lossy(&body)),
            }
        }
    }

    fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Waits until so many more rows are acknowledged.
    fn wait_for(&self, more: usize) {
        let before = self.acknowledged().len();
        eventually("more rows", || self.acknowledged().len() >= before + more);
    }
}

/// Ends the writers also if the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_backup_under_64_writers_contains_every_row_acknowledged_before() {
    let data = Data::sample();
    data.sample_runs(2000, "2026-06-07T00:00:00Z");
    let folder = tempfile::TempDir::new().unwrap();
    let service = Service::start(serve(&data.path(), &[]));
    Writers::during(64, &service.address, |writers| {
        for round in 0..3 {
            writers.wait_for(100);
            let before = writers.acknowledged();
            let file = folder.path().join(format!("{round}.db"));
            let said = succeeded(&backup(&data.path(), &file));
            assert!(said.contains("challenges: 51, eval runs: "), "{said}");
            writers.wait_for(1);
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
            assert_eq!(names_beside(&file).len(), round + 1, "no side file");
            let stored = ids(&file);
            let missing = before.iter().filter(|id| !stored.contains(*id)).count();
            assert_eq!(missing, 0, "of {}", before.len());
            assert_eq!(names_beside(&file).len(), round + 1, "none after reading");
        }
    });
    stop(service);
    // Nor does one remain beside a database that nobody serves.
    succeeded(&backup(&data.path(), &folder.path().join("last.db")));
    assert_eq!(names_beside(&data.path()), ["publisher.db"]);
}

/// Two databases with equal counts: 300 rows and one challenge more than the sample board.
fn two_histories() -> (Data, Data) {
    let histories = ["old", "new"].map(|name| {
        let data = Data::sample();
        let mut challenge = Sample::new(9).challenge(1);
        challenge.challenge_id = format!("only-{name}");
        data.put(&[challenge]);
        data.write(|connection| {
            for number in 0..300 {
                let json = format!(
                    r#"{{"id":"{name}-{number}","ran_at":"2026-06-01T00:00:00Z","eval_output_schema_version":5}}"#
                );
                let run = cathedral_publisher::domain::eval_run::EvalRun::from_json(&json).unwrap();
                cathedral_publisher::store::sqlite::write::insert_eval_run(connection, &run).unwrap();
            }
        });
        data
    });
    histories.into()
}

#[test]
fn a_restore_into_a_served_database_is_followed_by_board_and_feed() {
    let (data, other) = two_histories();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("copy.db");
    succeeded(&backup(&other.path(), &file));
    let service = Service::start(serve(&data.path(), &["--change-poll-ms", "20"]));
    let address = service.address.as_str();
    let before = lineage(&data.path());
    assert!(get(address, BOARD, "").contains("\"only-old\""));
    assert!(get(address, PAGE, "").contains("\"old-0\""));
    let ended = AtomicBool::new(false);
    let (said, acknowledged, restored) = Writers::during(8, address, |writers| {
        writers.wait_for(20);
        let said = thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(SeqCst) {
                    let page = get(address, PAGE, "");
                    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
                    let (old, new) = (page.contains("\"old-"), page.contains("\"new-"));
                    assert!(old != new, "{page}");
                }
            });
            let ends = Ends(&ended);
            let said = succeeded(&restore(&file, &data.path()));
            eventually("the board", || {
                get(address, BOARD, "").contains("\"only-new\"")
            });
            eventually("the feed", || get(address, PAGE, "").contains("\"new-0\""));
            drop(ends);
            said
        });
        let early = writers.acknowledged().len();
        writers.wait_for(100);
        let acknowledged = writers.acknowledged();
        let restored = acknowledged[early..].to_vec();
        (said, acknowledged, restored)
    });
    assert!(!get(address, BOARD, "").contains("\"only-old\""));
    let stored = ids(&data.path());
    assert!(stored.contains("new-299") && !stored.contains("old-0"));
    // What the command says that it has replaced is exact.
    let lost = acknowledged.iter().filter(|id| !stored.contains(*id));
    let replaced = format!(
        "replaced: challenges: 52, eval runs: {}, epochs: 0, lineage: ",
        300 + lost.count()
    );
    assert!(said.contains(&replaced), "{said} does not say {replaced}");
    for id in restored {
        assert!(
            stored.contains(&id),
            "{id} was acknowledged after the restore"
        );
    }
    let after = lineage(&data.path());
    assert!(
        after != before && after != lineage(&other.path()),
        "{after}"
    );
    let said = stop(service);
    let notice = "the database was restored: its lineage is ";
    let named = said
        .split(notice)
        .nth(1)
        .unwrap_or_else(|| panic!("{said}"));
    assert!(named.lines().next().unwrap().ends_with(&after), "{said}");
    assert_eq!(names_beside(&data.path()), ["publisher.db"]);
    // The database knows that it is still in the same file.
    let service = Service::start(serve(&data.path(), &[]));
    assert!(get(&service.address, BOARD, "").contains("\"only-new\""));
    stop(service);
}

#[test]
fn a_restore_of_what_is_there_already_is_another_history() {
    let data = Data::sample();
    let file = data.path().with_file_name("copy.db");
    succeeded(&backup(&data.path(), &file));
    let before = (everything(&data.path()), lineage(&data.path()));
    let said = succeeded(&restore(&file, &data.path()));
    assert!(said.contains(&before.1), "{said}");
    assert!(said.contains(&lineage(&data.path())), "{said}");
    assert_eq!(everything(&data.path()), before.0);
    assert_ne!(lineage(&data.path()), before.1);
}

#[test]
fn a_restore_creates_a_missing_database_and_migrates_an_earlier_schema() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("old.db");
    let connection = Sqlite::open(&file).unwrap();
    connection
        .execute_batch(include_str!("../../sql/0001_initial.sql"))
        .unwrap();
    connection
        .execute_batch(
            r#"INSERT INTO eval_runs VALUES ('a', '2026-06-07T00:00:00.000Z', 5, '{"id":"a"}');
               PRAGMA user_version = 1; PRAGMA journal_mode = WAL;"#,
        )
        .unwrap();
    drop(connection);
    // It can be backed up before it is migrated.
    let copy = folder.path().join("copy.db");
    succeeded(&backup(&file, &copy));
    assert_eq!(ids(&copy).len(), 1);
    fs::remove_file(&copy).unwrap();
    let database = folder.path().join("new.db");
    let kept = fs::read(&file).unwrap();
    let said = succeeded(&restore(&file, &database));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(ids(&database).len(), 1);
    let mode = fs::metadata(&database).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(names_beside(&file), ["new.db", "old.db"]);
    assert_eq!(fs::read(&file).unwrap(), kept, "the backup is not changed");
    let service = Service::start(serve(&database, &[]));
    assert!(get(&service.address, PAGE, "").contains("\"a\""));
    stop(service);
    // A side file of a database that is gone would be applied to the new one.
    fs::remove_file(&database).unwrap();
    let stale = folder.path().join("new.db-wal");
    fs::write(&stale, "").unwrap();
    refused(
        &restore(&file, &database),
        "new.db-wal: belongs to a database",
    );
    assert!(!database.exists());
    fs::remove_file(&stale).unwrap();
    // A file without content is what a failed copy leaves.
    fs::write(&database, "").unwrap();
    succeeded(&restore(&file, &database));
    assert_eq!(ids(&database).len(), 1);
}

#[test]
fn page_sizes_and_vacuum_modes_may_differ() {
    let (data, other) = two_histories();
    let file = data.path().with_file_name("copy.db");
    let expected = everything(&other.path());
    let service = Service::start(serve(&data.path(), &["--change-poll-ms", "20"]));
    for (page_size, auto_vacuum) in [(1024, 1), (65536, 0), (4096, 2)] {
        succeeded(&command("backup", &file, &other.path(), &["--overwrite"]));
        Sqlite::open(&file)
            .unwrap()
            .execute_batch(&format!(
                "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}; VACUUM"
            ))
            .unwrap();
        succeeded(&restore(&file, &data.path()));
        assert_eq!(everything(&data.path()), expected);
        let found = Sqlite::open(data.path())
            .unwrap()
            .query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0));
        assert_eq!(found.unwrap(), 4096);
        eventually("the board", || {
            get(&service.address, BOARD, "").contains("\"only-new\"")
        });
        Writers::during(4, &service.address, |writers| writers.wait_for(50));
        ids(&data.path());
    }
    stop(service);
}

/// Makes files that are no whole backups, with the reason for which each is refused.
fn bad_files(folder: &Path, whole: &Path) -> Vec<(PathBuf, &'static str)> {
    let file = |name: &str, reason| (folder.join(name), reason);
    let sql = |found: (PathBuf, &'static str), sql: &str| {
        Sqlite::open(&found.0).unwrap().execute_batch(sql).unwrap();
        found
    };
    let changed = |found: (PathBuf, &'static str), change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(whole).unwrap();
        change(&mut bytes);
        fs::write(&found.0, bytes).unwrap();
        found
    };
    vec![
        changed(file("empty.db", "is empty"), &Vec::clear),
        changed(file("text.db", "is not an SQLite database"), &|bytes| {
            *bytes = b"no database ".repeat(1000);
        }),
        changed(file("page.db", "is damaged"), &|bytes| {
            let at = bytes.len() / 2;
            bytes[at..at + 4096].fill(0x55);
        }),
        changed(file("half.db", "is damaged"), &|bytes| {
            bytes.truncate(bytes.len() / 2 / 4096 * 4096);
        }),
        changed(
            file("log.db", "log.db-wal: belongs to another file"),
            &|bytes| {
                fs::write(folder.join("log.db-wal"), &bytes[..8192]).unwrap();
            },
        ),
        sql(
            file("foreign.db", "is an SQLite database of another program"),
            "CREATE TABLE bookmarks (url); PRAGMA user_version = 1",
        ),
        sql(
            file("newer.db", "has schema version 1000"),
            "CREATE TABLE t (x); PRAGMA user_version = 1000",
        ),
        sql(
            file("without.db", "without tables"),
            "PRAGMA application_id = 1",
        ),
        (folder.join("missing.db"), "No such file"),
        (folder.to_owned(), "is not a regular file"),
        (PathBuf::from("/dev/null"), "is not a regular file"),
    ]
}

#[test]
fn a_file_that_is_not_a_whole_backup_is_refused_and_nothing_is_changed() {
    let data = Data::sample();
    data.sample_runs(500, "2026-06-07T00:00:00Z");
    let folder = tempfile::TempDir::new().unwrap();
    let whole = folder.path().join("whole.db");
    succeeded(&backup(&data.path(), &whole));
    let bad = bad_files(folder.path(), &whole);
    let names = names_beside(&whole);
    let before = (everything(&data.path()), lineage(&data.path()));
    let service = Service::start(serve(&data.path(), &[]));
    let nowhere = data.path().with_file_name("nowhere.db");
    for (file, reason) in &bad {
        let bytes = fs::read(file).ok();
        refused(&restore(file, &data.path()), reason);
        refused(&restore(file, &nowhere), reason);
        assert_eq!(fs::read(file).ok(), bytes);
    }
    let link = data.path().with_file_name("link.db");
    symlink(data.path(), &link).unwrap();
    for file in [&data.path(), &link] {
        refused(&restore(file, &data.path()), "is the database itself");
    }
    assert_eq!(names_beside(&whole), names);
    assert_eq!(everything(&data.path()), before.0);
    assert_eq!(lineage(&data.path()), before.1);
    assert!(!nowhere.exists());
    // A database of another program is not replaced either.
    let foreign = &bad[5].0;
    let bytes = fs::read(foreign).unwrap();
    refused(&restore(&whole, foreign), "of another program");
    assert_eq!(fs::read(foreign).unwrap(), bytes);
    stop(service);
    assert_eq!(names_beside(&data.path()), ["link.db", "publisher.db"]);
}

#[test]
fn a_damaged_database_is_replaced() {
    let (data, other) = two_histories();
    data.sample_runs(500, "2026-06-07T00:00:00Z");
    let file = data.path().with_file_name("copy.db");
    succeeded(&backup(&other.path(), &file));
    let mut bytes = fs::read(data.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(0x55);
    fs::write(data.path(), bytes).unwrap();
    refused(
        &command("backup", &file, &data.path(), &["--overwrite"]),
        "is damaged",
    );
    succeeded(&restore(&file, &data.path()));
    assert_eq!(everything(&data.path()), everything(&other.path()));
    ids(&data.path());
}

#[test]
fn a_name_that_would_damage_a_database_is_refused() {
    let data = Data::sample();
    let folder = data.path().parent().unwrap().to_owned();
    let file = |name: &str| folder.join(name);
    let service = Service::start(serve(&data.path(), &[]));
    symlink(data.path(), file("link.db")).unwrap();
    fs::hard_link(data.path(), file("hard.db")).unwrap();
    symlink("nowhere", file("dangling.db")).unwrap();
    fs::write(file("other.db-wal"), "").unwrap();
    fs::write(file("there.db"), "kept").unwrap();
    let names = names_beside(&data.path());
    for (name, reason) in [
        ("publisher.db", "is the database itself"),
        ("link.db", "is the database itself"),
        ("hard.db", "is the database itself"),
        ("publisher.db-wal", "is the name of a side file"),
        ("publisher.db-shm", "is the name of a side file"),
        ("publisher.db-journal", "is the name of a side file"),
        (
            "dangling.db",
            "is a symbolic link to a file that does not exist",
        ),
        ("other.db", "other.db-wal: belongs to another database"),
        ("no/such/folder.db", "No such file or directory"),
        (".", "is a folder"),
    ] {
        for options in [&[][..], &["--overwrite"]] {
            refused(
                &command("backup", &file(name), &data.path(), options),
                reason,
            );
        }
    }
    refused(&backup(&data.path(), &file("there.db")), "--overwrite");
    assert_eq!(fs::read(file("there.db")).unwrap(), b"kept");
    refused(
        &backup(&file("gone.db"), &file("new.db")),
        "gone.db: cannot be opened",
    );
    assert_eq!(names_beside(&data.path()), names);
    symlink("there.db", file("latest.db")).unwrap();
    succeeded(&command(
        "backup",
        &file("latest.db"),
        &data.path(),
        &["--overwrite"],
    ));
    assert!(file("latest.db").is_symlink());
    assert_eq!(everything(&file("there.db")), everything(&data.path()));
    assert!(get(&service.address, BOARD, "").contains("\"count\":51"));
    fs::remove_file(file("hard.db")).unwrap();
    stop(service);
}

#[test]
fn a_reader_that_does_not_end_delays_no_writer() {
    let (data, other) = two_histories();
    let file = data.path().with_file_name("copy.db");
    succeeded(&backup(&other.path(), &file));
    // Each write may wait for 400 ms at most, or it gets 503.
    let options = ["--write-busy-timeout-ms", "400", "--change-poll-ms", "20"];
    let service = Service::start(serve(&data.path(), &options));
    let reader = Sqlite::open(data.path()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT * FROM lineages")
        .unwrap();
    Writers::during(4, &service.address, |writers| {
        let output = restore(&file, &data.path());
        assert!(succeeded(&output).contains("restored: "));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("its write-ahead log is not emptied yet"),
            "{said}"
        );
        writers.wait_for(20);
        assert_eq!(writers.rejected.load(SeqCst), 0);
    });
    let before: String = reader
        .query_row("SELECT id FROM eval_runs LIMIT 1", [], |row| row.get(0))
        .unwrap();
    assert!(before.starts_with("old-"), "{before}");
    drop(reader);
    stop(service);
}

/// Starts the program, and kills it with this signal after so long.
fn killed(arguments: &[&str], signal: &str, after: Duration) -> Option<i32> {
    let mut child = Guard(
        publisher(arguments)
            .args(["--log-level", "off"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Real time on purpose: the moment is arbitrary.
    thread::sleep(after);
    process::signal(child.0.id(), signal);
    child.0.wait().unwrap().code()
}

/// Moments from the start of the program to its end.
fn moments() -> impl Iterator<Item = Duration> {
    (0..12).map(|number| Duration::from_millis(5 + number * 25))
}

#[test]
fn kill_9_leaves_the_old_content_or_the_new_one() {
    let (data, other) = two_histories();
    other.sample_runs(3000, "2026-06-07T00:00:00Z");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("copy.db");
    let (old, new) = (everything(&data.path()), everything(&other.path()));
    let database = data.path();
    let (file_name, name) = (file.to_str().unwrap(), database.to_str().unwrap());
    let from = other.path();
    let from = from.to_str().unwrap();
    for after in moments() {
        let arguments = ["backup", file_name, "--overwrite", "--database", from];
        killed(&arguments, "-KILL", after);
        if file.exists() {
            assert!(everything(&file) == new);
        }
    }
    succeeded(&command("backup", &file, &other.path(), &["--overwrite"]));
    let left: Vec<_> = names_beside(&file);
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
    let service = Service::start(serve(&data.path(), &["--change-poll-ms", "20"]));
    for after in moments() {
        killed(&["restore", file_name, "--database", name], "-KILL", after);
        let found = everything(&data.path());
        assert!(found == old || found == new);
        ids(&data.path());
    }
    succeeded(&restore(&file, &data.path()));
    assert!(everything(&data.path()) == new);
    eventually("the board", || {
        get(&service.address, BOARD, "").contains("\"only-new\"")
    });
    stop(service);
    assert_eq!(names_beside(&data.path()), ["publisher.db"]);
}

#[test]
fn a_signal_leaves_nothing() {
    let (data, other) = two_histories();
    data.sample_runs(3000, "2026-06-07T00:00:00Z");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("copy.db");
    succeeded(&backup(&data.path(), &file));
    let kept = fs::read(&file).unwrap();
    let (data_name, other_name) = (data.path(), other.path());
    let arguments = [
        vec![
            "backup",
            file.to_str().unwrap(),
            "--overwrite",
            "--database",
            data_name.to_str().unwrap(),
        ],
        vec![
            "restore",
            file.to_str().unwrap(),
            "--database",
            other_name.to_str().unwrap(),
        ],
    ];
    for arguments in &arguments {
        for (number, after) in moments().enumerate() {
            let (signal, code) = [("-INT", 130), ("-TERM", 143), ("-HUP", 129)][number % 3];
            let ended = killed(arguments, signal, after);
            // Before its first line the program is ended by the signal itself.
            assert!([None, Some(0), Some(code)].contains(&ended), "{ended:?}");
            assert_eq!(names_beside(&file), ["copy.db"]);
            let beside = names_beside(&other_name);
            assert!(
                beside.iter().all(|name| !name.starts_with('.')),
                "{beside:?}"
            );
            ids(&other_name);
        }
    }
    assert_eq!(fs::read(&file).unwrap().len(), kept.len());
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let data = Data::sample();
    data.sample_runs(3000, "2026-06-07T00:00:00Z");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("copy.db");
    succeeded(&backup(&data.path(), &file));
    let small = tempfile::TempDir::new().unwrap();
    // Each of the commands needs more than the 6 MB that are left.
    let script = r#"
        mount -t tmpfs -o size=12m none "$SMALL" || exit 77
        "$PUBLISHER" backup "$SMALL/a.db" --database "$DATABASE" --log-level off || exit 1
        "$PUBLISHER" export all --database "$SMALL/a.db" > "$FOLDER/before" || exit 2
        for command in "backup $SMALL/b.db --database $DATABASE" "restore $FILE --database $SMALL/a.db"; do
            head -c 5000000 /dev/zero > "$SMALL/filler"
            "$PUBLISHER" $command --log-level off && exit 3
            rm "$SMALL/filler"
            "$PUBLISHER" export all --database "$SMALL/a.db" > "$FOLDER/after" || exit 4
            cmp "$FOLDER/before" "$FOLDER/after" || exit 5
            rm -f "$SMALL/a.db-shm" "$SMALL/a.db-wal"
            ls -A "$SMALL"
        done
    "#;
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .env("PUBLISHER", env!("CARGO_BIN_EXE_cathedral-publisher"))
        .env("SMALL", small.path())
        .env("FOLDER", folder.path())
        .env("FILE", &file)
        .env("DATABASE", data.path())
        .output();
    let Some(output) = output
        .ok()
        .filter(|output| output.status.code() != Some(77))
    else {
        return;
    };
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let said = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<_> = said.lines().skip(1).collect();
    assert_eq!(listed, ["a.db", "a.db"], "nothing else is left");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(stderr.lines().all(|line| line.contains("full")), "{stderr}");
}
