//! A condition under which a run has failed, as it is written: `p99>50ms`, `errors>0.1%`, `writers.5xx>0`.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{
    failures::Reason,
    never::NEVER,
    quantile::Quantile,
    quantity::{parse_number, split_unit, unit_secs},
    run::{Role, Run},
    table::milliseconds,
};

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As it was written.
    text: String,
    /// The clients whose figure it is about.
    pub clients: Clients,
    metric: Metric,
    comparison: Comparison,
    limit: Limit,
}

/// The clients of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Those that poll: a name without a prefix.
    Pollers,
    /// `validators.`
    Validators,
    /// `writers.`
    Writers,
}

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    /// A quantile of the latency, or its maximum.
    Latency(Quantile),
    /// Polls without a response.
    Errors,
    /// Requests that did not get an answer that counts.
    Failures,
    /// Requests without a complete response in time.
    Timeouts,
    /// Requests whose connection failed or was lost.
    Lost,
    /// Requests that failed for this reason.
    Reason(Reason),
    /// Responses with this status.
    Status(u16),
    /// Responses of this class of statuses.
    Class(u16),
    /// Responses to clients that wait without a link that can be followed.
    DeadEnds,
    /// Answered polls per second.
    Rate,
    /// 99th percentile of the generator's own delay.
    Lateness,
}

/// What the limit of a figure measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dimension {
    Time,
    Rate,
    /// A number, or its share of all.
    Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    More,
    AtLeast,
    Less,
    AtMost,
}

/// A limit, in the unit of its metric.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    Milliseconds(f64),
    Count(f64),
    Percent(f64),
    PerSecond(f64),
}

/// A measured figure, in the unit of its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    /// Infinite for a quantile among polls without a response.
    Is(f64),
    /// The run has no such figure: there was nothing to measure. Fails every condition.
    Absent,
}

/// Reasons why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotACondition {
    /// There is no comparison.
    #[error("expected a figure, one of > >= < <=, and a limit, such as p99>50ms")]
    Comparison,
    /// The figure is unknown.
    #[error(
        "unknown figure '{0}': there are {quantiles}, errors, failures, timeouts, lost, dead-ends, rate, lateness, \
         a reason such as 'refused' or 'invalid page', a status such as 404, a class such as 5xx, and all of them with 'validators.' or 'writers.' before",
        quantiles = Quantile::names()
    )]
    Metric(String),
    /// The limit does not fit the figure.
    #[error("the limit of {figure} is {expected}, not '{limit}'")]
    Limit {
        /// The figure.
        figure: String,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        limit: String,
    },
}

impl FromStr for Condition {
    type Err = NotACondition;

    fn from_str(text: &str) -> Result<Self, NotACondition> {
        let at = text.find(['<', '>']).ok_or(NotACondition::Comparison)?;
        let (figure, rest) = text.split_at(at);
        let (comparison, limit) = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::More),
            ("<", Comparison::Less),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)))
        .ok_or(NotACondition::Comparison)?;
        let (figure, limit) = (figure.trim(), limit.trim());
        let (clients, name) = match figure.split_once('.') {
            Some(("validators", name)) => (Clients::Validators, name),
            Some(("writers", name)) => (Clients::Writers, name),
            Some(("pollers", name)) => (Clients::Pollers, name),
            Some(_) | None => (Clients::Pollers, figure),
        };
        let metric = Metric::parse(name).ok_or_else(|| NotACondition::Metric(figure.to_owned()))?;
        Ok(Self {
            text: text.trim().to_owned(),
            clients,
            metric,
            comparison,
            limit: metric.limit(limit).ok_or_else(|| NotACondition::Limit {
                figure: figure.to_owned(),
                expected: metric.expected(),
                limit: limit.to_owned(),
            })?,
        })
    }
}

impl Metric {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "errors" => Self::Errors,
            "failures" => Self::Failures,
            "timeouts" => Self::Timeouts,
            "lost" => Self::Lost,
            "dead-ends" => Self::DeadEnds,
            "rate" => Self::Rate,
            "lateness" => Self::Lateness,
            _ => {
                let latency = Quantile::named(name).map(Self::Latency);
                return latency
                    .or_else(|| Self::of_status(name))
                    .or_else(|| Self::of_reason(name));
            }
        })
    }

    fn of_status(name: &str) -> Option<Self> {
        if let Some(class) = name.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (1..=5).contains(class));
            return class.map(Self::Class);
        }
        let status = name.parse().ok().filter(|code| (100..=599).contains(code));
        status.filter(|_| name.len() == 3).map(Self::Status)
    }

    fn of_reason(name: &str) -> Option<Self> {
        let reason = Reason::from_str(name).ok();
        let reason = reason.filter(|reason| !matches!(reason, Reason::Status(_)));
        reason.map(Self::Reason)
    }

    /// Parses a limit of this figure.
    fn limit(self, text: &str) -> Option<Limit> {
        let (number, unit) = split_unit(text);
        let number = parse_number(number)?;
        let unit = unit.trim_start();
        match self.dimension() {
            Dimension::Time => Some(Limit::Milliseconds(number * unit_secs(unit)? * 1e3)),
            Dimension::Rate => matches!(unit, "" | "/s").then_some(Limit::PerSecond(number)),
            Dimension::Number => match unit {
                "" => Some(Limit::Count(number)),
                "%" if number <= 100.0 => Some(Limit::Percent(number)),
                _ => None,
            },
        }
    }

    fn expected(self) -> &'static str {
        match self.dimension() {
            Dimension::Time => "a time such as 50ms, 0.5s or 900us",
            Dimension::Rate => "a rate such as 500/s",
            Dimension::Number => "a number such as 0, or a share such as 0.1%",
        }
    }

    fn dimension(self) -> Dimension {
        match self {
            Self::Latency(_) | Self::Lateness => Dimension::Time,
            Self::Rate => Dimension::Rate,
            Self::Errors
            | Self::Failures
            | Self::Timeouts
            | Self::Lost
            | Self::Reason(_)
            | Self::DeadEnds
            | Self::Status(_)
            | Self::Class(_) => Dimension::Number,
        }
    }
}

