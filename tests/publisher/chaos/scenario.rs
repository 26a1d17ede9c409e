//! A server whose calls on the database files fail: start, five writes, checkpoint, stop.

use std::{path::Path, thread, time::Duration};

use super::{
    check,
    inject::{Call, EIO, ENOSPC, Harm, Hit, Injector},
    items,
    model::{Answer, At, Faults, Sent},
    report::Report,
    server::{Server, bearer, serve},
    until,
};
use crate::client::Connection;

/// Every commit is followed by a checkpoint, and a stop does not wait for clients.
const OPTIONS: [&str; 12] = [
    "--wal-soft-mib",
    "0",
    "--shutdown-grace-ms",
    "0",
    "--write-timeout-ms",
    "300",
    "--write-busy-timeout-ms",
    "300",
    "--change-poll-ms",
    "20",
    "--workers",
    "1",
];
const RECOVERY: Duration = Duration::from_secs(15);
const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
/// Names of the kinds of faults, the calls and what happens to them.
const SINGLE: [(&str, Call, Harm); 9] = [
    ("the n-th write fails: EIO", Call::Write, Harm::Error(EIO)),
    (
        "the n-th write fails: ENOSPC",
        Call::Write,
        Harm::Error(ENOSPC),
    ),
    ("the n-th write is short", Call::Write, Harm::Short),
    ("the n-th sync fails: EIO", Call::Sync, Harm::Error(EIO)),
    (
        "the n-th sync fails: ENOSPC",
        Call::Sync,
        Harm::Error(ENOSPC),
    ),
    (
        "the n-th truncate fails: EIO",
        Call::Truncate,
        Harm::Error(EIO),
    ),
    ("the n-th read fails: EIO", Call::Read, Harm::Error(EIO)),
    ("the n-th read is short", Call::Read, Harm::Short),
    ("the n-th open fails: EIO", Call::Open, Harm::Error(EIO)),
];
const ALL: [Call; 5] = [
    Call::Open,
    Call::Read,
    Call::Write,
    Call::Sync,
    Call::Truncate,
];
const LASTING: [(&str, &[Call], Harm, Hit); 8] = [
    (
        "for a while every write fails: EIO",
        &[Call::Write],
        Harm::Error(EIO),
        Hit::All,
    ),
    (
        "for a while every write fails: ENOSPC",
        &[Call::Write],
        Harm::Error(ENOSPC),
        Hit::All,
    ),
    (
        "for a while every sync fails",
        &[Call::Sync],
        Harm::Error(EIO),
        Hit::All,
    ),
    (
        "for a while every call fails",
        &ALL,
        Harm::Error(EIO),
        Hit::All,
    ),
    (
        "for a while one call in 20 fails: EIO",
        &ALL,
        Harm::Error(EIO),
        Hit::Some(500),
    ),
    (
        "for a while one call in 20 fails: ENOSPC",
        &ALL,
        Harm::Error(ENOSPC),
        Hit::Some(500),
    ),
    (
        "for a while every second call is short",
        &ALL,
        Harm::Short,
        Hit::Some(5000),
    ),
    (
        "for a while syncs hang",
        &[Call::Sync],
        Harm::Hang(60_000),
        Hit::All,
    ),
];

/// One server on one database, and what was written to it.
pub struct Scene<'a> {
    publisher: &'a Path,
    folder: tempfile::TempDir,
    injector: &'a Injector,
    pub server: Option<Server>,
    sent: Vec<(String, Sent)>,
    pub faults: Faults,
}

impl<'a> Scene<'a> {
    /// Prepares a database with a challenge and some eval runs.
    pub fn new(publisher: &'a Path, injector: &'a Injector) -> Self {
        let mut scene = Self {
            publisher,
            folder: tempfile::TempDir::new().unwrap(),
            injector,
            server: None,
            sent: Vec::new(),
            faults: Faults::default(),
        };
        scene.server = Some(Server::start(publisher, &scene.database(), &OPTIONS));
        let mut connection = Connection::open(&scene.server().address).unwrap();
        let challenge = items::challenge("1-0-0", items::ACTIVE);
        let path = "/v1/admin/challenges/1-0-0";
        let put = connection.request("PUT", path, &bearer(), challenge.as_bytes());
        assert_eq!(put.unwrap().0, 200);
        scene.write(5);
        scene.stop();
        scene
    }

    pub fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("scene.db")
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn fault(&mut self, what: String) {
        self.faults.others.push(what);
    }

    /// Starts the server. Returns false if it exits, which it does with a message.
    pub fn start(&mut self) -> bool {
        let mut command = serve(self.publisher, &self.database(), &OPTIONS);
        self.injector.apply(&mut command, &self.database());
        match Server::try_start(&mut command) {
            Ok(server) => {
                self.server = Some(server);
                true
            }
            Err(log) => {
                let log = log.join("\n");
                if log.contains("panicked") || log.is_empty() {
                    self.fault(format!("the start: {log}"));
                }
                false
            }
        }
    }

    /// Writes eval runs one by one. Returns how many were acknowledged.
    pub fn write(&mut self, count: usize) -> usize {
        let mut acknowledged = 0;
        for _ in 0..count {
            let id = format!("1-0-{}", self.sent.len());
            let answer = self.post(&id);
            acknowledged += usize::from(matches!(answer, Answer::Acknowledged { .. }));
            let sent = Sent {
                at: At::ZERO,
                answer,
                rank: 0,
            };
            self.sent.push((id, sent));
        }
        acknowledged
    }

