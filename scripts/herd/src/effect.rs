//! Options that would have no effect are refused: somebody expects one from them.

use clap::Parser as _;
use serde_json::{Map, Value};

use crate::{
    config::{Cli, OnFailure, RunOptions},
    invalid::PlanError,
    plan_file::written,
};

/// Options that have no effect in a run, and why.
type Idle = (bool, &'static [&'static str], &'static str);

/// Checks the options, of which `all` are written, for those that have no effect. An option counts if its value is not the
/// default: the results of a run have the defaults, too. `is_https`: whether any URL is.
///
/// # Errors
/// [`PlanError::NoEffect`] for the first one.
pub(super) fn check(
    options: &RunOptions,
    all: &Map<String, Value>,
    is_https: bool,
) -> Result<(), PlanError> {
    let default = Cli::try_parse_from(["herd", "http://localhost/"]);
    let default = default.map(|cli| written(&cli.run));
    let default = default.unwrap_or_else(|_| Ok(Map::new()))?;
    let is_given = |option: &str| all.get(option) != default.get(option);
    let idle = idle(options, is_https);
    let options = idle
        .into_iter()
        .filter(|(is_idle, ..)| *is_idle)
        .flat_map(|(_, options, reason)| options.iter().map(move |option| (*option, reason)));
    match options.into_iter().find(|(option, _)| is_given(option)) {
        Some((option, reason)) => Err(PlanError::NoEffect {
            option: format!("--{option}"),
            reason,
        }),
        None => Ok(()),
    }
}

fn idle(options: &RunOptions, is_https: bool) -> [Idle; 11] {
    let (schedule, writers) = (&options.schedule, &options.writers);
    let writes = writers.writers > 0 || !writers.change_at.is_empty();
    let validates = options.validators.validators > 0;
    let waits = options.wait;
    [
        (
            options.failures.on_failure == OnFailure::GiveUp,
            &["max-retries", "honour-retry-after"],
            "--on-failure give-up sends nothing again",
        ),
        (
            waits && !writes,
            &["honour-retry-after"],
            "clients that wait always honour it",
        ),
        (
            waits,
            &["header", "jitter-percent", "arrival"],
            "clients that wait send what the server tells them, when they have its answer",
        ),
        (
            waits && schedule.ramp_ms.is_some(),
            &["interval-ms"],
            "clients that wait have no interval, and --ramp-ms says when they start",
        ),
        (
            schedule.interval_ms == Some(0),
            &["burst-at", "jitter-percent", "arrival"],
            "in a closed loop (--interval-ms 0) a poll follows the response before it",
        ),
        (
            !validates,
            &[
                "feed-url",
                "feed-since",
                "feed-limit",
                "feed-accept-encoding",
                "feed-interval-ms",
            ],
            "there are no --validators",
        ),
        (
            waits,
            &["feed-interval-ms"],
            "clients that wait have no interval",
        ),
        (
            writers.writers == 0,
            &["write-url", "write-interval-ms", "write-rows"],
            "there are no --writers",
        ),
        (
            writers.change_at.is_empty(),
            &["change-url"],
            "there is no --change-at",
        ),
        (
            options.server.metrics_url.is_none(),
            &["rebuild-metric"],
            "there is no --metrics-url",
        ),
        (
            !is_https,
            &["ca-file", "insecure"],
            "no URL begins with https",
        ),
    ]
}