impl Condition {
    /// Returns why the run has failed: one line; `None` if the condition does not hold.
    pub fn failure(&self, run: &Run) -> Option<String> {
        let text = &self.text;
        match self.figure(run) {
            Figure::Is(figure) => self
                .holds(figure)
                .then(|| format!("{text}: {}", self.shown(figure))),
            Figure::Absent => Some(format!("{text}: nothing was measured")),
        }
    }

    /// Returns whether only clients that wait can have the figure.
    pub(super) fn is_of_waits(&self) -> bool {
        self.metric == Metric::DeadEnds
    }

    fn holds(&self, figure: f64) -> bool {
        let limit = match self.limit {
            Limit::Milliseconds(limit)
            | Limit::Count(limit)
            | Limit::Percent(limit)
            | Limit::PerSecond(limit) => limit,
        };
        match self.comparison {
            Comparison::More => figure > limit,
            Comparison::AtLeast => figure >= limit,
            Comparison::Less => figure < limit,
            Comparison::AtMost => figure <= limit,
        }
    }

    fn shown(&self, figure: f64) -> String {
        match self.limit {
            Limit::Milliseconds(_) if figure.is_infinite() => {
                format!("{NEVER}, as too many polls got no response")
            }
            Limit::Milliseconds(_) => milliseconds(Some(figure)),
            Limit::Count(_) => format!("{figure}"),
            Limit::Percent(_) => format!("{figure:.3} %"),
            Limit::PerSecond(_) => format!("{figure:.1}/s"),
        }
    }

    fn figure(&self, run: &Run) -> Figure {
        let role = match self.clients {
            Clients::Pollers => Some(&run.pollers),
            Clients::Validators => run.validators.as_ref(),
            Clients::Writers => run.writers.as_ref(),
        };
        let Some(role) = role.filter(|role| role.due + role.attempts > 0) else {
            return Figure::Absent;
        };
        match self.metric {
            Metric::Latency(quantile) => quantile
                .of(&role.latency)
                .map_or(Figure::Absent, Figure::Is),
            Metric::Rate => Figure::Is(run.per_second(role.answered)),
            Metric::Lateness => run
                .generator
                .delay
                .p99_ms
                .map_or(Figure::Absent, Figure::Is),
            Metric::Errors => self.of(role.failed, role.due),
            Metric::Failures => self.of(role.failures.count(|_| true), role.attempts),
            Metric::Timeouts => self.of(role.timeouts(), role.attempts),
            Metric::Lost => self.of(role.lost(), role.attempts),
            Metric::Reason(reason) => self.of(role.failures.of(reason), role.attempts),
            Metric::DeadEnds => {
                let waits = role.waits.as_ref();
                self.of(waits.map_or(0, |waits| waits.without_next), role.attempts)
            }
            Metric::Class(class) => self.of(role.of_class(class), role.attempts),
            Metric::Status(status) => {
                let count = role.statuses.get(&status).copied();
                self.of(count.unwrap_or(0), role.attempts)
            }
        }
    }

    /// Returns a count, or its share of all if the limit is one.
    fn of(&self, count: u64, all: u64) -> Figure {
        match self.limit {
            Limit::Percent(_) => Figure::Is(count as f64 * 100.0 / all.max(1) as f64),
            Limit::Count(_) | Limit::Milliseconds(_) | Limit::PerSecond(_) => {
                Figure::Is(count as f64)
            }
        }
    }
}

/// Returns the conditions of `--strict`: those under which a client of the run noticed that something was wrong.
pub fn strict(run: &Run) -> Vec<Condition> {
    // Validators and writers may be due only after the end of a short run.
    let sent = |role: &Option<Role>| role.as_ref().is_some_and(|role| role.attempts > 0);
    let all = [Clients::Pollers, Clients::Validators, Clients::Writers];
    let there = [true, sent(&run.validators), sent(&run.writers)];
    let clients = all.into_iter().zip(there).filter(|(_, there)| *there);
    let metrics = [
        ("errors", Metric::Errors),
        ("timeouts", Metric::Timeouts),
        ("lost", Metric::Lost),
        ("failures", Metric::Failures),
        ("dead-ends", Metric::DeadEnds),
    ];
    let each = clients.flat_map(|(clients, _)| metrics.map(|metric| (clients, metric)));
    each.map(|(clients, (name, metric))| Condition {
        text: format!("--strict: {clients}{name}>0"),
        clients,
        metric,
        comparison: Comparison::More,
        limit: Limit::Count(0.0),
    })
    .collect()
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pollers => "",
            Self::Validators => "validators.",
            Self::Writers => "writers.",
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
