//! Rounds of kill -9 at random moments, with the same database.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    POLL_MS,
    beside::{Beside, beside, checkpoint, delete},
    check,
    model::{Faults, Loss, Model, Stored},
    pullers::Puller,
    readers::Reader,
    report::Report,
    server::{Server, serve},
    writers::Writer,
};
use crate::client::Connection;

const OPTIONS: [&str; 6] = [
    "--change-poll-ms",
    POLL_MS,
    "--wal-soft-mib",
    "1",
    "--shutdown-grace-ms",
    "0",
];
/// Above this, earlier rounds are deleted between two rounds.
const MOST_ROWS: usize = 12_000;

/// What happens in a round, beside clients that write and read. All but one end with kill -9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Killed,
    /// The next process is killed while it starts, too.
    Starting,
    Backup,
    Restore,
    Retention,
    Import,
    /// A second server on the same file.
    Second,
    /// A second server, and an import in batches.
    SecondAndImport,
    MovedOver,
    LogDeleted,
}

pub const KINDS: [Kind; 10] = [
    Kind::Killed,
    Kind::Starting,
    Kind::Backup,
    Kind::Restore,
    Kind::Retention,
    Kind::Import,
    Kind::Second,
    Kind::SecondAndImport,
    Kind::MovedOver,
    Kind::LogDeleted,
];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "kill -9",
            Self::Starting => "kill -9, and again during the start",
            Self::Backup => "kill -9 beside a backup",
            Self::Restore => "kill -9 beside a restore",
            Self::Retention => "kill -9 beside a retention job",
            Self::Import => "kill -9 beside an import",
            Self::Second => "kill -9 of two servers on one file",
            Self::SecondAndImport => "kill -9 of two servers and an import on one file",
            Self::MovedOver => "kill -9, a backup moved over the database",
            Self::LogDeleted => "kill -9 or SIGTERM, the log deleted",
        }
    }
}

/// The clients of a round.
pub struct Clients {
    pub writers: u32,
    pub stop: AtomicBool,
}

/// Rounds with the same database.
pub struct Rounds<'a> {
    publisher: &'a Path,
    database: PathBuf,
    writers: u32,
    server: Server,
    stored: Stored,
    pullers: [Puller; 3],
}

impl<'a> Rounds<'a> {
    /// Starts a server with a new database in the folder.
    pub fn begin(publisher: &'a Path, folder: &Path, writers: u32) -> Self {
        let database = folder.join("chaos.db");
        let server = Server::start(publisher, &database, &OPTIONS);
        let stored = check::stored(&database).unwrap();
        Self {
            publisher,
            database,
            writers,
            server,
            stored,
            pullers: [Puller::new(), Puller::new(), Puller::new()],
        }
    }

    /// Runs one round, and checks what is left of it.
    pub fn round(&mut self, number: u32, kind: Kind, report: &mut Report) {
        if self.stored.rows.len() > MOST_ROWS {
            delete(&self.database, number.saturating_sub(1)).unwrap();
            self.stored = check::stored(&self.database).unwrap();
        }
        let mut model = Model::new(number, &self.stored);
        // Until the server has noticed what was deleted.
        check::serves(&model, &self.server, &self.stored);
        if kind == Kind::LogDeleted {
            assert!(checkpoint(&self.database));
        }
        let mut second = None;
        if matches!(kind, Kind::Second | Kind::SecondAndImport) {
            model.elsewhere = self.writers * 3 / 4;
            second = Some(Server::start(self.publisher, &self.database, &OPTIONS));
        }
        let loss = self.under_load(&model, kind, second);
        self.restart(&model, kind);
        self.check(&model, kind, loss);
        let faults: Faults = model.faults.lock().unwrap().clone();
        report.add(kind.name(), model.acknowledgements(), faults);
    }

