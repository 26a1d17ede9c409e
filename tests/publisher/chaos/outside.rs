//! A server that is paused, locked out, or set to another time, and a disk that is full.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    beside::beside,
    check,
    inject::Injector,
    items,
    model::Faults,
    report::Report,
    scenario::Scene,
    server::{Server, bearer, serve, signal},
    until,
};
use crate::client::Connection;

const DAY: i64 = 86_400;

/// Runs each of them.
pub fn all(publisher: &Path, rounds: u32, report: &mut Report) {
    let folder = tempfile::TempDir::new().unwrap();
    let Some(injector) = Injector::new(folder.path()) else {
        return report.skip("pauses, locks and clocks", "no C compiler");
    };
    for _ in 0..rounds {
        paused(publisher, &injector, report);
        locked(publisher, &injector, report);
        stopped_holder(publisher, &injector, report);
        clock_jumps(publisher, &injector, report);
        full_disk(publisher, report);
    }
}

fn begun<'a>(publisher: &'a Path, injector: &'a Injector) -> Scene<'a> {
    let mut scene = Scene::new(publisher, injector);
    assert!(scene.start(), "{:?}", scene.faults);
    scene.write(3);
    scene
}

fn end(mut scene: Scene<'_>, name: &str, report: &mut Report) {
    scene.recovers();
    scene.read();
    scene.stop();
    scene.finish(name, report);
}

/// The server is paused while a client waits, and goes on.
fn paused(publisher: &Path, injector: &Injector, report: &mut Report) {
    let mut scene = begun(publisher, injector);
    let pid = scene.server().pid();
    scene.server().signal("-STOP");
    let wakes = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        signal(pid, "-CONT");
    });
    scene.write(5);
    wakes.join().unwrap();
    end(scene, "SIGSTOP of the server for 2 s", report);
}

/// Another process keeps the database locked.
fn locked(publisher: &Path, injector: &Injector, report: &mut Report) {
    let mut scene = begun(publisher, injector);
    let other = rusqlite::Connection::open(scene.database()).unwrap();
    other
        .execute_batch("BEGIN EXCLUSIVE; DELETE FROM eval_runs; DELETE FROM challenges;")
        .unwrap();
    if scene.write(3) > 0 {
        scene
            .faults
            .others
            .push("acknowledged under a lock".to_owned());
    }
    scene.read();
    drop(other);
    end(scene, "another connection holds BEGIN EXCLUSIVE", report);
}

