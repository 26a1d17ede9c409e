//! The SVG file: the summaries and pictures of all runs in one drawing. The runs lie below each other, on the same axis of
//! time, so that the drawing is narrow enough for a phone.

use super::{
    canvas::{LEFT, RIGHT, escaped, isolated, shortened},
    page::{PICTURE_CSS, colours},
    picture::{self, Picture, Scales},
    story::story,
    units::{percent, rate, unbroken},
};
use crate::{remarks::bottleneck, run::Run, table::milliseconds, target_rows};

/// At 360 pixels its texts are at least 11 pixels high.
const WIDTH: f64 = 392.0;
const MARGIN: f64 = 4.0;
const LINE: f64 = 18.0;
const GAP: f64 = 26.0;
/// Characters of a line of the summary.
const CHARACTERS: usize = 54;
/// The last characters of the URL of a target: those of one run mostly begin with the same server.
const URL: usize = 46;

/// Returns the drawing.
pub(super) fn sheet(runs: &[Run]) -> String {
    let scales = Scales::of(runs);
    let mut body = String::new();
    let mut top = MARGIN;
    for (run, columns) in runs.iter().zip(&scales.columns) {
        let bottom = written(&mut body, texts(run, columns), top + 2.0);
        let picture = picture::run(run, columns, &scales);
        let bottom = placed(&mut body, picture, bottom + 20.0);
        top = written(&mut body, targets(run), bottom) + GAP;
    }
    if runs.len() > 1 {
        top = placed(&mut body, picture::shares(runs, &scales), top) + GAP;
    }
    let height = top - GAP + 8.0;
    let names: Vec<String> = runs.iter().map(|run| escaped(&run.name)).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" style=\"max-width:100%;height:auto\" role=\"img\">\n<title>{}</title>\n\
         <style>\n{}{PICTURE_CSS}.name{{font-size:17px;font-weight:600}}.story{{font-weight:600}}.warning{{fill:var(--sent)}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" style=\"fill:var(--back)\"/>\n{body}</svg>\n",
        names.join(", "),
        colours(),
    )
}

/// Adds lines with their classes; returns the bottom.
fn written(body: &mut String, lines: Vec<(&str, String)>, top: f64) -> f64 {
    let mut y = top;
    for (class, text) in lines {
        y += LINE;
        *body += &format!(
            "<text class=\"{class}\" x=\"{:.0}\" y=\"{y:.0}\">{}</text>\n",
            MARGIN + 2.0,
            escaped(&text)
        );
    }
    y
}

/// Adds a picture; returns the bottom.
fn placed(body: &mut String, picture: Picture, top: f64) -> f64 {
    let height = picture.height;
    *body += &format!(
        "<svg x=\"{:.0}\" y=\"{top:.0}\" width=\"{:.0}\" height=\"{height:.0}\">\n{}</svg>\n",
        MARGIN + LEFT,
        WIDTH - 2.0 * MARGIN - LEFT - RIGHT,
        picture.canvas.finish(height)
    );
    top + height
}

/// Returns the lines above the picture of a run, with their classes.
fn texts(run: &Run, columns: &[super::columns::Column]) -> Vec<(&'static str, String)> {
    let story = story(run, columns);
    let role = &run.pollers;
    let per_second = |number: u64| rate(run.per_second(number));
    let mut lines = vec![("name", isolated(&shortened(&run.name, picture::NAME)))];
    let wrapped = |text: &str| textwrap(text, CHARACTERS);
    lines.extend(
        wrapped(&story.headline)
            .into_iter()
            .map(|line| ("story", line)),
    );
    let figures = format!(
        "The whole run: answered {} of {}/s ({}), p50 {}, p99 {}.",
        per_second(role.answered),
        per_second(role.due),
        percent(role.answered, role.due),
        milliseconds(role.latency.p50_ms),
        milliseconds(role.latency.p99_ms)
    );
    let sentences = wrapped(&story.sentence).into_iter();
    let figures = unbroken(&figures);
    lines.extend(sentences.chain(wrapped(&figures)).map(|line| ("", line)));
    if let Some(warning) = bottleneck(run) {
        lines.extend(
            wrapped(&format!("Beware: {warning}."))
                .into_iter()
                .map(|line| ("warning", line)),
        );
    }
    lines
}

/// Returns the lines below the picture of a run: the figures of each target, if there was more than one.
fn targets(run: &Run) -> Vec<(&'static str, String)> {
    let mut rows = target_rows::targets(run).into_iter();
    let Some(heads) = rows.next() else {
        return Vec::new();
    };
    let mut lines = vec![("title", "Targets".to_owned())];
    for row in rows {
        let cells = row.iter().zip(&heads).skip(1);
        let figures: Vec<String> = cells
            .map(|(value, head)| format!("{head} {value}"))
            .collect();
        let url = row.first().map_or("", String::as_str);
        lines.push(("", isolated(&end_of(url))));
        let figures = textwrap(&figures.join("; "), CHARACTERS).into_iter();
        lines.extend(figures.map(|line| ("", line)));
    }
    lines
}

/// Shortens a URL to its last characters.
fn end_of(url: &str) -> String {
    let left = url.chars().count().saturating_sub(URL);
    match url.char_indices().nth(left) {
        Some((start, _)) if left > 0 => format!("…{}", url.get(start..).unwrap_or(url)),
        Some(_) | None => url.to_owned(),
    }
}

/// Breaks a text into lines of at most so many characters, at spaces.
fn textwrap(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}