    fn under_load(
        &mut self,
        model: &Model,
        kind: Kind,
        mut second: Option<Server>,
    ) -> Option<Loss> {
        let clients = Clients {
            writers: self.writers,
            stop: AtomicBool::new(false),
        };
        let address = self.server.address.clone();
        let other: Vec<String> = second.iter().map(|it| it.address.clone()).collect();
        let own = Mutex::new(vec![address.clone()]);
        let addresses = Mutex::new(other.iter().chain([&address]).cloned().collect());
        let other = Mutex::new(other);
        thread::scope(|scope| {
            let stop = &clients.stop;
            for number in 0..self.writers {
                let addresses = if number < model.elsewhere {
                    &own
                } else {
                    &other
                };
                let writer = Writer {
                    model,
                    addresses,
                    number,
                    repeats: false,
                    stop,
                };
                scope.spawn(move || writer.run());
            }
            for puller in &mut self.pullers {
                let addresses = &addresses;
                scope.spawn(move || puller.run(model, addresses, stop));
            }
            let reader = || Reader {
                model,
                address: &address,
                stop,
            };
            let (first, second_puller, board) = (reader(), reader(), reader());
            scope.spawn(move || first.feed());
            scope.spawn(move || second_puller.feed());
            scope.spawn(move || board.board());
            let mut beside = Beside {
                publisher: self.publisher,
                database: &self.database,
                model,
                server: &mut self.server,
                clients: &clients,
                lineage: &self.stored.lineage,
            };
            let loss = beside.run(kind);
            self.server.kill();
            if let Some(server) = &mut second {
                server.kill();
            }
            stop.store(true, Ordering::Relaxed);
            loss
        })
    }

    /// Starts the next server. Does what OPERATIONS.md tells operators if it does not start.
    fn restart(&mut self, model: &Model, kind: Kind) {
        for fault in self.server.faults() {
            model.other(fault);
        }
        let command = || serve(self.publisher, &self.database, &OPTIONS);
        if kind == Kind::Starting {
            for _ in 0..3 {
                let mut child = command()
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .unwrap();
                thread::sleep(Duration::from_millis(fastrand::u64(0..30)));
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        self.server = match Server::try_start(&mut command()) {
            Ok(server) => server,
            Err(log) => {
                let log = log.join("\n");
                let is_foreign = log.contains("-wal: belongs to another file");
                if kind != Kind::MovedOver || !is_foreign {
                    model.other(format!("the server does not start: {log}"));
                }
                for suffix in ["-wal", "-shm"] {
                    let side = beside(&self.database, suffix);
                    let _ = fs::rename(&side, beside(&side, ".away"));
                }
                Server::start(self.publisher, &self.database, &OPTIONS)
            }
        };
    }

    fn check(&mut self, model: &Model, kind: Kind, loss: Option<Loss>) {
        let verdict = check::integrity(&self.database).unwrap_or_else(|error| error.to_string());
        if verdict != "ok" {
            model.faults.lock().unwrap().damaged.push(verdict);
        }
        match check::stored(&self.database) {
            Ok(stored) => {
                check::compare(model, &stored, loss);
                check::serves(model, &self.server, &stored);
                for puller in &mut self.pullers {
                    if kind == Kind::LogDeleted {
                        // What only the log had is gone, and its numbers are given again: nobody can notice that.
                        *puller = Puller::new();
                    }
                    puller.catch_up(model, &self.server.address, &stored);
                }
                self.stored = stored;
            }
            Err(error) => model.other(error.to_string()),
        }
        let accepts = Connection::open(&self.server.address).and_then(|mut connection| {
            let path = "/v1/admin/eval-runs";
            connection.request("POST", path, &super::server::bearer(), b"[]")
        });
        if !matches!(accepts, Ok((200, _))) {
            model.other(format!("a write after the round: {accepts:?}"));
        }
        for folder in fs::read_dir(self.database.parent().unwrap())
            .unwrap()
            .flatten()
        {
            // Logs that were set aside would fill the disk in the end.
            if folder.file_name().to_string_lossy().contains(".old-") {
                let _ = fs::remove_file(folder.path());
            }
        }
    }
}
