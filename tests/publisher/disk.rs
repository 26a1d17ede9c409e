//! Disk failures, on a real file system of a few MiB. It is mounted for the test only; if mounting is not permitted,
//! the test prints SKIPPED.
//!
//! - a full disk rejects writes with 503 and loses no acknowledged row; reads continue, and writes continue when there
//!   is space again; on a read-only file system the server does not start and says why in one line
//! - `prune rows` on a full disk says in one line what to do, and works when there is room
//! - a stop on a full disk exits with 0, and the log says how many lines it dropped
//! - a full disk keeps the last snapshot file, and a newer one is written when there is space again
//! - readiness of a follower that can store nothing names the disk
//! - after the database is deleted, writes get 503 and no new database is created

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use awc::http::Method;
use cathedral_publisher::demo::sample::Sample;
use tempfile::TempDir;

use crate::{
    app::{App, BOARD, Data, FEED, TOKENS, eventually, wait_until},
    follow::{self, Upstream, data, seen},
    process::{get, post, publisher},
    wire::row,
};

const RUNS: &str = "/v1/admin/eval-runs";
const PAGE: &str = "/v1/leaderboard/recent?since_ran_at=2026-06-01T00:00:00Z&limit=1000";

/// A server whose database is on a small file system in a mount namespace of its own, and a shell in that
/// namespace.
struct OnSmallDisk {
    shell: Child,
    commands: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: TempDir,
    address: String,
    database: String,
    options: String,
}

impl OnSmallDisk {
    fn start() -> Option<Self> {
        Self::start_with("a.db", "")
    }

