//! The load rises slowly and falls again, without any trigger: the collapse begins at one load and ends at another one.
//!
//! The queue of the server has a bound of half a second of work, so that what is left of the peak in the queue does not
//! hide the load at which the collapse ends. Half a second is longer than the clients wait: the bound alone is no cure.

use std::{
    fmt::Write as _,
    process::{Command, Stdio},
};

use herd::run::Run;

use crate::{
    lab::{TOKEN, program},
    trial::Lab,
};

const RAMP_SECONDS: u32 = 12;
/// Polls per second at the peak, more than the server can do.
pub const PEAK: u32 = 240;
const QUEUE: &str = "--admit 100";
/// Answered shares below and above which a second counts as collapsed and as well again.
const COLLAPSED: f64 = 0.5;

/// Clients that differ in what they do after a timeout.
pub struct Clients {
    pub name: &'static str,
    options: &'static str,
    retries: u32,
}

pub const CLIENTS: [Clients; 2] = [
    Clients {
        name: "three retries",
        options: "--on-failure retry --max-retries 3",
        retries: 3,
    },
    Clients {
        name: "no retries",
        options: "--on-failure give-up",
        retries: 0,
    },
];

/// A run up and down.
pub struct Turn {
    pub name: &'static str,
    retries: u32,
    /// A point for each second: polls due and polls answered per second.
    pub points: Vec<(f64, f64)>,
    /// Rebuilds per second while the server had more requests than it could do.
    rebuilds: f64,
}

impl Lab {
    pub fn turn(&self, clients: &Clients) -> Turn {
        let server = self.serve(QUEUE);
        let output = Command::new(program("herd"))
            .arg(server.board())
            .args([
                "--json",
                "--name",
                "turn",
                "--clients",
                "240",
                "--arrival",
                "open",
            ])
            .args(["--timeout-ms", "200", "--max-connections", "4096"])
            .args(["--stage", &format!("ramp {RAMP_SECONDS}s to {PEAK}/s")])
            .args(["--stage", &format!("ramp {RAMP_SECONDS}s to 0/s")])
            .args([
                "--metrics-url",
                &format!("http://{}/metrics", server.address),
            ])
            .args(clients.options.split_whitespace())
            .env("PUBLISHER_ADMIN_TOKEN", TOKEN)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "herd failed");
        let run: Run = serde_json::from_slice(&output.stdout).unwrap();
        Turn {
            name: clients.name,
            retries: clients.retries,
            points: points(&run),
            rebuilds: most_rebuilds(&run),
        }
    }
}

/// Returns a point for each second of the run.
fn points(run: &Run) -> Vec<(f64, f64)> {
    let length = run.slices.first().map_or(1.0, |slice| slice.seconds);
    let together = (1.0 / length).round().max(1.0) as usize;
    let seconds = run.slices.chunks_exact(together).map(|second| {
        let sum = |of: fn(&herd::run::Slice) -> u64| second.iter().map(of).sum::<u64>() as f64;
        let length: f64 = second.iter().map(|slice| slice.seconds).sum();
        (
            sum(|slice| slice.due) / length,
            sum(|slice| slice.answered) / length,
        )
    });
    seconds.collect()
}

/// Returns the rebuilds per second in the middle third of the run.
fn most_rebuilds(run: &Run) -> f64 {
    let (from, to) = (run.seconds / 3.0, run.seconds * 2.0 / 3.0);
    let seen = run.rebuilds.iter().flat_map(|rebuilds| &rebuilds.seen);
    let inside = seen.filter(|growth| growth.at >= from && growth.at < to);
    inside.map(|growth| growth.count as f64).sum::<f64>() / (to - from)
}

impl Turn {
    /// Returns the offered load at which the collapse begins and at which it ends.
    pub fn loads(&self) -> (Option<f64>, Option<f64>) {
        let collapsed = |(due, answered): &(f64, f64)| *answered < COLLAPSED * due;
        let first = self.points.iter().position(collapsed);
        let last = self.points.iter().rposition(collapsed);
        (
            first.map(|at| self.points[at].0),
            last.map(|at| self.points[at].0),
        )
    }
}

/// Returns where each collapse begins and ends.
pub fn table(turns: &[Turn]) -> String {
    let mut table = format!(
        "the load rises to {PEAK} polls per second in {RAMP_SECONDS} s and falls again; nothing else happens\n\n\
         {:<16} {:>12} {:>16} {:>16} {:>24}\n",
        "clients", "rebuilds/s", "begins at", "ends at", "rebuilds/s, by requests"
    );
    let load = |load: Option<f64>| load.map_or("-".to_owned(), |load| format!("{load:.0} polls/s"));
    for turn in turns {
        let (begins, ends) = turn.loads();
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{:<16} {:>12.0} {:>16} {:>16} {:>24.0}",
            turn.name,
            turn.rebuilds,
            load(begins),
            load(ends),
            turn.rebuilds / f64::from(1 + turn.retries),
        );
    }
    table
}
