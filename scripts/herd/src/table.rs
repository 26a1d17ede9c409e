//! The results of runs as a table, side by side.

use std::collections::BTreeSet;

use crate::{
    aligned::{aligned, printable},
    course::Phase,
    failures::Reason,
    never::NEVER,
    quantile::Quantile,
    remarks::remarks,
    run::{HeldBack, Role, Run, Waits},
    target_rows::of_targets,
};

/// Selects what one limit held back.
pub(crate) type OfLimit = fn(&HeldBack) -> u64;

/// The limits that hold back requests and polls.
pub(crate) const LIMITS: [(&str, OfLimit); 3] = [
    ("--max-connections", |held_back| held_back.max_connections),
    ("--max-rate", |held_back| held_back.max_rate),
    ("open polls", |held_back| held_back.max_polls),
];

/// Returns the table, with one column per run.
pub fn table(runs: &[Run]) -> String {
    let targets = runs.iter().filter_map(of_targets);
    aligned(&rows(runs))
        + &targets.collect::<String>()
        + &remarks(runs)
            .lines()
            .map(|line| printable(line) + "\n")
            .collect::<String>()
}

/// Returns the rows of the table: the names of the runs, then for each figure its name and its value in each run.
pub(crate) fn rows(runs: &[Run]) -> Vec<Vec<String>> {
    let mut rows = vec![row(runs, "", |run| run.name.clone())];
    rows.extend(poller_rows(runs));
    rows.extend(news_rows(runs, "pollers", |run| Some(&run.pollers)));
    if runs.iter().any(|run| run.rebuilds.is_some()) {
        rows.push(row(runs, "rebuilds by the server", |run| {
            let rebuilds = run.rebuilds.as_ref();
            rebuilds.map_or("-".to_owned(), |rebuilds| count(rebuilds.total))
        }));
    }
    rows.push(row(runs, "generator: threads / CPU", |run| {
        let generator = &run.generator;
        let cpu = 100.0 * generator.cpu_secs / run.generator_secs();
        format!("{} / {cpu:.0} %", generator.threads)
    }));
    rows.push(row(runs, "generator: delay, p99", |run| {
        milliseconds(run.generator.delay.p99_ms)
    }));
    if runs.iter().any(|run| run.server.is_some()) {
        rows.push(row(runs, "server CPU per request", |run| {
            let micros = run.cpu_us_per_request();
            micros.map_or("-".to_owned(), |micros| format!("{micros:.1} µs"))
        }));
        rows.push(row(runs, "server memory (PSS), max", |run| {
            let server = run.server.as_ref();
            server.map_or("-".to_owned(), |server| bytes(server.pss_bytes))
        }));
    }
    if runs.iter().any(|run| run.validators.is_some()) {
        rows.extend(other_rows(runs, "validators", "rows read", |run| {
            run.validators.as_ref()
        }));
        rows.extend(news_rows(runs, "validators", |run| run.validators.as_ref()));
    }
    if runs.iter().any(|run| run.writers.is_some()) {
        rows.extend(other_rows(runs, "writers", "rows acknowledged", |run| {
            run.writers.as_ref()
        }));
    }
    rows
}

fn poller_rows(runs: &[Run]) -> Vec<Vec<String>> {
    let of = |name: &str, cell: fn(&Role) -> String| row(runs, name, |run| cell(&run.pollers));
    let per_second = |run: &Run, polls: u64| match run.per_second(polls) {
        rate @ ..10_000.0 => format!("{rate:.1}/s"),
        rate => format!("{}/s", count(rate as u64)),
    };
    let mut rows = vec![
        of("clients", |role| count(role.clients.into())),
        row(runs, "ended by", |run| run.ended.to_string()),
        row(runs, "polls due", |run| {
            let role = &run.pollers;
            format!("{} ({})", count(role.due), per_second(run, role.due))
        }),
        row(runs, "goodput", |run| {
            let role = &run.pollers;
            let share = 100.0 * role.answered as f64 / role.due.max(1) as f64;
            format!("{} ({share:.1} %)", per_second(run, role.answered))
        }),
    ];
    if runs.iter().any(|run| run.not_due > 0) {
        rows.push(row(runs, "polls not due before the end", |run| {
            count(run.not_due)
        }));
    }
    rows.extend([
        of("polls without a response", |role| count(role.failed)),
        of("polls skipped, waiting", |role| count(role.missed)),
        of("requests sent", |role| count(role.sent())),
    ]);
    if runs.iter().any(|run| run.pollers.unsent > 0) {
        rows.push(of("attempts with nothing sent", |role| count(role.unsent)));
    }
    if runs.iter().any(|run| run.pollers.sent_again > 0) {
        rows.push(of("sent again", |role| count(role.sent_again)));
    }
    rows.extend([
        of("requests per poll", |role| {
            format!("{:.2}", role.amplification())
        }),
        of("retries after timeouts", |role| {
            count(role.retries_after_timeout)
        }),
        of("other retries", |role| count(role.retries_after_other)),
        of("200 / 304", |role| {
            let of = |status| role.statuses.get(&status).copied().unwrap_or_default();
            format!("{} / {}", count(of(200)), count(of(304)))
        }),
    ]);
    let reasons: BTreeSet<Reason> = runs
        .iter()
        .flat_map(|run| run.pollers.failures.iter().map(|(reason, _)| reason))
        .collect();
    for reason in reasons {
        rows.push(row(runs, &format!("failed: {reason}"), |run| {
            count(run.pollers.failures.of(reason))
        }));
    }
    let phases: BTreeSet<Phase> = runs
        .iter()
        .flat_map(|run| run.pollers.timed_out_with.keys().copied())
        .collect();
    for phase in phases {
        rows.push(row(runs, &format!("timed out: {phase}"), |run| {
            let timed_out = run.pollers.timed_out_with.get(&phase);
            count(timed_out.copied().unwrap_or_default())
        }));
    }
    for (limit, held_back) in LIMITS {
        if runs
            .iter()
            .any(|run| held_back(&run.pollers.held_back_by) > 0)
        {
            rows.push(row(runs, &format!("held back by {limit}"), |run| {
                count(held_back(&run.pollers.held_back_by))
            }));
        }
    }
    if runs.iter().any(|run| run.pollers.in_flight > 0) {
        rows.push(of("in flight at the end", |role| count(role.in_flight)));
    }
    if runs.iter().any(|run| run.pollers.reopened > 0) {
        rows.push(of("connections opened again", |role| count(role.reopened)));
    }
    for quantile in Quantile::ALL {
        let name = format!("due to response, {}", quantile.name());
        rows.push(row(runs, &name, |run| {
            milliseconds(quantile.of(&run.pollers.latency))
        }));
    }
    rows.extend([
        of("sent to response, p50 / p99", |role| {
            let (p50, p99) = (role.service.p50_ms, role.service.p99_ms);
            format!("{} / {}", milliseconds(p50), milliseconds(p99))
        }),
        of("body bytes received", |role| bytes(role.body_bytes)),
        of("saved by 304", |role| bytes(role.saved_bytes)),
    ]);
    rows
}

