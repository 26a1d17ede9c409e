//! The HTML page: for each run its summary, its picture, the tables behind it and the options that made it; then how the
//! runs compare. It works without scripts and without the network.

use super::{
    canvas::{LEFT, RIGHT, escaped},
    columns::Column,
    options::options,
    picture::{self, Picture, Scales},
    story::{percent, story},
    tables::{html_row, tables},
    units::{rate, short, time_of_run},
};
use crate::{
    remarks::{bottleneck, remarks},
    run::Run,
    table::{count, milliseconds, rows},
};

/// Styles of pictures, alone or in a page.
pub(super) const PICTURE_CSS: &str = include_str!("picture.css");
const PAGE_CSS: &str = include_str!("page.css");
const LIGHT: &str = include_str!("light.css");
const DARK: &str = include_str!("dark.css");

/// Returns the colours, light or dark as the reader prefers.
pub(super) fn colours() -> String {
    format!(
        ":root{{color-scheme:light dark;{LIGHT}}}\n@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}\n"
    )
}

/// Returns the page.
pub(super) fn page(runs: &[Run]) -> String {
    let scales = Scales::of(runs);
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = escaped(&names.join(", "));
    let sections: String = runs
        .iter()
        .zip(&scales.columns)
        .map(|(run, columns)| section(run, columns, &scales))
        .collect();
    let body = if runs.len() == 1 {
        " class=\"one\""
    } else {
        ""
    };
    let heading = match runs.len() {
        1 => "Report of a run of herd".to_owned(),
        number => format!("Report of {number} runs of herd, on the same scales"),
    };
    let shares = embedded(
        picture::shares(runs, &scales),
        "How many polls got a response within a time; the figures are in the table below",
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{}{PICTURE_CSS}{PAGE_CSS}</style>\n</head>\n<body{body}>\n<main>\n<h1>{heading}</h1>\n\
         <div class=\"runs\">\n{sections}</div>\n<div class=\"wide\">{shares}</div>\n{}\
         <p class=\"quiet\">Latency is measured from the time at which a poll was due to its response, including retries \
         and the time that it waited in the client. A poll without a response counts as slower than every other one: a \
         quantile among such polls is “never”. Answered: 2xx with a whole body, or 304 to a conditional request.</p>\n\
         </main>\n</body>\n</html>\n",
        colours(),
        figures(runs),
    )
}

fn section(run: &Run, columns: &[Column], scales: &Scales) -> String {
    let story = story(run, columns);
    let label = format!(
        "{}. {} The figures are in the tables below",
        story.headline, story.sentence
    );
    let role = &run.pollers;
    let per_second = |number: u64| rate(number as f64 / run.seconds.max(1e-9));
    let failed = role.failures.count(|_| true);
    let tiles = [
        ("answered", percent(role.answered, role.due)),
        (
            "goodput",
            format!(
                "{} of {}/s",
                per_second(role.answered),
                per_second(role.due)
            ),
        ),
        ("requests/poll", format!("{:.2}", role.amplification())),
        ("failed requests", short(failed as f64)),
        ("p50", milliseconds(role.latency.p50_ms)),
        ("p99", milliseconds(role.latency.p99_ms)),
    ];
    let warning = bottleneck(run).map_or(String::new(), |warning| {
        format!(
            "<p class=\"warning\"><strong>Beware: {}.</strong></p>",
            escaped(&warning)
        )
    });
    let tiles: String = tiles
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect();
    format!(
        "<section class=\"run\">\n<h2><bdi>{}</bdi></h2>\n<h3>{}</h3>\n<div><p>{}</p>{warning}</div>\n\
         <dl class=\"tiles\">{tiles}</dl>\n{}\n<div>{}{}</div>\n<p class=\"quiet\">{}</p>\n</section>\n",
        escaped(&run.name),
        escaped(&story.headline),
        escaped(&story.sentence),
        embedded(picture::run(run, columns, scales), &label),
        tables(run, columns),
        options(&run.plan),
        about(run),
    )
}

/// Returns a picture as a part of the page, as wide as its place.
fn embedded(picture: Picture, label: &str) -> String {
    let height = picture.height;
    format!(
        "<svg class=\"picture\" height=\"{height:.0}\" style=\"padding:0 {RIGHT}px 0 {LEFT}px\" role=\"img\" \
         aria-label=\"{}\">\n{}</svg>",
        escaped(label),
        picture.canvas.finish(height)
    )
}

fn about(run: &Run) -> String {
    let clients = count(run.pollers.clients.into());
    let plural = if run.pollers.clients == 1 { "" } else { "s" };
    format!(
        "{clients} client{plural} of <bdi>{}</bdi> for {}, from {}",
        escaped(&run.url),
        time_of_run(run.seconds),
        escaped(&run.began_at)
    )
}

/// Returns the table of all figures, one column for each run.
fn figures(runs: &[Run]) -> String {
    let rows = rows(runs);
    let Some((names, rows)) = rows.split_first() else {
        return String::new();
    };
    let names: String = names
        .iter()
        .map(|name| format!("<th scope=\"col\"><bdi>{}</bdi></th>", escaped(name)))
        .collect();
    let rows: String = rows.iter().map(|row| html_row(row)).collect();
    let notes: String = remarks(runs)
        .lines()
        .map(|line| format!("<p>{}</p>\n", escaped(line)))
        .collect();
    format!(
        "<div class=\"scroll names\" tabindex=\"0\" role=\"region\" aria-label=\"All figures\"><table>\
         <caption>All figures</caption><thead><tr>{names}</tr></thead><tbody>\n{rows}</tbody></table></div>\n{notes}"
    )
}
