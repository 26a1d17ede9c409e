//! The SVG file: the pictures of all runs with their summaries, two beside each other, in one drawing of a fixed size.

use super::{
    canvas::{LEFT, RIGHT, escaped},
    page::{PICTURE_CSS, colours},
    picture::{self, Picture, Scales, isolated, shortened},
    story::{percent, story},
    units::{rate, unbroken},
};
use crate::{remarks::bottleneck, run::Run, table::milliseconds};

/// Width of a run: at 360 pixels its texts are at least 11 pixels high.
const COLUMN: f64 = 392.0;
const BESIDE: usize = 2;
const MARGIN: f64 = 4.0;
const LINE: f64 = 18.0;
const GAP: f64 = 26.0;
/// Characters of a line of the summary.
const CHARACTERS: usize = 54;
/// Lines of the summary.
const LINES: usize = 6;

/// Returns the drawing.
pub(super) fn sheet(runs: &[Run]) -> String {
    let scales = Scales::of(runs);
    let mut body = String::new();
    let mut top = MARGIN;
    let several = runs.len() > 1;
    let width = COLUMN * runs.len().clamp(1, BESIDE) as f64;
    for (runs, columns) in runs.chunks(BESIDE).zip(scales.columns.chunks(BESIDE)) {
        let texts: Vec<Vec<(&str, String)>> = runs
            .iter()
            .zip(columns)
            .map(|(run, columns)| texts(run, columns))
            .collect();
        let lines = texts.iter().map(Vec::len).max().unwrap_or(0);
        let head = 14.0 + LINE * lines as f64 + 8.0;
        let mut bottom = top + head;
        for (at, ((run, columns), texts)) in runs.iter().zip(columns).zip(&texts).enumerate() {
            let left = COLUMN * at as f64;
            for (line, (class, text)) in texts.iter().enumerate() {
                let y = top + 20.0 + LINE * line as f64;
                let x = left + MARGIN + 2.0;
                body += &format!(
                    "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\">{}</text>\n",
                    escaped(text)
                );
            }
            let picture = picture::run(run, columns, &scales);
            let height = picture.height;
            bottom = f64::max(bottom, top + head + height);
            body += &placed(picture, (left, top + head), COLUMN);
        }
        top = bottom + GAP;
    }
    if several {
        let shares = picture::shares(runs, &scales);
        let height = shares.height;
        body += &placed(shares, (0.0, top), width);
        top += height + GAP;
    }
    let height = top - GAP + 8.0;
    let names: Vec<String> = runs.iter().map(|run| escaped(&run.name)).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" \
         height=\"{height:.0}\" style=\"max-width:100%;height:auto\" role=\"img\">\n<title>{}</title>\n\
         <style>\n{}{PICTURE_CSS}.name{{font-size:17px;font-weight:600}}.story{{font-weight:600}}.warning{{fill:var(--sent)}}</style>\n\
         <rect width=\"{width}\" height=\"{height:.0}\" style=\"fill:var(--back)\"/>\n{body}</svg>\n",
        names.join(", "),
        colours(),
    )
}

/// Returns a picture that is `width` pixels wide, margins included.
fn placed(picture: Picture, (left, top): (f64, f64), width: f64) -> String {
    let height = picture.height;
    format!(
        "<svg x=\"{:.0}\" y=\"{top:.0}\" width=\"{:.0}\" height=\"{height:.0}\">\n{}</svg>\n",
        left + MARGIN + LEFT,
        width - 2.0 * MARGIN - LEFT - RIGHT,
        picture.canvas.finish(height)
    )
}

/// Returns the lines above the picture of a run, with their classes.
fn texts(run: &Run, columns: &[super::columns::Column]) -> Vec<(&'static str, String)> {
    let story = story(run, columns);
    let role = &run.pollers;
    let per_second = |number: u64| rate(number as f64 / run.seconds.max(1e-9));
    let mut lines = vec![("name", isolated(&shortened(&run.name)))];
    let wrapped = |text: &str| textwrap(text, CHARACTERS);
    lines.extend(
        wrapped(&story.headline)
            .into_iter()
            .map(|line| ("story", line)),
    );
    let figures = format!(
        "Answered {} of {}/s ({}), p50 {}, p99 {}.",
        per_second(role.answered),
        per_second(role.due),
        percent(role.answered, role.due),
        milliseconds(role.latency.p50_ms),
        milliseconds(role.latency.p99_ms)
    );
    let sentences = wrapped(&story.sentence).into_iter().take(LINES);
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