    /// The database may lie elsewhere, if its path is absolute.
    fn start_with(database: &str, options: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut shell = Command::new("unshare")
            .args(["-rm", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let commands = shell.stdin.take().unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap());
        let mut disk = Self {
            shell,
            commands,
            output,
            folder,
            address: String::new(),
            database: String::new(),
            options: options.to_owned(),
        };
        let path = disk.folder.path().display().to_string();
        disk.run(&format!("disk={path}"));
        let mounted = disk.run(&format!("mount -t tmpfs -o size=8m none {path}"));
        if mounted != "0" {
            let skipped =
                b"SKIPPED: no file system can be mounted here, so a full disk was not tested\n";
            std::io::stderr().write_all(skipped).unwrap();
            return None;
        }
        disk.database = disk.folder.path().join(database).display().to_string();
        disk.serve();
        Some(disk)
    }

    fn serve(&mut self) {
        let program = publisher(&[]).get_program().to_str().unwrap().to_owned();
        let folder = self.folder.path().display();
        let token = TOKENS[0];
        let (database, options) = (&self.database, &self.options);
        // Deletes the log of an earlier server, which also contains an address.
        self.run(&format!(
            "rm -f {folder}/log; PUBLISHER_ADMIN_TOKEN={token} {program} serve --address 127.0.0.1:0 --database {database} --change-poll-ms 50 --access-log all {options} 2>{folder}/log & pid=$!"
        ));
        let address = format!(
            r"sed -n 's|.* on http://||p' {}/log",
            self.folder.path().display()
        );
        eventually("the address", || {
            let lines = self.lines(&address);
            if let [address, _] = lines.as_slice() {
                self.address = address.clone();
            }
            lines.len() == 2
        });
    }

    /// Runs a command in the shell. Returns the lines of its output, then its exit status.
    fn lines(&mut self, command: &str) -> Vec<String> {
        writeln!(self.commands, "{command}\necho \"done $?\"").unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).unwrap(),
                0,
                "the shell has ended"
            );
            if let Some(status) = line.strip_prefix("done ") {
                lines.push(status.trim().to_owned());
                return lines;
            }
            lines.push(line.trim().to_owned());
        }
    }

    fn run(&mut self, command: &str) -> String {
        self.lines(command).pop().unwrap()
    }

    /// Posts one row of about 20 kB and returns the response.
    fn post(&self, id: &str) -> String {
        let padding = "x".repeat(20_000);
        let row = format!(
            r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5,"x":"{padding}"}}"#
        );
        post(&self.address, &row)
    }

    fn assert_serves(&self, acknowledged: &[String]) {
        assert!(get(&self.address, BOARD, "").starts_with("HTTP/1.1 200 "));
        let page = get(&self.address, PAGE, "");
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        for id in acknowledged {
            assert!(page.contains(&format!(r#""id":"{id}""#)), "{id} is lost");
        }
        assert_eq!(page.matches(r#""id":""#).count(), acknowledged.len());
    }

    /// Posts rows until one gets 503.
    fn post_until_rejected(&self, acknowledged: &mut Vec<String>) {
        for _ in 0..500 {
            let id = format!("row-{}", acknowledged.len());
            let answer = self.post(&id);
            if !answer.starts_with("HTTP/1.1 200 ") {
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
                assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
                return;
            }
            acknowledged.push(id);
        }
        panic!("no post was rejected");
    }

    fn post_until_accepted(&self, acknowledged: &mut Vec<String>) {
        let id = format!("row-{}", acknowledged.len());
        for _ in 0..100 {
            if self.post(&id).starts_with("HTTP/1.1 200 ") {
                acknowledged.push(id);
                return;
            }
        }
        panic!("no post was accepted");
    }
}

impl Drop for OnSmallDisk {
    fn drop(&mut self) {
        let _ = writeln!(self.commands, "kill -9 $pid; exit");
        let _ = self.shell.wait();
    }
}

#[test]
fn a_full_disk_rejects_writes_and_loses_no_acknowledged_row() {
    let Some(mut disk) = OnSmallDisk::start() else {
        return;
    };
    let folder = disk.folder.path().display().to_string();
    let mut acknowledged = Vec::new();
    disk.post_until_accepted(&mut acknowledged);
    // Another file fills the disk to the last byte.
    disk.run(&format!("cat /dev/zero >{folder}/filler"));
    disk.post_until_rejected(&mut acknowledged);
    disk.assert_serves(&acknowledged);
    disk.run(&format!("rm {folder}/filler"));
    disk.post_until_accepted(&mut acknowledged);
    // The database itself fills the disk.
    disk.post_until_rejected(&mut acknowledged);
    disk.assert_serves(&acknowledged);
    disk.run(&format!("mount -o remount,size=64m {folder}"));
    disk.post_until_accepted(&mut acknowledged);
    disk.assert_serves(&acknowledged);
    assert_eq!(disk.run("kill -TERM $pid; wait $pid"), "0");
    disk.serve();
    disk.assert_serves(&acknowledged);
    assert_eq!(disk.run("kill -TERM $pid; wait $pid"), "0");
    assert_eq!(disk.run(&format!("mount -o remount,ro {folder}")), "0");
    let program = publisher(&[]).get_program().to_str().unwrap().to_owned();
    for option in ["", "--read-only"] {
        let said = disk.lines(&format!(
            "{program} serve --database {folder}/a.db --address 127.0.0.1:0 {option} 2>&1"
        ));
        let [line, code] = said.as_slice() else {
            panic!("{option}: {said:?}");
        };
        assert_eq!(code, "1");
        assert!(line.contains("a.db: cannot be opened"), "{line}");
    }
}

#[test]
fn prune_on_a_full_disk_says_what_to_do_and_works_when_there_is_room() {
    let Some(mut disk) = OnSmallDisk::start() else {
        return;
    };
    let folder = disk.folder.path().display().to_string();
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        disk.post_until_accepted(&mut acknowledged);
    }
    disk.run(&format!("cat /dev/zero >{folder}/filler"));
    let program = publisher(&[]).get_program().to_str().unwrap().to_owned();
    let prune = format!("{program} prune rows --database {folder}/a.db --before 2026-06-08 2>&1");
    let refused = |disk: &mut OnSmallDisk| {
        let said = disk.lines(&prune);
        let [line, code] = said.as_slice() else {
            panic!("{said:?}");
        };
        assert_eq!(code, "1");
        assert!(line.contains("make room on the disk"), "{line}");
        assert_eq!(line.matches("disk is full").count(), 1, "{line}");
    };
    // Beside a server whose log takes no further row, and after its end.
    disk.post_until_rejected(&mut acknowledged);
    refused(&mut disk);
    assert_eq!(disk.run("kill -TERM $pid; wait $pid"), "0");
    disk.run(&format!("cat /dev/zero >{folder}/more"));
    refused(&mut disk);
    disk.run(&format!("rm {folder}/more"));
    disk.run(&format!("rm {folder}/filler"));
    let said = disk.lines(&prune);
    let removed = format!("{} eval runs were removed", acknowledged.len());
    assert!(said[0].starts_with(&removed), "{said:?}");
    disk.serve();
    disk.assert_serves(&[]);
}

#[test]
fn a_stop_on_a_full_disk_exits_with_0_and_the_log_says_how_many_lines_it_dropped() {
    let Some(mut disk) = OnSmallDisk::start() else {
        return;
    };
    let folder = disk.folder.path().display().to_string();
    let mut acknowledged = Vec::new();
    disk.post_until_accepted(&mut acknowledged);
    disk.run(&format!("cat /dev/zero >{folder}/filler"));
    let dropped = || {
        let page = get(&disk.address, "/metrics", "");
        let count = page
            .split("\npublisher_log_lines_dropped_total ")
            .nth(1)
            .unwrap();
        let digits = count.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        digits.parse::<u64>().unwrap()
    };
    eventually("a dropped line", || {
        disk.post_until_rejected(&mut acknowledged);
        dropped() > 0
    });
    disk.assert_serves(&acknowledged);
    disk.run(&format!("rm {folder}/filler"));
    let notice = format!("grep -c 'dropped .* log lines' {folder}/log");
    eventually("the notice", || disk.run(&notice) == "0");
    // Each line is whole.
    let broken = disk.lines(&format!("grep -vc '^20' {folder}/log"));
    assert_eq!(broken, ["0", "1"]);
    disk.run(&format!("cat /dev/zero >{folder}/filler"));
    disk.post_until_rejected(&mut acknowledged);
    assert_eq!(disk.run("kill -TERM $pid; wait $pid"), "0");
    disk.run(&format!("rm {folder}/filler"));
    disk.serve();
    disk.assert_serves(&acknowledged);
}

#[test]
fn a_full_disk_keeps_the_last_snapshot_file_until_there_is_space_again() {
    let data = Data::sample();
    let database = data.path().display().to_string();
    let Some(mut disk) = OnSmallDisk::start_with(&database, "--snapshot-file $disk/board.snapshot")
    else {
        return;
    };
    let folder = disk.folder.path().display().to_string();
    let count = |disk: &mut OnSmallDisk| {
        disk.lines(&format!(
            r#"grep -o '"count":[0-9]*' {folder}/board.snapshot"#
        ))[0]
            .clone()
    };
    eventually("the first file", || count(&mut disk) == r#""count":51"#);
    // There is room for lines of the log, and none for a board.
    let fill = format!("cat /dev/zero >{folder}/filler; truncate -s -16K {folder}/filler");
    disk.run(&fill);
    data.put(&[Sample::new(99).challenge(1)]);
    let board = |disk: &OnSmallDisk| get(&disk.address, BOARD, "");
    eventually("the new board", || board(&disk).contains(r#""count":52"#));
    let failed = format!("grep 'board.snapshot: the board is not saved' {folder}/log");
    eventually("the failure", || disk.run(&failed) == "0");
    assert_eq!(count(&mut disk), r#""count":51"#);
    disk.run(&format!("rm {folder}/filler"));
    eventually("the new file", || count(&mut disk) == r#""count":52"#);
    let names = disk.lines(&format!("ls -A {folder}"));
    assert_eq!(names, ["board.snapshot", "log", "0"]);
    assert_eq!(disk.run("kill -TERM $pid; wait $pid"), "0");
    let said = disk.lines(&format!(
        "grep -c 'board.snapshot: the board is' {folder}/log"
    ));
    assert_eq!(said, ["2", "0"]);
}

#[test]
fn readiness_of_a_follower_that_can_store_nothing_names_the_disk() {
    let own = data();
    let upstream = Upstream::start(&own.path());
    // It has nothing to store for most of a wait.
    let options = format!(
        "--follow http://{} --max-snapshot-age-secs 1",
        upstream.address()
    );
    let Some(mut disk) = OnSmallDisk::start_with("copy.db", &options) else {
        return;
    };
    let folder = disk.folder.path().display().to_string();
    let board = seen(&upstream.address(), BOARD);
    eventually("the board", || seen(&disk.address, BOARD) == board);
    let ready = |disk: &OnSmallDisk| get(&disk.address, "/health/ready", "");
    eventually("an unconfirmed copy", || {
        let ready = ready(&disk);
        ready.contains("\"upstream\":\"not confirmed") && !ready.contains("\"disk\"")
    });
    disk.run(&format!("cat /dev/zero >{folder}/filler"));
    upstream.post_rows(&[follow::row("new", "00:00:01")]);
    let full = "\"disk\":\"0 MiB are free, fewer than 1\"";
    eventually("the disk", || {
        let ready = ready(&disk);
        ready.starts_with("HTTP/1.1 503 ") && ready.contains(full)
    });
    assert_eq!(seen(&disk.address, BOARD), board);
    disk.run(&format!("rm {folder}/filler"));
    eventually("a copy that goes on", || {
        get(&disk.address, PAGE, "").contains(r#""id":"new""#)
    });
    let ready = ready(&disk);
    assert!(!ready.contains("\"disk\""), "{ready}");
}

#[actix_web::test]
async fn after_the_database_is_deleted_writes_get_503_and_no_new_database_is_created() {
    let app = App::start(Data::sample()).await;
    assert_eq!(app.admin(Method::POST, RUNS, row("a")).await.status, 200);
    let path = app.data.path();
    let away = app.data.path().with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    for _ in 0..3 {
        let rejected = app.admin(Method::POST, RUNS, row("b")).await;
        rejected.assert_error(503, "temporarily unavailable, try again");
    }
    assert!(!path.exists(), "an empty database was created");
    assert_eq!(app.get(BOARD).await.status, 200);
    // A copy takes its place, as when a backup is restored.
    std::fs::copy(&away, &path).unwrap();
    let accepted = async || app.admin(Method::POST, RUNS, row("c")).await.status == 200;
    wait_until("writes", accepted).await;
    let page = format!("{FEED}?since_ran_at=2026-06-01T00:00:00Z");
    let shows_it = async || app.get(&page).await.text().contains(r#""id":"c""#);
    wait_until("the row", shows_it).await;
    let stored: i64 = app.data.write(|connection| {
        let count = "SELECT count(*) FROM eval_runs WHERE id = 'c'";
        connection.query_row(count, [], |row| row.get(0)).unwrap()
    });
    assert_eq!(stored, 1);
    app.stop().await;
}
