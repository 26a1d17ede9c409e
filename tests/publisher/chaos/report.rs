//! The table of what was tried and what was found.

use std::fmt;

use super::model::Faults;

/// Totals of one kind of fault.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    pub rounds: u64,
    pub acknowledged: u64,
    /// Rounds after which the server served and accepted writes again.
    pub recovered: u64,
    pub faults: Faults,
}

/// Totals by the name of the fault.
#[derive(Debug, Default)]
pub struct Report(Vec<(String, Totals)>);

impl Report {
    /// Adds a round.
    pub fn add(&mut self, fault: &str, acknowledged: u64, found: Faults) {
        let index = self.0.iter().position(|(name, _)| name == fault);
        let index = index.unwrap_or_else(|| {
            self.0.push((fault.to_owned(), Totals::default()));
            self.0.len() - 1
        });
        let totals = &mut self.0[index].1;
        totals.rounds += 1;
        totals.acknowledged += acknowledged;
        totals.recovered += u64::from(found.others.is_empty());
        totals.faults.lost.extend(found.lost);
        totals.faults.unstored.extend(found.unstored);
        totals.faults.damaged.extend(found.damaged);
        totals.faults.others.extend(found.others);
    }

    /// Adds a fault that cannot be made on this machine.
    pub fn skip(&mut self, fault: &str, reason: &str) {
        self.0
            .push((format!("SKIPPED: {fault}: {reason}"), Totals::default()));
    }

    pub fn is_clean(&self) -> bool {
        self.0.iter().all(|(_, totals)| {
            let found = &totals.faults;
            let kinds = [&found.lost, &found.unstored, &found.damaged, &found.others];
            kinds.iter().all(|kind| kind.is_empty())
        })
    }

    pub fn acknowledged(&self) -> u64 {
        self.0.iter().map(|(_, totals)| totals.acknowledged).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        writeln!(
            f,
            "{:width$} {:>7} {:>12} {:>6} {:>21} {:>8} {:>10}",
            "fault",
            "rounds",
            "acknowledged",
            "lost",
            "served but not stored",
            "damaged",
            "recovered"
        )?;
        for (name, totals) in &self.0 {
            let found = &totals.faults;
            writeln!(
                f,
                "{name:width$} {:>7} {:>12} {:>6} {:>21} {:>8} {:>10}",
                totals.rounds,
                totals.acknowledged,
                found.lost.len(),
                found.unstored.len(),
                found.damaged.len(),
                if totals.recovered == totals.rounds {
                    "yes".to_owned()
                } else {
                    format!("{} not", totals.rounds - totals.recovered)
                },
            )?;
        }
        for (name, totals) in &self.0 {
            let found = &totals.faults;
            for (kind, all) in [
                ("lost", &found.lost),
                ("not stored", &found.unstored),
                ("damaged", &found.damaged),
                ("other", &found.others),
            ] {
                for what in all.iter().take(5) {
                    writeln!(f, "FAULT: {name}: {kind}: {what}")?;
                }
            }
        }
        Ok(())
    }
}
