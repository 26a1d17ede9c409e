//! `--snapshot-file`: the last board on disk, for a start that cannot read the database:
//!
//! - a start whose first build fails serves the board of the file, and the first build that succeeds replaces it
//! - a start on a database that cannot be opened serves the same bytes and tags as before, and opens it later
//! - a start creates no database if the file has a board
//! - a file that cannot be used costs one warning
//! - without a usable file such a start ends with exit code 1
//! - a stop writes the last board
//! - `kill -9` at any moment leaves a whole file
//! - a file of the database is refused

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cathedral_publisher::{cache::snapshot_file::SnapshotFile, demo::sample::Sample};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    app::{App, BOARD, CURRENT, Data, Mode, TOKENS, eventually, settings, wait_until},
    process::{Service, get, post, run, serve},
    waiting::CHANGES,
    wire::{self, Client},
};

const CODINGS: [&str; 4] = ["identity", "gzip", "zstd", "br"];

/// A folder with a database and the path of a snapshot file.
struct Files {
    data: Data,
    snapshot: PathBuf,
}

impl Files {
    fn new() -> Self {
        let data = Data::sample();
        let snapshot = data.path().with_file_name("board.snapshot");
        Self { data, snapshot }
    }

    fn start(&self) -> Service {
        let options = ["--snapshot-file", self.snapshot.to_str().unwrap()];
        let options = [&options[..], &["--cache-status", "--change-poll-ms", "50"]].concat();
        Service::start(serve(&self.data.path(), &options))
    }

    /// Returns the number of items in the file, if it is whole.
    fn saved(&self) -> Option<usize> {
        let saved = SnapshotFile::new(self.snapshot.clone()).read().ok()??;
        let board = saved.snapshot.board().identity().body().to_vec();
        let board: serde_json::Value = serde_json::from_slice(&board).unwrap();
        board["count"].as_u64().map(|count| count as usize)
    }

    /// Moves the database away, and puts something else in its place.
    fn damage(&self, put: impl FnOnce(&Path)) {
        let path = self.data.path();
        fs::rename(&path, path.with_extension("away")).unwrap();
        put(&path);
    }

    fn repair(&self) {
        let path = self.data.path();
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&path);
        fs::rename(path.with_extension("away"), &path).unwrap();
    }
}

fn stop(service: Service) -> String {
    service.signal("-TERM");
    let started = service.started.clone();
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    started + &said
}

/// What clients get of the board: bytes and tags in every coding, current-challenge, and the link to the next change
/// without its slot.
fn answers(service: &Service) -> Vec<(u16, String, String)> {
    let mut client = Client::connect(&service.address);
    let mut answers = Vec::new();
    for path in [BOARD, CURRENT, &format!("{CURRENT}?tier=2"), CHANGES] {
        for coding in CODINGS {
            let excluding = format!("Accept-Encoding: {coding}, identity;q=0\r\n");
            let fields = if coding == "identity" { "" } else { &excluding };
            let answer = client.ask(wire::get(path, fields));
            let known = ["etag: ", "link: ", "content-encoding: ", "vary: "];
            let head = answer
                .head
                .lines()
                .filter(|line| known.iter().any(|name| line.starts_with(name)));
            let mut head: Vec<&str> = head
                .map(|line| line.split("&slot=").next().unwrap())
                .collect();
            head.sort_unstable();
            let head = head.join(", ");
            let digest = format!("{:x?}", Sha256::digest(&answer.body));
            answers.push((answer.status, head, digest));
        }
    }
    assert!(
        answers.iter().all(|(status, ..)| *status == 200),
        "{answers:?}"
    );
    answers
}

fn put(service: &Service, seed: u64) -> String {
    let challenge = Sample::new(seed).challenge(1);
    let id = challenge.challenge_id.clone();
    let mut body = Vec::new();
    challenge.write_item(&mut body).unwrap();
    let head = format!(
        "PUT /v1/admin/challenges/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        TOKENS[0],
        body.len()
    );
    let answer = Client::connect(&service.address).ask([head.into_bytes(), body].concat());
    answer.head
}

