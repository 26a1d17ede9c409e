//! Runs every fault of `tests/publisher/chaos`, and many rounds of kill -9, and prints what was found. See
//! `scripts/chaos.sh`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

#[path = "../../../tests/publisher/chaos/mod.rs"]
mod chaos;
#[path = "../../../tests/publisher/client.rs"]
mod client;
#[allow(dead_code)]
mod lab;

use std::{process::Command, time::Instant};

use chaos::{
    outside,
    report::Report,
    rounds::{KINDS, Kind, Rounds},
    scenario,
};
use clap::Parser;

/// Loses nothing that was acknowledged, whatever happens: kill -9, failing disks, pauses, other processes.
#[derive(Parser)]
struct Options {
    /// Rounds of kill -9.
    #[arg(default_value_t = 1000)]
    rounds: u32,
    /// Clients that write during a round.
    #[arg(long, default_value_t = 64)]
    writers: u32,
    /// Of the calls that fail one by one, every n-th is tried; 0 leaves out all faults but kill -9.
    #[arg(long, default_value_t = 1)]
    step: i64,
    /// Only rounds whose name contains this: "two servers and an import" for the clients of since_seq.
    #[arg(long, default_value = "")]
    only: String,
    /// The order of the rounds and their random moments [default: random].
    #[arg(long)]
    seed: Option<u64>,
}

fn main() {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    fastrand::seed(seed);
    let publisher = lab::publisher();
    let begun = Instant::now();
    println!("on {}; file system {}", lab::ran_on(), file_system());
    println!(
        "{} rounds, {} writers, seed {seed}\n",
        options.rounds, options.writers
    );
    let mut report = Report::default();
    let folder = tempfile::TempDir::new().unwrap();
    let mut rounds = Rounds::begin(&publisher, folder.path(), options.writers);
    for number in 1..=options.rounds {
        rounds.round(number, kind(&options.only), &mut report);
        if number % 50 == 0 || !report.is_clean() {
            eprintln!("{number} rounds, {:.0} s", begun.elapsed().as_secs_f64());
        }
        if !report.is_clean() {
            eprintln!("{report}");
            break;
        }
    }
    if options.step > 0 {
        scenario::one_by_one(&publisher, options.step, &mut report);
        eprintln!(
            "calls that fail one by one: {:.0} s",
            begun.elapsed().as_secs_f64()
        );
        scenario::for_a_while(&publisher, 5, &mut report);
        eprintln!(
            "calls that fail for a while: {:.0} s",
            begun.elapsed().as_secs_f64()
        );
        outside::all(&publisher, 5, &mut report);
    }
    println!("{report}");
    println!("{:.0} s", begun.elapsed().as_secs_f64());
    if !report.is_clean() {
        std::process::exit(1);
    }
    println!("nothing lost, nothing served that was not stored, nothing damaged, all recovered");
}

/// Returns the type of the file system of temporary files.
fn file_system() -> String {
    let output = Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(std::env::temp_dir())
        .output();
    let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.unwrap_or_default()
}

/// Every second round is a plain one.
fn kind(only: &str) -> Kind {
    if fastrand::bool() && only.is_empty() {
        return Kind::Killed;
    }
    let mut kinds = KINDS.to_vec();
    kinds.retain(|kind| kind.name().contains(only));
    fastrand::choice(kinds).unwrap_or(Kind::Killed)
}
