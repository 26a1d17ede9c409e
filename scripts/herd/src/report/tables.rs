//! The tables behind the charts of a run: the same figures for those who cannot see a chart, or want to copy them.

use super::{
    columns::Column,
    stacked::Table,
    strips::reason_name,
    units::{percent, rate, time_of_run},
};
use crate::{
    run::Run,
    table::{count, milliseconds},
    target_rows::targets,
};

/// The most rows of a table over time: neighbours of more columns are merged.
const ROWS: usize = 60;
/// Ends of the latency classes of the table behind the heat map, in milliseconds.
const CLASSES_MS: [(f64, &str); 5] = [
    (1.0, "up to 1 ms"),
    (10.0, "1 to 10 ms"),
    (100.0, "10 to 100 ms"),
    (1e3, "0.1 to 1 s"),
    (1e4, "1 to 10 s"),
];

/// Returns the tables as elements that can be opened.
pub(super) fn tables(run: &Run, columns: &[Column]) -> String {
    let merged = Column::merged(columns, columns.len().div_ceil(ROWS).max(1));
    let tables = [
        Some(load(&merged)),
        Some(latency(run, &merged)),
        failures(run, &merged),
        causes(run),
        of_targets(run),
    ];
    tables
        .into_iter()
        .flatten()
        .map(|table| table.details())
        .collect()
}

fn load(merged: &[Column]) -> Table {
    let heads = ["time", "offered", "sent", "answered", "in flight, at most"];
    let rows = merged.iter().map(|column| {
        let numbers = [column.due, column.sent, column.answered];
        let mut row = vec![time(column)];
        row.extend(numbers.map(|number| rate(column.per_second(number))));
        row.push(count(column.in_flight));
        row
    });
    Table::new(
        "Load as a table, per second",
        heads.map(str::to_owned).into(),
        rows,
    )
}

/// Returns the quantiles and the polls by latency. A class without polls has no column.
fn latency(run: &Run, merged: &[Column]) -> Table {
    let classes = |column: &Column| {
        let mut before = 0;
        let mut counts: Vec<u64> = Vec::new();
        for (end, _) in CLASSES_MS {
            let within = column.within(&run.bands_ms, end);
            counts.push(within - before);
            before = within;
        }
        counts.extend([column.responses() - before, column.never]);
        counts
    };
    let names = CLASSES_MS.iter().map(|(_, name)| *name);
    let names = names.chain(["longer", "never"]);
    let classes: Vec<Vec<u64>> = merged.iter().map(classes).collect();
    let of_class = |class: usize| move |row: &Vec<u64>| row.get(class).copied().unwrap_or(0);
    let used = names.enumerate();
    let used =
        used.filter(|(class, _)| classes.iter().map(of_class(*class)).any(|polls| polls > 0));
    let used: Vec<(usize, &str)> = used.collect();
    let mut heads: Vec<String> = ["time", "p50", "p99"].map(str::to_owned).into();
    heads.extend(used.iter().map(|(_, name)| (*name).to_owned()));
    let rows = merged.iter().zip(&classes).map(|(column, classes)| {
        let mut row = vec![time(column)];
        row.extend([0.5, 0.99].map(|share| milliseconds(column.quantile_ms(&run.bands_ms, share))));
        row.extend(
            used.iter()
                .map(|(class, _)| count(of_class(*class)(classes))),
        );
        row
    });
    Table::new("Latency as a table: polls by latency", heads, rows)
}

/// Returns the failures over time; `None` if no request failed.
fn failures(run: &Run, merged: &[Column]) -> Option<Table> {
    let reasons = run.pollers.reasons();
    if reasons.is_empty() {
        return None;
    }
    let names = reasons.iter().map(|(reason, _)| reason_name(*reason));
    let heads = std::iter::once("time".to_owned()).chain(names).collect();
    let failed = |column: &&Column| !column.failures.is_empty();
    let rows = merged.iter().filter(failed).map(|column| {
        let of = |reason| column.failures.get(reason).copied().unwrap_or(0);
        let counts = reasons.iter().map(|(reason, _)| count(of(reason)));
        std::iter::once(time(column)).chain(counts).collect()
    });
    Some(Table::new("Failed requests as a table", heads, rows))
}

/// Returns why requests failed, with the first cause of each kind; `None` if no request failed.
fn causes(run: &Run) -> Option<Table> {
    let reasons = run.pollers.reasons();
    if reasons.is_empty() {
        return None;
    }
    let heads = ["reason", "requests", "share", "the first one"];
    let rows = reasons.iter().map(|(reason, failed)| {
        vec![
            reason_name(*reason),
            count(failed.count),
            percent(failed.count, run.pollers.attempts),
            failed.first.clone(),
        ]
    });
    Some(Table::new("What failed and why", heads.map(str::to_owned).into(), rows).with_text())
}

/// Returns the figures of each target; `None` if there was one.
fn of_targets(run: &Run) -> Option<Table> {
    let mut rows = targets(run).into_iter();
    let heads = rows.next()?;
    Some(Table::new("Targets", heads, rows).with_text())
}

fn time(column: &Column) -> String {
    time_of_run(column.from)
}
