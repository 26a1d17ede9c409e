//! One run against the server that collapses, and its figures.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use cathedral_publisher::{demo::simulation::populate, store::sqlite::open::open_writer};
use herd::run::{Run, Slice};
use tempfile::TempDir;

use crate::{
    cures::Cure,
    lab::{self, Process, TOKEN, bare_address, start},
};

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const EVAL_RUNS: u32 = 500;
const BUSY: Duration = Duration::from_secs(30);
/// What one rebuild takes longer, in milliseconds: a slow database. The server can do about 190 per second.
pub const REBUILD_MS: &str = "5";
pub const CLIENTS: u32 = 120;
pub const INTERVAL_MS: u32 = 2000;
/// The board changes, and a moment later all clients ask for it at once.
const CHANGE_AT: f64 = 1.9;
pub const TRIGGER: f64 = 2.2;
pub const SECONDS: f64 = 7.0;
/// A collapse that lasts until so many seconds before the end has not ended.
const AT_THE_END: f64 = 0.5;

pub fn described() -> String {
    format!(
        "{CLIENTS} clients poll every {INTERVAL_MS} ms: {} polls per second. A rebuild takes {REBUILD_MS} ms. After {TRIGGER} s \
         all clients ask for a changed board at once.",
        CLIENTS * 1000 / INTERVAL_MS
    )
}

/// The programs and the data.
pub struct Lab {
    folder: TempDir,
}

/// A run and what came of it.
pub struct Trial {
    pub run: Run,
}

/// A server that collapses.
pub struct Server {
    pub address: String,
    pub process: Process,
}

impl Lab {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut connection = open_writer(&folder.path().join("data.db"), BUSY).unwrap();
        populate(&mut connection, EVAL_RUNS, None).unwrap();
        Self { folder }
    }

    /// Starts the server with a database of its own.
    pub fn serve(&self, switches: &str) -> Server {
        let database: PathBuf = self.folder.path().join("run.db");
        fs::copy(self.folder.path().join("data.db"), &database).unwrap();
        let mut command = Command::new(lab::example("before"));
        command
            .arg(&database)
            .args(["--rebuild-ms", REBUILD_MS])
            .args(switches.split_whitespace())
            .env("PUBLISHER_ADMIN_TOKEN", TOKEN);
        let (process, address) = start(&mut command, bare_address);
        Server { address, process }
    }

    pub fn run(&self, cure: &Cure) -> Trial {
        let server = self.serve(cure.server);
        let url = |path: &str| format!("http://{}{path}", server.address);
        let options = format!(
            "--name {} {} --clients {CLIENTS} --interval-ms {INTERVAL_MS} --arrival loop --duration-secs {SECONDS} \
             --change-at {CHANGE_AT} --change-url {} --burst-at {TRIGGER} --max-connections 4096 \
             --writers 1 --write-interval-ms 250 --write-rows 1 --write-url {} --metrics-url {} --server-pid {}",
            cure.file,
            cure.clients,
            url("/v1/admin/challenges"),
            url("/v1/admin/eval-runs"),
            url("/metrics"),
            server.process.0.id(),
        );
        let run = lab::herd(&url(BOARD), &options);
        Trial { run }
    }
}

impl Server {
    pub fn board(&self) -> String {
        format!("http://{}{BOARD}", self.address)
    }
}

impl Trial {
    fn after(&self) -> impl Iterator<Item = &Slice> {
        self.run.slices.iter().filter(|slice| slice.at >= TRIGGER)
    }

    /// Returns the share of the polls due since the trigger that were answered, at most 1.
    pub fn answered(&self) -> f64 {
        let sum = |of: fn(&Slice) -> u64| self.after().map(of).sum::<u64>();
        let share = sum(|slice| slice.answered) as f64 / sum(|slice| slice.due) as f64;
        share.min(1.0)
    }

    /// Returns the time from the trigger to the last failed request: 0 if no request failed, infinite if requests fail to the end.
    pub fn over(&self) -> f64 {
        let failed = |slice: &&Slice| !slice.failures.is_empty();
        let last = self.after().filter(failed).last();
        match last.map(|slice| slice.at + slice.seconds) {
            None => 0.0,
            Some(at) if at > SECONDS - AT_THE_END => f64::INFINITY,
            Some(at) => at - TRIGGER,
        }
    }

    /// Returns the requests for each poll that was due since the trigger.
    pub fn requests(&self) -> f64 {
        let sum = |of: fn(&Slice) -> u64| self.after().map(of).sum::<u64>();
        sum(|slice| slice.attempts) as f64 / sum(|slice| slice.due) as f64
    }

    /// Returns the rebuilds during the run, without those of requests that are still in the queue at its end.
    pub fn rebuilds(&self) -> f64 {
        let seen = self.run.rebuilds.iter().flat_map(|rebuilds| &rebuilds.seen);
        let inside = seen.filter(|growth| growth.at <= SECONDS);
        inside.map(|growth| growth.count as f64).sum()
    }

    /// Returns how many requests the server refused with 503.
    pub fn refused(&self) -> f64 {
        self.run.pollers.of_class(5) as f64
    }

    /// Returns the share of writes that were acknowledged.
    pub fn written(&self) -> f64 {
        let writers = self.run.writers.as_ref();
        writers.map_or(f64::NAN, |role| role.answered as f64 / role.due as f64)
    }

    /// Returns the time within which 99 % of the polls had their answer; infinite for `never`.
    pub fn p99_ms(&self) -> f64 {
        self.run.pollers.latency.p99_ms.unwrap_or(f64::INFINITY)
    }
}