fn other_rows(
    runs: &[Run],
    who: &str,
    rows_name: &str,
    role: fn(&Run) -> Option<&Role>,
) -> Vec<Vec<String>> {
    let of = |name: &str, cell: fn(&Role) -> String| {
        row(runs, &format!("{who}: {name}"), |run| {
            role(run).map_or("-".to_owned(), cell)
        })
    };
    vec![
        of("requests", |role| count(role.sent())),
        of(rows_name, |role| count(role.rows)),
        of("without a response", |role| count(role.failed)),
        of("timeouts / lost / 5xx", |role| {
            let numbers = [role.timeouts(), role.lost(), role.of_class(5)];
            numbers.map(count).join(" / ")
        }),
        of("p50 / p99", |role| {
            let latency = &role.latency;
            format!(
                "{} / {}",
                milliseconds(latency.p50_ms),
                milliseconds(latency.p99_ms)
            )
        }),
    ]
}

/// Returns how waits ended and how long writes took to reach clients, as far as a run has either.
fn news_rows(runs: &[Run], who: &str, role: fn(&Run) -> Option<&Role>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    if runs
        .iter()
        .any(|run| role(run).is_some_and(|role| role.waits.is_some()))
    {
        let mut of = |name: &str, cell: fn(&Waits) -> String| {
            rows.push(row(runs, &format!("{who}: {name}"), |run| {
                let waits = role(run).and_then(|role| role.waits.as_ref());
                waits.map_or("-".to_owned(), cell)
            }));
        };
        of("waits with news / without", |waits| {
            format!("{} / {}", count(waits.changed), count(waits.unchanged))
        });
        of("waits refused / at once", |waits| {
            format!("{} / {}", count(waits.refused), count(waits.at_once))
        });
        of("waits cut off", |waits| count(waits.cut_off));
        of("most responses of a client", |waits| {
            count(waits.most_of_a_client)
        });
    }
    if runs
        .iter()
        .any(|run| role(run).is_some_and(|role| role.news.seen > 0))
    {
        for quantile in [Quantile::P50, Quantile::P99, Quantile::Max] {
            let name = format!("{who}: news after, {}", quantile.name());
            rows.push(row(runs, &name, |run| {
                let news = role(run).map(|role| &role.news);
                let news = news.filter(|news| news.seen > 0);
                news.map_or("-".to_owned(), |news| {
                    milliseconds(quantile.of(&news.latency))
                })
            }));
        }
    }
    rows
}

fn row(runs: &[Run], name: &str, cell: impl Fn(&Run) -> String) -> Vec<String> {
    std::iter::once(name.to_owned())
        .chain(runs.iter().map(cell))
        .collect()
}

/// Formats a quantile in milliseconds: `12.3 ms`, `4.56 s`, `never` if it is infinite, and `-` without polls.
pub fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms.is_infinite() => NEVER.to_owned(),
        Some(ms) if ms < 1.0 => format!("{ms:.2} ms"),
        Some(ms) if ms < 100.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.2} s", ms / 1000.0),
    }
}

/// Formats a number: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats bytes, in powers of ten: `1.5 MB`.
pub fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 {
            return match unit {
                "B" => format!("{value:.0} {unit}"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} EB")
}