#[actix_web::test]
async fn a_start_whose_first_build_fails_serves_the_board_of_the_file_until_one_succeeds() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("board.snapshot");
    let options = ["--snapshot-file", path.to_str().unwrap(), "--cache-status"];
    let first = App::start_with_options(Data::sample(), &options).await;
    let before = first.get(BOARD).await;
    wait_until("the file", async || path.exists()).await;
    first.stop().await;

    let app = App::start_with(Data::empty(), Mode::Fail, settings(&options)).await;
    let saved = app.get(BOARD).await;
    assert_eq!(
        (&saved.body, saved.header("etag")),
        (&before.body, before.header("etag"))
    );
    let status = saved.header("cache-status").to_owned();
    assert!(
        status.starts_with("publisher; hit; ttl=-") && status.ends_with("; detail=snapshot-file"),
        "{status}"
    );
    let age: u64 = saved.header("age").parse().unwrap();
    assert!(age < 60, "{age}");
    app.clock.advance(Duration::from_secs(100));
    let older: u64 = app.get(BOARD).await.header("age").parse().unwrap();
    assert!((100..160).contains(&older), "{older}");
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["checks"]["snapshot"], "from the snapshot file");
    // What is served is not what the database has: the file stays as it is.
    let content = fs::read(&path).unwrap();
    app.gate.set(Mode::Pass);
    app.recovers_to(0).await;
    assert_eq!(app.get("/health/ready").await.status, 200);
    let status = app.get(BOARD).await.header("cache-status").to_owned();
    assert!(!status.contains("snapshot-file"), "{status}");
    wait_until("another file", async || fs::read(&path).unwrap() != content).await;
    app.stop().await;
}

#[test]
fn a_start_on_a_database_that_cannot_be_opened_serves_the_same_bytes_and_opens_it_later() {
    let files = Files::new();
    let service = files.start();
    let board = answers(&service);
    eventually("the file", || files.saved() == Some(51));
    stop(service);
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 4] = [
        (
            |path| fs::write(path, "no database".repeat(1000)).unwrap(),
            "is not an SQLite database",
        ),
        (|path| fs::write(path, "").unwrap(), "a.db"),
        (|path| fs::create_dir(path).unwrap(), "is a folder"),
        (|_| (), "a.db"),
    ];
    for (damage, reason) in damages {
        files.damage(damage);
        let service = files.start();
        assert_eq!(answers(&service), board, "{reason}");
        let ready = get(&service.address, "/health/ready", "");
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(
            ready.contains(r#""snapshot":"from the snapshot file""#),
            "{ready}"
        );
        assert!(get(&service.address, "/health/live", "").starts_with("HTTP/1.1 200 "));
        assert!(post(&service.address, &wire::row("a")).starts_with("HTTP/1.1 503 "));
        assert!(put(&service, 99).starts_with("HTTP/1.1 503 "));
        files.repair();
        eventually("readiness", || {
            get(&service.address, "/health/ready", "").starts_with("HTTP/1.1 200 ")
        });
        assert_eq!(answers(&service), board, "{reason}");
        assert!(post(&service.address, &wire::row("a")).starts_with("HTTP/1.1 200 "));
        let said = stop(service);
        let warned: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("board.snapshot"))
            .collect();
        assert_eq!(warned.len(), 1, "{said}");
        assert!(
            warned[0].contains(" WARN ") && warned[0].contains("which was published "),
            "{said}"
        );
        assert!(said.contains("starting without it"), "{said}");
        assert!(said.contains(reason.trim_start_matches("a.db")), "{said}");
        // Closed in order, although it was opened later.
        let log = files.data.path().with_extension("db-wal");
        assert_eq!(fs::metadata(&log).map_or(0, |log| log.len()), 0, "{said}");
    }
}

