//! The figures of all cures as text: medians of the rounds.

use std::fmt::Write as _;

use crate::{
    cures::{Begins, CURES},
    lab::median,
    trial::Trial,
};

/// Returns the run with the median of what was answered.
pub fn typical(trials: &[Trial]) -> &Trial {
    let mut trials: Vec<&Trial> = trials.iter().collect();
    trials.sort_by(|one, other| one.answered().total_cmp(&other.answered()));
    trials[trials.len() / 2]
}

/// Returns the table, one line for each cure.
pub fn table(trials: &[Vec<Trial>]) -> String {
    let mut table = format!(
        "medians of {} rounds, in brackets the lowest and the highest\n\n",
        trials[0].len()
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        table,
        "{:<32} {:>20} {:>20} {:>9} {:>9} {:>8} {:>10} {:>8}",
        "cure",
        "the collapse is over",
        "polls answered",
        "requests",
        "rebuilds",
        "refused",
        "p99",
        "writes"
    );
    let _ = writeln!(
        table,
        "{:<32} {:>20} {:>20} {:>9} {:>9} {:>8} {:>10} {:>8}",
        "", "after", "since the trigger", "per poll", "", "(503)", "", "answered"
    );
    for (cure, trials) in CURES.iter().zip(trials) {
        let of = |figure: fn(&Trial) -> f64| median(trials.iter().map(figure).collect());
        let _ = writeln!(
            table,
            "{:<32} {:>20} {:>20} {:>9.2} {:>9.0} {:>8.0} {:>10} {:>8}",
            cure.name,
            spread(trials, Trial::over, seconds),
            spread(trials, Trial::answered, percent),
            of(Trial::requests),
            of(Trial::rebuilds),
            of(Trial::refused),
            milliseconds(of(Trial::p99_ms)),
            percent(of(Trial::written)),
        );
    }
    table
}

/// Returns what is not as the page of herd says.
pub fn broken(trials: &[Vec<Trial>]) -> Vec<String> {
    let mut broken = Vec::new();
    for (cure, trials) in CURES.iter().zip(trials) {
        let over = median(trials.iter().map(Trial::over).collect());
        match cure.begins {
            Begins::Never if over > 0.0 => broken.push(format!("{}: requests failed", cure.name)),
            Begins::AndStays if over.is_finite() => {
                broken.push(format!("{}: the collapse ended", cure.name));
            }
            Begins::AndEnds if over.is_infinite() => {
                broken.push(format!("{}: the collapse did not end", cure.name));
            }
            Begins::Never | Begins::AndStays | Begins::AndEnds => {}
        }
    }
    broken
}

/// Returns the median with the lowest and the highest value, if they differ.
fn spread(trials: &[Trial], figure: fn(&Trial) -> f64, show: fn(f64) -> String) -> String {
    let values: Vec<f64> = trials.iter().map(figure).collect();
    let lowest = show(values.iter().copied().fold(f64::INFINITY, f64::min));
    let highest = show(values.iter().copied().fold(0.0, f64::max));
    let middle = show(median(values));
    if lowest == highest {
        middle
    } else {
        format!("{middle} ({lowest}–{highest})")
    }
}

/// Returns a duration after the trigger.
pub fn seconds(value: f64) -> String {
    if value.is_infinite() {
        "never".to_owned()
    } else if value == 0.0 {
        "at once".to_owned()
    } else {
        format!("{value:.1} s")
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn milliseconds(value: f64) -> String {
    if value.is_infinite() {
        "never".to_owned()
    } else {
        format!("{value:.0} ms")
    }
}