/// A process that holds the write lock is paused.
fn stopped_holder(publisher: &Path, injector: &Injector, report: &mut Report) {
    let mut scene = begun(publisher, injector);
    let database = scene.database();
    let file = database.with_file_name("import.ndjson");
    let rows: Vec<String> = (0..60_000)
        .map(|at| items::row(&format!("2-import-{at}")))
        .collect();
    fs::write(&file, rows.join("\n")).unwrap();
    let mut import = Command::new(publisher)
        .args(["import", "rows"])
        .args([
            file.as_os_str(),
            "--database".as_ref(),
            database.as_os_str(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let other = rusqlite::Connection::open(&database).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    let is_locked = || match other.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Ok(()) => None,
        Err(_) => Some(()),
    };
    let held = until(Duration::from_secs(20), is_locked);
    signal(import.id(), "-STOP");
    if held.is_some() && is_locked().is_some() {
        if scene.write(3) > 0 {
            scene
                .faults
                .others
                .push("acknowledged under a lock".to_owned());
        }
        scene.read();
    } else {
        scene
            .faults
            .others
            .push("the import never had the lock".to_owned());
    }
    signal(import.id(), "-CONT");
    // With the lock it is killed: its transaction is rolled back.
    import.kill().unwrap();
    import.wait().unwrap();
    end(
        scene,
        "SIGSTOP of a process that holds the write lock",
        report,
    );
}

/// The wall clock jumps ahead and back by days.
fn clock_jumps(publisher: &Path, injector: &Injector, report: &mut Report) {
    let mut scene = begun(publisher, injector);
    for days in [3, 0, -3, 400, -400, 0] {
        injector.shift_clock(days * DAY);
        if scene.write(2) != 2 {
            scene
                .faults
                .others
                .push(format!("a write with a clock of {days} days"));
        }
        scene.read();
        if scene.server().get("/health/ready").0 != 200 {
            scene
                .faults
                .others
                .push(format!("not ready with a clock of {days} days"));
        }
    }
    injector.end();
    end(scene, "the clock jumps by days, ahead and back", report);
}

/// A disk of 8 MiB is filled by another file, and emptied.
fn full_disk(publisher: &Path, report: &mut Report) {
    let name = "a full disk, and space again";
    let folder = tempfile::TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let server = serve(publisher, &database, &["--shutdown-grace-ms", "0"]);
    let script = format!(
        r#"mount -t tmpfs -o size=8m none {} && exec "$0" "$@""#,
        folder.path().display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", &script])
        .arg(server.get_program())
        .args(server.get_args())
        .env("PUBLISHER_ADMIN_TOKEN", super::server::TOKEN)
        .stdin(Stdio::null());
    let Ok(mut server) = Server::try_start(&mut command) else {
        let skipped =
            b"SKIPPED: no file system can be mounted here, so a full disk was not tested\n";
        io::stderr().write_all(skipped).unwrap();
        return report.skip(name, "no file system can be mounted here");
    };
    // The folder as the server sees it.
    let inside = PathBuf::from(format!(
        "/proc/{}/root{}",
        server.pid(),
        folder.path().display()
    ));
    let mut faults = Faults::default();
    let (mut acknowledged, mut stuck) = (Vec::new(), 0);
    let mut number = 0;
    let mut write = |acknowledged: &mut Vec<String>| {
        number += 1;
        let id = format!("1-{}-{number}", "x".repeat(200));
        let answer = Connection::open(&server.address).and_then(|mut connection| {
            let body = items::row(&id);
            connection.request("POST", "/v1/admin/eval-runs", &bearer(), body.as_bytes())
        });
        let is_accepted = matches!(answer, Ok((200, _)));
        match answer {
            Ok((200, _)) => acknowledged.push(id),
            Ok((503, _)) => {}
            other => faults.others.push(format!("{other:?}")),
        }
        is_accepted
    };
    for _ in 0..3 {
        write(&mut acknowledged);
        let filler = inside.join("filler");
        let mut full = File::create(&filler).unwrap();
        while full.write_all(&[0; 4096]).is_ok() {}
        let rejected = until(Duration::from_secs(20), || {
            (!write(&mut acknowledged)).then_some(())
        });
        drop(full);
        fs::remove_file(filler).unwrap();
        let accepted = until(Duration::from_secs(20), || {
            write(&mut acknowledged).then_some(())
        });
        if rejected.is_none() || accepted.is_none() {
            stuck += 1;
        }
    }
    // SQLite would resolve the name to one outside of the mount. Nobody writes, so a copy is whole.
    let copy = tempfile::TempDir::new().unwrap();
    let database = copy.path().join("a.db");
    for suffix in ["", "-wal"] {
        fs::copy(
            beside(&inside.join("a.db"), suffix),
            beside(&database, suffix),
        )
        .unwrap();
    }
    if stuck > 0 {
        faults.others.push(format!(
            "{stuck} times it was not rejected, or not accepted again"
        ));
    }
    let stored = check::stored(&database).unwrap().rows;
    let lost = acknowledged.iter().filter(|id| !stored.contains_key(*id));
    faults.lost.extend(lost.cloned());
    let verdict = check::integrity(&database).unwrap();
    if verdict != "ok" {
        faults.damaged.push(verdict);
    }
    server.terminate();
    if !server
        .exits_within(Duration::from_secs(20))
        .is_some_and(|status| status.success())
    {
        faults.others.push("the stop".to_owned());
    }
    faults.others.extend(server.faults());
    report.add(name, acknowledged.len() as u64, faults);
}
