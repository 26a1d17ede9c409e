//! What happened in a run, in words: a headline and a sentence, from the figures alone.

use super::{
    columns::Column,
    units::{latency, percent, rate, time_of_run, unbroken},
};
use crate::{
    failures::Reason,
    outage,
    run::Run,
    table::{count, milliseconds},
};

/// Below this share of polls with a response in time, a column counts as an outage.
const OUTAGE: f64 = 0.5;
/// An outage lasts at least so many columns, or concerns such a share of all polls.
const OUTAGE_COLUMNS: usize = 3;
const OUTAGE_POLLS: f64 = 0.05;
/// Requests per poll from which the sentence speaks of retries.
const MANY_REQUESTS: f64 = 1.5;
/// From this duration of a run on, in seconds, moments are told in whole seconds.
const COARSE: f64 = 15.0;
/// A smaller share of late responses is not worth a word.
const LATE: f64 = 0.001;
/// The load during an outage counts as the same as before, up to this factor.
const SAME_LOAD: f64 = 1.25;

/// The summary of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Story {
    /// What happened, in a few words.
    pub(super) headline: String,
    /// The figures that show it.
    pub(super) sentence: String,
}

/// A time in which most polls got no response in time, as indices of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outage {
    from: usize,
    to: usize,
}

/// Tells what happened in a run. No line breaks between a number and its unit.
pub(super) fn story(run: &Run, columns: &[Column]) -> Story {
    let Story { headline, sentence } = told(run, columns);
    Story {
        headline: unbroken(&headline),
        sentence: unbroken(&sentence),
    }
}

fn told(run: &Run, columns: &[Column]) -> Story {
    let role = &run.pollers;
    let reasons = role.reasons();
    let short = |headline: &str, sentence: String| Story {
        headline: headline.to_owned(),
        sentence,
    };
    if role.due == 0 {
        return short(
            "No poll was due",
            "The run ended before the first poll.".to_owned(),
        );
    }
    if role.answered == 0 {
        let why = match reasons.first() {
            Some((reason, failed)) => {
                format!(
                    "the most frequent failure was “{reason}”, {}.",
                    often(failed.count)
                )
            }
            None => "no request had ended when the run did.".to_owned(),
        };
        let sentence = format!(
            "{} due in {}, none answered: {why}",
            polls(role.due),
            time_of_run(run.seconds)
        );
        return short("No poll got an answer", sentence);
    }
    let limit = time_limit(run);
    let failures = failures(run);
    if let Some(outage) = longest_outage(run, columns, limit) {
        let mut story = of_outage(run, columns, limit, outage);
        // Without an answer within the timeout: it says so.
        if role.failures.count(|reason| reason != Reason::TimedOut) > 0 {
            story.sentence += &format!(" {failures}");
        }
        return story;
    }
    let in_time: u64 = columns
        .iter()
        .map(|column| column.within(&run.bands_ms, limit))
        .sum();
    let late = role.answered.saturating_sub(in_time);
    let late = match late as f64 > LATE * role.due as f64 {
        true => format!(
            ", {} later than the timeout of {}",
            percent(late, role.due),
            latency(limit)
        ),
        false => String::new(),
    };
    let answered = match role.answered == role.due {
        true => "every poll got an answer".to_owned(),
        false => format!(
            "{} of the polls got an answer",
            percent(role.answered, role.due)
        ),
    };
    let outage = outage::longest(run);
    let headline = match &outage {
        None => capital(&answered) + &late,
        Some(outage) => format!(
            "No answers {}; in the end {answered}{late}",
            outage.span.words()
        ),
    };
    let outage = outage.map(|outage| format!(" {}.", capital(&outage.words())));
    let within = |quantile: Option<f64>, share: &str, rest: &str| match quantile {
        Some(ms) if ms.is_infinite() => format!("{rest} got none"),
        quantile => format!("{share} got an answer within {}", milliseconds(quantile)),
    };
    let sentence = format!(
        "Of {}, {}, {}. {failures}{}",
        polls(role.due),
        within(role.latency.p50_ms, "half", "more than half"),
        within(role.latency.p99_ms, "99 %", "more than 1 %"),
        outage.unwrap_or_default(),
    );
    Story { headline, sentence }
}

/// Says how many requests failed, why and when.
fn failures(run: &Run) -> String {
    let role = &run.pollers;
    let all = role.failures.count(|_| true);
    let when = outage::failing(run).map(|span| format!(", {}", span.words()));
    let when = when.unwrap_or_default();
    match role.reasons().first() {
        None => "No request failed.".to_owned(),
        Some((reason, failed)) if failed.count == all => {
            format!("Failed requests: {} ({reason}){when}.", count(all))
        }
        Some((reason, failed)) => format!(
            "Failed requests: {}, most often “{reason}” ({}){when}.",
            count(all),
            count(failed.count)
        ),
    }
}

