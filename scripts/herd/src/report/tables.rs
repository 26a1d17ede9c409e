//! The tables behind the charts of a run: the same figures for those who cannot see a chart, or want to copy them.

use super::{
    canvas::escaped,
    columns::Column,
    story::percent,
    strips::reason_name,
    units::{rate, time_of_run},
};
use crate::{
    failures::Reason,
    run::Run,
    table::{count, milliseconds},
};

/// The most rows of a table over time: neighbours of more columns are merged.
const ROWS: usize = 60;
/// Ends of the latency classes of the table behind the heat map, in milliseconds.
const CLASSES_MS: [(f64, &str); 5] = [
    (1.0, "up to 1 ms"),
    (10.0, "to 10 ms"),
    (100.0, "to 100 ms"),
    (1e3, "to 1 s"),
    (1e4, "to 10 s"),
];

/// Returns the tables as elements that can be opened.
pub(super) fn tables(run: &Run, columns: &[Column]) -> String {
    let merged = Column::merged(columns, columns.len().div_ceil(ROWS).max(1));
    let load = merged.iter().map(|column| {
        let numbers = [column.due, column.sent, column.answered];
        let mut row = vec![time(column)];
        row.extend(numbers.map(|number| rate(column.per_second(number))));
        row.push(count(column.in_flight));
        row
    });
    let heads = [
        "time",
        "offered/s",
        "sent/s",
        "answered/s",
        "in flight, at most",
    ];
    let load = details("Load as a table", &heads.map(str::to_owned), load);
    let reasons: Vec<Reason> = run
        .pollers
        .reasons()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    load + &latency(run, &merged) + &failures(&reasons, &merged) + &causes(run)
}

fn latency(run: &Run, merged: &[Column]) -> String {
    let mut heads: Vec<String> = ["time", "p50", "p99"].map(str::to_owned).into();
    heads.extend(CLASSES_MS.map(|(_, name)| name.to_owned()));
    heads.extend(["longer", "never"].map(str::to_owned));
    let rows = merged.iter().map(|column| {
        let mut row = vec![time(column)];
        row.extend([0.5, 0.99].map(|share| milliseconds(column.quantile_ms(&run.bands_ms, share))));
        let mut before = 0;
        for (end, _) in CLASSES_MS {
            let within = column.within(&run.bands_ms, end);
            row.push(count(within - before));
            before = within;
        }
        row.extend([column.responses() - before, column.never].map(count));
        row
    });
    details("Latency as a table: polls by latency", &heads, rows)
}

fn failures(reasons: &[Reason], merged: &[Column]) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    let mut heads = vec!["time".to_owned()];
    heads.extend(reasons.iter().map(|reason| reason_name(*reason)));
    let failed = |column: &&Column| !column.failures.is_empty();
    let rows = merged.iter().filter(failed).map(|column| {
        let mut row = vec![time(column)];
        let counts = reasons
            .iter()
            .map(|reason| column.failures.get(reason).copied().unwrap_or(0));
        row.extend(counts.map(count));
        row
    });
    details("Failed requests as a table", &heads, rows)
}

/// Returns why requests failed, with the first cause of each kind.
fn causes(run: &Run) -> String {
    let reasons = run.pollers.reasons();
    if reasons.is_empty() {
        return String::new();
    }
    let rows: String = reasons
        .iter()
        .map(|(reason, failed)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>\n",
                escaped(&reason_name(*reason)),
                count(failed.count),
                percent(failed.count, run.pollers.attempts),
                escaped(&failed.first)
            )
        })
        .collect();
    opened(
        "What failed and why",
        "<tr><th scope=\"col\">reason</th><th scope=\"col\">requests</th><th scope=\"col\">share</th>\
         <th scope=\"col\">the first one</th></tr>",
        &rows,
    )
}

fn time(column: &Column) -> String {
    time_of_run(column.from)
}

fn details(title: &str, heads: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads: String = heads
        .iter()
        .map(|head| format!("<th scope=\"col\">{}</th>", escaped(head)))
        .collect();
    let rows: String = rows.map(|row| html_row(&row)).collect();
    opened(title, &format!("<tr>{heads}</tr>"), &rows)
}

fn opened(title: &str, head: &str, rows: &str) -> String {
    format!(
        "<details><summary>{title}</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"{title}\"><table><thead>{head}</thead><tbody>\n{rows}</tbody></table></div></details>\n"
    )
}

/// Returns a row whose first cell is its name.
pub(super) fn html_row(cells: &[String]) -> String {
    let cells = cells.iter().enumerate().map(|(at, cell)| match at {
        0 => format!("<th scope=\"row\">{}</th>", escaped(cell)),
        _ => format!("<td>{}</td>", escaped(cell)),
    });
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}
