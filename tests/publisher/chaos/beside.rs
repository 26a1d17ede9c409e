//! What happens to a database beside the clients of its server.

use std::{
    collections::HashSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use super::{
    check, items,
    model::{Answer, At, Expected, Loss, Model, Sent},
    rounds::{Clients, Kind},
    server::Server,
    settle::settle,
    until,
};

/// A database, the program that serves it, and the clients of a round.
pub struct Beside<'a> {
    pub publisher: &'a Path,
    pub database: &'a Path,
    pub model: &'a Model,
    pub server: &'a mut Server,
    pub clients: &'a Clients,
    /// The lineage when the round began.
    pub lineage: &'a str,
}

/// A command of the publisher that has ended.
struct Ended {
    /// `None` if it was killed.
    succeeded: Option<bool>,
    span: (At, At),
    said: String,
}

fn pause(limit_ms: u64) {
    // Real time on purpose: the moment is random.
    thread::sleep(Duration::from_millis(fastrand::u64(0..limit_ms)));
}

impl Beside<'_> {
    /// Does what the kind of the round asks for. Returns what it has taken away.
    pub fn run(&mut self, kind: Kind) -> Option<Loss> {
        pause(250);
        match kind {
            Kind::Killed | Kind::Starting | Kind::Second => pause(250),
            Kind::Backup => self.backup_is_checked(),
            Kind::Restore => return self.restore(),
            Kind::Retention => return self.retention(),
            Kind::Import => self.import(fastrand::bool()),
            Kind::SecondAndImport => self.import(true),
            Kind::MovedOver => return self.moved_over(),
            Kind::LogDeleted => return self.log_deleted(),
        }
        None
    }

    fn command(&self, arguments: &[&str]) -> Child {
        Command::new(self.publisher)
            .args(arguments)
            .arg("--database")
            .arg(self.database)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a command to its end. With `harm`, sometimes it is killed at a random moment, sometimes the server is.
    fn ended(&mut self, arguments: &[&str], harm: bool) -> Ended {
        let begun = self.model.now();
        let mut child = self.command(arguments);
        let harmed = if harm { fastrand::u8(0..3) } else { 2 };
        match harmed {
            0 => {
                pause(80);
                let _ = child.kill();
            }
            1 => {
                pause(80);
                self.server.kill();
            }
            _ => {}
        }
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let code = child.wait().unwrap().code();
        let succeeded = code.map(|code| code == 0);
        if succeeded == Some(false) {
            self.model.other(format!("{arguments:?}: {said}"));
        }
        let span = (begun, self.model.now());
        Ended {
            succeeded,
            span,
            said,
        }
    }

    fn backup_file(&self) -> PathBuf {
        let file = self.database.with_file_name("backup.db");
        let _ = fs::remove_file(&file);
        file
    }

    fn backup_is_checked(&mut self) {
        let file = self.backup_file();
        let ended = self.ended(&["backup", file.to_str().unwrap()], true);
        if ended.succeeded != Some(true) && !file.exists() {
            return;
        }
        let verdict = check::integrity(&file).unwrap();
        if verdict != "ok" {
            self.model
                .faults
                .lock()
                .unwrap()
                .damaged
                .push(format!("the backup: {verdict}"));
        }
        let stored = check::stored(&file).unwrap();
        let (begun, _) = ended.span;
        for (id, sent) in self.model.rows.lock().unwrap().iter() {
            let is_before = matches!(sent.answer, Answer::Acknowledged { at, .. } if at < begun);
            if is_before && !stored.rows.contains_key(id) {
                self.model.lost(format!("{id} is not in the backup"));
            }
        }
    }

    /// Makes a backup, and lets clients write on.
    fn backup(&mut self) -> Option<(PathBuf, (At, At))> {
        let file = self.backup_file();
        let ended = self.ended(&["backup", file.to_str().unwrap()], false);
        pause(60);
        (ended.succeeded == Some(true)).then_some((file, ended.span))
    }

    /// Sometimes stays until the server has noticed what others have done, `gone` included.
    fn linger(&self, gone: impl FnOnce() -> HashSet<String>) {
        if fastrand::u8(0..8) == 0 {
            settle(self.model, &self.server.address, &gone());
        }
        pause(300);
    }

    /// Returns the eval runs that were there or were served, and are not in a database any more.
    fn gone(&self, database: &Path) -> HashSet<String> {
        let mut gone: HashSet<String> = self.model.served.lock().unwrap().keys().cloned().collect();
        let rows = self.model.rows.lock().unwrap();
        let were_there = rows.iter().filter(|(_, sent)| sent.at == At::ZERO);
        gone.extend(were_there.map(|(id, _)| id.clone()));
        drop(rows);
        let stored = check::stored(database).unwrap().rows;
        gone.retain(|id| !stored.contains_key(id));
        gone
    }

    fn restore(&mut self) -> Option<Loss> {
        let (file, backup) = self.backup()?;
        self.model.disturb();
        let ended = self.ended(&["restore", file.to_str().unwrap()], true);
        let replaced = Loss::Replaced {
            backup,
            at: ended.span,
        };
        self.linger(|| self.gone(self.database));
        self.server.kill();
        // A restore that was killed is done, or is not: the lineage tells.
        let lineage = check::stored(self.database).unwrap().lineage;
        let is_done = lineage != self.lineage;
        if ended.succeeded == Some(true) && !is_done {
            self.model
                .other(format!("a restore that was not: {}", ended.said));
        }
        is_done.then_some(replaced)
    }

    fn retention(&mut self) -> Option<Loss> {
        let before_round = self.model.round.saturating_sub(1);
        let begun = self.model.disturb();
        delete(self.database, before_round).unwrap();
        let at = (begun, self.model.now());
        self.linger(|| self.gone(self.database));
        Some(Loss::Deleted { before_round, at })
    }

    /// Imports eval runs with another process, all of them or, with `--batches`, some.
    fn import(&mut self, batches: bool) {
        let round = self.model.round;
        let ids: Vec<String> = (0..300).map(|at| format!("{round}-import-{at}")).collect();
        let rows: Vec<String> = ids.iter().map(|id| items::row(id)).collect();
        let file = self.database.with_file_name("import.ndjson");
        fs::write(&file, rows.join("\n")).unwrap();
        let sent = Sent {
            at: self.model.now(),
            answer: Answer::Unknown,
            rank: 0,
        };
        let all = |sent: Sent| {
            let mut rows = self.model.rows.lock().unwrap();
            rows.extend(ids.iter().map(|id| (id.clone(), sent)));
        };
        all(sent);
        let mut arguments = vec!["import", "rows", file.to_str().unwrap()];
        if batches {
            arguments.push("--batches");
        }
        let model = self.model;
        let ended = self.ended(&arguments, true);
        if ended.succeeded == Some(true) {
            let at = model.now();
            let answer = Answer::Acknowledged {
                at,
                published: false,
            };
            let mut rows = model.rows.lock().unwrap();
            rows.extend(ids.iter().map(|id| (id.clone(), Sent { answer, ..sent })));
            drop(rows);
            let mut elsewhere = model.acknowledged_elsewhere.lock().unwrap();
            elsewhere.extend(ids);
        } else if !batches {
            let stored = check::stored(self.database).unwrap().rows;
            let count = ids.iter().filter(|id| stored.contains_key(*id)).count();
            if count % ids.len() != 0 {
                model.other(format!(
                    "a killed import has stored {count} rows of {}",
                    ids.len()
                ));
            }
        }
        self.linger(HashSet::new);
    }

    /// A backup is moved over the database while it is served.
    fn moved_over(&mut self) -> Option<Loss> {
        let (file, backup) = self.backup()?;
        let begun = self.model.disturb();
        // Nobody else may open the database until the server has noticed: the log beside it is that of another file.
        let gone = self.gone(&file);
        fs::rename(file, self.database).unwrap();
        let at = (begun, self.model.now());
        self.linger(|| gone);
        Some(Loss::Replaced { backup, at })
    }

    /// The log is deleted. Then the server is stopped, which saves what was acknowledged, or killed, which does not.
    fn log_deleted(&mut self) -> Option<Loss> {
        let log = beside(self.database, "-wal");
        let begun = self.model.disturb();
        fs::remove_file(log).unwrap();
        let at = (begun, self.model.now());
        // A checkpoint that runs meanwhile ends.
        thread::sleep(Duration::from_millis(100));
        pause(150);
        if fastrand::bool() {
            return Some(Loss::Log { at });
        }
        self.clients.stop.store(true, Ordering::Relaxed);
        self.server.terminate();
        if self.server.exits_within(Duration::from_secs(10)).is_none() {
            self.model
                .other("SIGTERM does not end the server".to_owned());
        }
        for (id, sent) in self.model.rows.lock().unwrap().iter() {
            let at_end =
                matches!(sent.answer, Answer::Acknowledged { at: when, .. } if when > at.1);
            if sent.at > at.1 && at_end {
                self.model
                    .other(format!("{id} was acknowledged without a log"));
            }
        }
        // Nothing is lost: what was rejected may have been saved as well.
        self.saved(at)
    }

    fn saved(&self, at: (At, At)) -> Option<Loss> {
        let stored = check::stored(self.database).unwrap();
        for (id, sent) in self.model.rows.lock().unwrap().iter() {
            if sent.expected(None) == Expected::Must && !stored.rows.contains_key(id) {
                self.model.lost(format!("{id} was not saved by the stop"));
            }
        }
        Some(Loss::Log { at })
    }
}

/// Returns the path of a side file.
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", database.display()))
}

/// Deletes what rounds before this one have written, as a retention job does.
pub fn delete(database: &Path, before_round: u32) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(20))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let time = items::ran_at(before_round);
    connection.execute("DELETE FROM eval_runs WHERE ran_at < ?1", [time])?;
    let old = "DELETE FROM challenges
               WHERE CAST(substr(challenge_id, 1, instr(challenge_id, '-') - 1) AS INTEGER) < ?1";
    connection.execute(old, [before_round])?;
    connection.execute_batch("COMMIT")
}

/// Copies the log into the database, so that the database alone holds everything.
pub fn checkpoint(database: &Path) -> bool {
    let connection = rusqlite::Connection::open(database).unwrap();
    let truncated = || {
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        });
        (busy.ok() == Some(0)).then_some(())
    };
    until(Duration::from_secs(5), truncated).is_some()
}
