//! The collapse of a polled server, and each cure of it alone: what begins it, why it stays, what ends it.
//!
//!     cargo run --release -p herd --example cures -- [OUT [ROUNDS]]
//!
//! | file | knows |
//! |---|---|
//! | `cures` | the cures: switches of the example `before`, options of herd |
//! | `trial` | one run against that server, and its figures |
//! | `table` | the medians of all rounds |
//! | `hysteresis` | the load that rises and falls again: where the collapse begins, where it ends |
//! | `strips`, `turn` | the pictures of both |
//! | `svg` | lines, areas and texts |
//!
//! Prints two tables and writes two pictures and the reports of herd to the folder OUT (target/cures). Takes
//! about five minutes with three rounds. `scripts/cures.sh` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod cures;
mod hysteresis;
#[path = "../lab/mod.rs"]
#[allow(dead_code)]
mod lab;
mod strips;
mod svg;
mod table;
mod trial;
mod turn;

use std::{fs, path::PathBuf, process::ExitCode};

use cures::CURES;
use trial::{Lab, Trial};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(arguments.next().unwrap_or("target/cures".to_owned()));
    let rounds: usize = arguments.next().map_or(3, |text| text.parse().unwrap());
    fs::create_dir_all(&out).unwrap();
    let lab = Lab::new();
    println!("scripts/cures.sh on {}", lab::ran_on());
    println!("{}", trial::described());

    let mut trials: Vec<Vec<Trial>> = CURES.iter().map(|_| Vec::new()).collect();
    // Interleaved: what disturbs the machine disturbs all of them.
    for _ in 0..rounds {
        for (cure, trials) in CURES.iter().zip(&mut trials) {
            trials.push(lab.run(cure));
        }
    }
    println!("\n{}", table::table(&trials));
    let typical: Vec<&Trial> = trials.iter().map(|trials| table::typical(trials)).collect();
    fs::write(out.join("cures.svg"), strips::picture(&typical)).unwrap();
    for (cure, trial) in CURES.iter().zip(&typical) {
        let runs = [typical[0].run.clone(), trial.run.clone()];
        let shown = if cure.file == "none" { 1 } else { 2 };
        herd::report::write(&runs[..shown], &out.join(format!("{}.svg", cure.file))).unwrap();
    }

    let turns: Vec<_> = hysteresis::CLIENTS
        .iter()
        .map(|clients| lab.turn(clients))
        .collect();
    println!("{}", hysteresis::table(&turns));
    fs::write(out.join("hysteresis.svg"), turn::picture(&turns)).unwrap();
    println!("pictures: {}", out.display());
    let broken = table::broken(&trials);
    for line in &broken {
        println!("failed: {line}");
    }
    ExitCode::from(u8::from(!broken.is_empty()))
}
