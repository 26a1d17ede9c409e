//! The table of a scenario, and what fell short.

use std::process::ExitCode;

/// What was measured, line by line.
#[derive(Debug, Default)]
pub struct Report {
    missed: Vec<String>,
}

impl Report {
    /// Prints a figure.
    pub fn shows(&self, name: &str, value: &str) {
        println!("  {name:<58} {value:>34}");
    }

    /// Prints a figure and its goal, and notes if it was missed.
    pub fn holds(&mut self, name: &str, value: &str, goal: &str, reached: bool) {
        let mark = if reached { "" } else { "  MISSED" };
        println!("  {name:<58} {value:>34}   {goal}{mark}");
        if !reached {
            self.missed.push(name.to_owned());
        }
    }

    /// Fails if a goal was missed.
    pub fn end(self) -> ExitCode {
        if self.missed.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("missed: {}", self.missed.join("; "));
        ExitCode::FAILURE
    }
}

/// Formats quantiles.
pub fn quantiles(latency: &herd::run::Latency) -> String {
    let times = [latency.p50_ms, latency.p99_ms, latency.max_ms];
    times.map(herd::table::milliseconds).join(" / ")
}
