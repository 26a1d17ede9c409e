//! The HTML page: for each run its summary, its picture, the tables behind it and the options that made it; then how the
//! runs compare. It works without scripts and without the network.

use super::{
    canvas::{LEFT, RIGHT, escaped},
    columns::Column,
    options::options,
    picture::{self, Picture, Scales},
    stacked::{self, Table},
    story::story,
    tables::tables,
    units::{percent, rate, short, time_of_run, unbroken},
};
use crate::{
    remarks::{bottleneck, further},
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
    let body = match runs.len() {
        1 => " class=\"one\"",
        4 => " class=\"four\"",
        _ => "",
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
         <style>\n{}{PICTURE_CSS}{PAGE_CSS}{}</style>\n</head>\n<body{body}>\n<main>\n<h1>{heading}</h1>\n\
         <div class=\"runs\">\n{sections}</div>\n<div class=\"wide\">{shares}</div>\n{}\
         <p class=\"quiet note\">Latency is measured from the time at which a poll was due to its response, including retries \
         and the time that it waited in the client. A poll without a response counts as slower than every other one: a \
         quantile among such polls is “never”. Answered: 2xx with a whole body, or 304 to a conditional request. Rates are \
         means over the whole run; in a chart and its table they are means over a column of it, and in a sentence over the \
         time that the sentence names.</p>\n\
         </main>\n</body>\n</html>\n",
        colours(),
        stacked::styles(),
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
    let per_second = |number: u64| rate(run.per_second(number));
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
            escaped(&unbroken(&warning))
        )
    });
    let further: String = further(run)
        .iter()
        .map(|remark| format!("<p>{}</p>", escaped(remark)))
        .collect();
    let tiles: String = tiles
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect();
    format!(
        "<section class=\"run\">\n<h2><bdi>{}</bdi></h2>\n<h3>{}</h3>\n<div><p>{}</p>{warning}{further}</div>\n\
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
        unbroken(&time_of_run(run.seconds)),
        escaped(&run.began_at)
    )
}

/// Returns the table of all figures, one column for each run.
fn figures(runs: &[Run]) -> String {
    let mut rows = rows(runs).into_iter();
    let heads = rows.next().unwrap_or_default();
    let table = Table::new("All figures", heads, rows);
    format!("<div class=\"figures\">{}</div>\n", table.html())
}