fn of_outage(run: &Run, columns: &[Column], limit: f64, outage: Outage) -> Story {
    let (before, rest) = columns.split_at(outage.from);
    let (during, after) = rest.split_at(outage.to - outage.from);
    let begin = during.first().map_or(0.0, |column| column.from);
    let end = during.last().map_or(run.seconds, |column| column.to);
    let lasts = after.iter().all(|column| column.due == 0);
    let (from, until) = (moment(begin, run), moment(end, run));
    let share = |columns: &[Column]| {
        let due: u64 = columns
            .iter()
            .map(|column| column.responses() + column.never)
            .sum();
        let in_time: u64 = columns
            .iter()
            .map(|column| column.within(&run.bands_ms, limit))
            .sum();
        percent(in_time, due)
    };
    let limit = match limit.is_finite() {
        true => format!(" within the timeout of {}", latency(limit)),
        false => String::new(),
    };
    let headline = match (before.is_empty(), lasts) {
        (true, true) => "Overloaded from the beginning to the end".to_owned(),
        (true, false) => format!("Overloaded until {until}"),
        (false, true) => format!("Collapsed at {from} and did not recover"),
        (false, false) => format!("Broke down at {from}, recovered at {until}"),
    };
    let (during_share, before_share, after_share) = (share(during), share(before), share(after));
    let mut sentence = match (before.is_empty(), lasts) {
        (true, true) => format!("{during_share} of the polls got an answer{limit}."),
        (true, false) => format!(
            "Of the polls due before {until}, {during_share} got an answer{limit}; after that, {after_share}."
        ),
        (false, true) => format!(
            "Of the polls due before {from}, {before_share} got an answer{limit}; after that, {during_share}."
        ),
        (false, false) => format!(
            "Of the polls due before {from}, {before_share} got an answer{limit}; until {until}, {during_share}; \
             after that, {after_share}."
        ),
    };
    let load = |columns: &[Column]| mean(columns, |column| column.due);
    let (load_before, load_during) = (load(before), load(during));
    let sent = mean(during, |column| column.sent);
    // A burst at the beginning of an outage does not make it another load.
    let usual =
        |columns: &[Column]| median(columns.iter().map(|column| column.per_second(column.due)));
    let same = !before.is_empty() && lasts && usual(during) <= SAME_LOAD * usual(before);
    let many = sent > MANY_REQUESTS * load_during;
    let span = match (before.is_empty(), lasts) {
        (true, true) => "In the whole run".to_owned(),
        (true, false) => format!("Until {until}"),
        (false, true) => format!("After {from}"),
        (false, false) => format!("From {from} to {until}"),
    };
    let (load_before, load_during) = (rate(load_before), rate(load_during));
    if same {
        sentence += &format!(
            " The load stayed about the same: {load_before} polls/s before {from}, {load_during} polls/s after it."
        );
    }
    if many {
        sentence += &format!(
            " {span}, retries made {} requests/s of {load_during} polls/s.",
            rate(sent)
        );
    }
    Story { headline, sentence }
}

/// Formats a moment no finer than the columns of the run are.
fn moment(seconds: f64, run: &Run) -> String {
    time_of_run(if run.seconds < COARSE {
        seconds
    } else {
        seconds.round()
    })
}

/// Returns the time in which a response is in time: the clients' timeout. Clients that wait for news have none that
/// says anything: every response to them is in time.
fn time_limit(run: &Run) -> f64 {
    match run.pollers.waits {
        None => run.timeout_ms,
        Some(_) => f64::INFINITY,
    }
}

fn longest_outage(run: &Run, columns: &[Column], limit: f64) -> Option<Outage> {
    let mut longest: Option<Outage> = None;
    let mut from = None;
    for (at, column) in columns.iter().enumerate() {
        let due = column.responses() + column.never;
        let in_time = column.within(&run.bands_ms, limit);
        if due == 0 {
            continue;
        }
        if in_time as f64 >= OUTAGE * due as f64 {
            from = None;
            continue;
        }
        let from = *from.get_or_insert(at);
        let outage = Outage { from, to: at + 1 };
        if longest.is_none_or(|longest| outage.to - from > longest.to - longest.from) {
            longest = Some(outage);
        }
    }
    longest.filter(|outage| {
        let during = columns.get(outage.from..outage.to).unwrap_or_default();
        let due: u64 = during.iter().map(|column| column.due).sum();
        during.len() >= OUTAGE_COLUMNS.min(columns.len())
            || due as f64 >= OUTAGE_POLLS * run.pollers.due as f64
    })
}

/// Returns a number of columns per second.
fn mean(columns: &[Column], number: fn(&Column) -> u64) -> f64 {
    let seconds: f64 = columns.iter().map(|column| column.to - column.from).sum();
    columns.iter().map(number).sum::<u64>() as f64 / seconds.max(1e-9)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Begins a sentence.
fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn polls(number: u64) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} poll{plural}", count(number))
}

fn often(times: u64) -> String {
    match times {
        1 => "once".to_owned(),
        times => format!("{} times", count(times)),
    }
}