    fn post(&mut self, id: &str) -> Answer {
        let body = items::row(id);
        let path = "/v1/admin/eval-runs";
        let answer = Connection::open(&self.server().address)
            .and_then(|mut c| c.request("POST", path, &bearer(), body.as_bytes()));
        match answer {
            Ok((200, _)) => Answer::Acknowledged {
                at: At::ZERO,
                published: true,
            },
            Ok((503, body)) if String::from_utf8_lossy(&body).contains("unknown") => {
                Answer::Unknown
            }
            Ok((503, _)) => Answer::Rejected,
            other => {
                self.fault(format!("a write: {other:?}"));
                Answer::Unknown
            }
        }
    }

    /// Asks for what is in memory.
    pub fn read(&mut self) {
        let (status, body) = self.server().get(BOARD);
        if status != 200 || !body.contains("1-0-0") {
            self.fault(format!("the board: {status} {body}"));
        }
    }

    /// Waits until writes are accepted, and the server is ready.
    pub fn recovers(&mut self) {
        let accepts = until(RECOVERY, || (self.write(1) == 1).then_some(()));
        let ready = until(RECOVERY, || {
            (self.server().get("/health/ready").0 == 200).then_some(())
        });
        if accepts.is_none() || ready.is_none() {
            let ready = self.server().get("/health/ready");
            self.fault(format!("no recovery: a write {accepts:?}, ready {ready:?}"));
        }
    }

    /// Stops the server with SIGTERM.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        server.terminate();
        let status = server.exits_within(Duration::from_secs(20));
        if status.is_none_or(|status| !status.success()) {
            self.fault(format!("the stop: {status:?}"));
        }
        self.faults.others.extend(server.faults());
    }

    /// Compares what is stored with what was acknowledged. `eval runs` that were rejected must not be stored.
    pub fn finish(mut self, name: &str, report: &mut Report) {
        let (lost, extra, verdict) = check::holds(&self.database(), &self.sent);
        self.faults.lost.extend(lost);
        for id in extra {
            self.fault(format!("{id} was rejected and is stored"));
        }
        if verdict != "ok" {
            self.faults.damaged.push(verdict);
        }
        let is_one =
            |(_, sent): &&(String, Sent)| matches!(sent.answer, Answer::Acknowledged { .. });
        let acknowledged = self.sent.iter().filter(is_one).count() as u64;
        report.add(name, acknowledged, self.faults);
    }
}

/// Lets the n-th call fail, for n = 1, 1 + step, 1 + 2 step, until a whole run passes without a hit.
pub fn one_by_one(publisher: &Path, step: i64, report: &mut Report) {
    let folder = tempfile::TempDir::new().unwrap();
    let Some(injector) = Injector::new(folder.path()) else {
        return report.skip("calls that fail", "no C compiler");
    };
    for (name, call, harm) in SINGLE {
        let mut number = 1;
        loop {
            let mut scene = Scene::new(publisher, &injector);
            injector.begin(&[call], harm, Hit::Nth(number));
            if !scene.start() {
                assert!(injector.hits() > 0, "{:?}", scene.faults);
                assert!(scene.start(), "{:?}", scene.faults);
            }
            let before = injector.hits();
            if before == 0 {
                scene.read();
            }
            scene.write(5);
            scene.recovers();
            scene.read();
            scene.stop();
            let hits = injector.end();
            if harm == Harm::Short
                && scene
                    .sent
                    .iter()
                    .any(|(_, sent)| sent.answer == Answer::Rejected)
            {
                scene.fault("a short transfer fails a write".to_owned());
            }
            for fault in &mut scene.faults.others {
                *fault = format!("call {number}: {fault}");
            }
            scene.finish(name, report);
            if hits == 0 {
                break;
            }
            number += step;
        }
    }
}

/// Lets calls fail for a while under a running server.
pub fn for_a_while(publisher: &Path, rounds: u32, report: &mut Report) {
    let folder = tempfile::TempDir::new().unwrap();
    let Some(injector) = Injector::new(folder.path()) else {
        return;
    };
    for (name, calls, harm, hit) in LASTING {
        for _ in 0..rounds {
            let mut scene = Scene::new(publisher, &injector);
            assert!(scene.start(), "{:?}", scene.faults);
            scene.read();
            injector.begin(calls, harm, hit);
            for _ in 0..5 {
                let acknowledged = scene.write(3);
                if hit == Hit::All && acknowledged > 0 {
                    scene.fault(format!("{acknowledged} writes were acknowledged meanwhile"));
                }
                scene.read();
                thread::sleep(Duration::from_millis(20));
            }
            if injector.end() == 0 {
                scene.fault("no call was hit".to_owned());
            }
            scene.recovers();
            scene.read();
            // Sometimes what the disk has now is all that is left.
            if fastrand::bool() {
                scene.stop();
            } else {
                let faults = scene.server().faults();
                scene.faults.others.extend(faults);
                scene.server = None;
            }
            scene.finish(name, report);
        }
    }
}