#[test]
fn a_start_creates_no_database_if_the_file_has_a_board() {
    let files = Files::new();
    let service = files.start();
    eventually("the file", || files.saved() == Some(51));
    stop(service);
    files.damage(|_| ());
    let service = files.start();
    for _ in 0..5 {
        assert!(put(&service, 99).starts_with("HTTP/1.1 503 "));
        assert!(get(&service.address, BOARD, "").contains(r#""count":51"#));
    }
    stop(service);
    assert!(!files.data.path().exists());
    assert_eq!(files.saved(), Some(51));
    // Without the file it does.
    fs::remove_file(&files.snapshot).unwrap();
    let service = files.start();
    assert!(get(&service.address, BOARD, "").contains(r#""count":0"#));
    stop(service);
    assert!(files.data.path().exists());
}

/// Snapshot files that cannot be used, made of one that can, and why.
fn unusable(whole: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let mut changed = whole.to_vec();
    let last = changed.len() - 3;
    changed[last] ^= 1;
    let newer = String::from_utf8_lossy(whole).replacen("snapshot 1 ", "snapshot 2 ", 1);
    vec![
        (whole[..whole.len() / 2].to_vec(), "is truncated or damaged"),
        (whole[..40].to_vec(), "is truncated or damaged"),
        (changed, "is truncated or damaged"),
        (
            newer.into_bytes(),
            "has format 2, and this program knows format 1",
        ),
        (Vec::new(), "is empty"),
        (
            b"SQLite format 3\0".to_vec(),
            "is not a snapshot of the board",
        ),
        (vec![0; 5000], "is not a snapshot of the board"),
    ]
}

#[test]
fn a_file_that_cannot_be_used_costs_one_warning_and_without_the_database_the_start() {
    let files = Files::new();
    let service = files.start();
    eventually("the file", || files.saved() == Some(51));
    stop(service);
    let whole = fs::read(&files.snapshot).unwrap();
    for (content, reason) in unusable(&whole) {
        fs::write(&files.snapshot, &content).unwrap();
        let service = files.start();
        assert!(get(&service.address, "/health/ready", "").starts_with("HTTP/1.1 200 "));
        let is_foreign = reason.contains("not a snapshot");
        if !is_foreign {
            eventually("a file that can be used", || files.saved() == Some(51));
        }
        let said = stop(service);
        let warned = said.lines().filter(|line| line.contains("board.snapshot"));
        // The second one says that it is not overwritten.
        assert_eq!(warned.count(), if is_foreign { 2 } else { 1 }, "{said}");
        assert!(
            said.contains(&format!("board.snapshot: {reason}")),
            "{said}"
        );
        if is_foreign {
            assert_eq!(fs::read(&files.snapshot).unwrap(), content);
        }
        fs::write(&files.snapshot, &content).unwrap();
        files.damage(|path| fs::write(path, "no database".repeat(1000)).unwrap());
        let database = files.data.path();
        let arguments = ["serve", "--address", "127.0.0.1:0", "--snapshot-file"];
        let paths = [
            files.snapshot.to_str().unwrap(),
            "--database",
            database.to_str().unwrap(),
        ];
        let output = run(&[&arguments[..], &paths].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("is not an SQLite database"), "{said}");
        files.repair();
    }
    // A folder, and a file that cannot be written: the server serves.
    fs::remove_file(&files.snapshot).unwrap();
    fs::create_dir(&files.snapshot).unwrap();
    let service = files.start();
    assert!(get(&service.address, "/health/ready", "").starts_with("HTTP/1.1 200 "));
    let said = stop(service);
    assert_eq!(said.matches("is not a regular file").count(), 2, "{said}");
}

#[test]
fn a_stop_writes_the_last_board() {
    let files = Files::new();
    let service = files.start();
    // The file is written once a second at most.
    for seed in 100..110 {
        assert!(put(&service, seed).starts_with("HTTP/1.1 200 "));
    }
    let (_, _, digest) = answers(&service).swap_remove(0);
    stop(service);
    let saved = SnapshotFile::new(files.snapshot.clone())
        .read()
        .unwrap()
        .unwrap();
    let board = saved.snapshot.board().identity().body();
    assert_eq!(format!("{:x?}", Sha256::digest(&board)), digest);
}

#[test]
fn kill_9_at_any_moment_leaves_a_whole_file() {
    let files = Files::new();
    let service = files.start();
    eventually("the file", || files.saved() == Some(51));
    stop(service);
    let mut written = 0;
    for round in 0..40 {
        files.data.put(&[Sample::new(200 + round).challenge(1)]);
        let before = fs::read(&files.snapshot).unwrap();
        let service = files.start();
        // The first write begins when the server does.
        std::thread::sleep(Duration::from_micros(round * 150));
        service.signal("-KILL");
        service.ended();
        assert!(files.saved().is_some(), "{round}");
        written += usize::from(fs::read(&files.snapshot).unwrap() != before);
        let folder = fs::read_dir(files.data.path().parent().unwrap()).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left = names.filter(|name| name.ends_with(".tmp")).count();
        assert!(left <= 1, "leftovers are removed at the start");
    }
    // Else the kills came too early to tell anything.
    assert!(written >= 10, "{written}");
    let service = files.start();
    stop(service);
}

#[test]
fn a_file_of_the_database_is_refused() {
    let data = Data::sample();
    let database = data.path();
    for suffix in ["", "-wal", "-shm"] {
        let snapshot = format!("{}{suffix}", database.display());
        let output = run(&[
            "serve",
            "--address",
            "127.0.0.1:0",
            "--database",
            database.to_str().unwrap(),
            "--snapshot-file",
            &snapshot,
        ]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("is a file of the database"), "{said}");
    }
}
