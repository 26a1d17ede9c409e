//! Reports of runs, as text, as a page and as a drawing:
//!
//! - the summary tells in words what the figures show: a collapse, a recovery, a calm run, no answer at all
//! - rates are means over the run, in a chart over a column of it
//! - an attempt of which nothing was written does not count as sent
//! - a drawing has the figures of each of several targets
//! - a page has the options as a plan file, and what failed first
//! - a report of an empty, a short, a long or a huge run is a valid document, with all names escaped
//! - pages and drawings of one run and of several fit 360 to 1920 pixels, light and dark: no text under 11 pixels, none out of
//!   view, outside of its drawing or upon another one, enough contrast, nothing that scrolls sideways, at most 700 pixels for
//!   one run (in Chromium)
//! - the table of two runs fits 80 columns

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

#[path = "report/chromium.rs"]
mod chromium;
#[path = "report/runs.rs"]
mod runs;

use std::{fs, path::Path};

use chromium::measure;
use herd::{report, run::Run, table::table};
use runs::{busy, calm, collapse, empty, huge, recovery, refused, short, targets, uneven};
use tempfile::TempDir;

fn written(folder: &Path, name: &str, runs: &[Run]) -> String {
    let path = folder.join(name);
    report::write(runs, &path).unwrap();
    fs::read_to_string(path).unwrap()
}

fn page(runs: &[Run]) -> String {
    let folder = TempDir::new().unwrap();
    // Spaces that do not break are spaces to a reader.
    written(folder.path(), "run.html", runs).replace('\u{a0}', " ")
}

#[test]
fn the_summary_tells_what_happened() {
    for (run, sentences) in [
        (
            collapse(),
            &[
                "Collapsed at 18 s and did not recover",
                "Of the polls due before 18 s, 100 % got an answer within the timeout of 1 s; after that, 0 %.",
                "The load stayed about the same: 40 polls/s before 18 s, 40 polls/s after it.",
                "After 18 s, retries made 210 requests/s of 40 polls/s.",
            ][..],
        ),
        (recovery(), &["Broke down at 18 s, recovered at 30 s"]),
        (calm(), &["Every poll got an answer", "No request failed."]),
        (
            refused(),
            &[
                "No poll got an answer",
                "1,600 polls due in 40 s, none answered",
            ],
        ),
        (empty(), &["No poll was due"]),
        (short(), &["Every poll got an answer", "Of 1 poll,"]),
    ] {
        let page = page(&[run]);
        for sentence in sentences {
            assert!(page.contains(sentence), "{sentence}: {page}");
        }
    }
}

#[test]
fn a_page_has_the_options_as_a_plan_file_and_what_failed_first() {
    let page = page(&[collapse()]);
    for text in [
        "url = &quot;http://127.0.0.1:8080/board&quot;\n",
        "clients = 600\n",
        r#"[&quot;Accept: a/b&quot;, &quot;X: \&quot;&lt;b&gt;\&quot;&quot;]"#,
        ">no response</td>",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn the_rate_of_the_last_column_counts_only_the_time_of_the_run() {
    let mut run = calm();
    run.seconds = 44.5;
    let last = run.slices.last_mut().unwrap();
    (last.due, last.attempts, last.answered) = (20, 20, 20);
    last.histogram.pop();
    last.histogram.push(20);
    let page = page(&[run]);
    let row =
        "rowheader\">44 s</th><td role=\"cell\" data-head=\"\u{2068}offered\u{2069}\">40</td>";
    assert!(page.contains(row), "{page}");
}

#[test]
fn an_attempt_of_which_nothing_was_written_does_not_count_as_sent() {
    let mut run = refused();
    for slice in &mut run.slices {
        slice.unsent = 30;
    }
    let page = page(&[run]);
    for (head, rate) in [("offered", 40), ("sent", 10)] {
        let cell = format!("data-head=\"\u{2068}{head}\u{2069}\">{rate}</td>");
        assert!(page.contains(&cell), "{cell}: {page}");
    }
}

#[test]
fn a_drawing_has_the_figures_of_each_of_several_targets() {
    let folder = TempDir::new().unwrap();
    let drawing = written(folder.path(), "run.svg", &[targets()]);
    for text in [
        ">\u{2068}…long/long/",
        "answered 6,802,443 of 1,234,567; p50 9.0 ms;",
        "12 timed out",
        "10 more in the JSON",
    ] {
        assert!(drawing.contains(text), "{text}: {drawing}");
    }
    let drawing = written(folder.path(), "run.svg", &[calm()]);
    assert!(!drawing.contains("Targets"), "{drawing}");
}

#[test]
fn reports_of_strange_runs_are_valid_documents() {
    let folder = TempDir::new().unwrap();
    let strange = [empty(), short(), huge(), refused()];
    let mut many: Vec<Run> = (0..12).map(|_| collapse()).collect();
    many.push(huge());
    for runs in strange.map(|run| vec![run]).iter().chain([&many]) {
        for name in ["run.html", "run.svg"] {
            let text = written(folder.path(), name, runs);
            assert!(
                !text.contains("<script") && !text.contains("<img"),
                "{name}"
            );
            assert!(!text.contains("NaN") && !text.contains("inf%"), "{name}");
            assert!(!text.contains(['\u{0}', '\u{1b}']), "{name}");
            if name == "run.svg" {
                well_formed(&text);
            }
        }
        assert!(!table(runs).contains(['\u{0}', '\u{1b}', '\u{202e}']));
    }
}

/// Checks that every element is closed, in order.
fn well_formed(xml: &str) {
    let mut open = Vec::new();
    for tag in xml.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_table_of_two_runs_fits_80_columns() {
    let mut long = collapse();
    long.name =
        "a name that is longer than its column, and a_word_that_is_longer_than_it".to_owned();
    // A remark begins with the name of its run.
    let names = [long.name.clone(), recovery().name];
    let is_remark = |line: &&str| names.iter().any(|name| line.starts_with(name.as_str()));
    let table = table(&[long, recovery()]);
    let figures = table.lines().take_while(|line| !is_remark(line));
    for line in figures {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(
        table.contains("timed out") || table.contains("timeouts"),
        "{table}"
    );
}

#[test]
fn pages_and_drawings_are_legible_at_every_width() {
    let folder = TempDir::new().unwrap();
    let four = [collapse(), recovery(), calm(), refused()];
    let mut twelve: Vec<Run> = four.iter().cycle().take(10).cloned().collect();
    twelve.extend([huge(), short()]);
    for (name, runs) in [
        ("one.html", &four[..1]),
        ("four.html", &four),
        ("twelve.html", &twelve),
        ("huge.html", &[huge()]),
        ("busy.html", &[busy()]),
        ("mixed.html", &[busy(), short(), huge()]),
        ("mixed.svg", &[busy(), short(), huge()]),
        ("empty.html", &[empty()]),
        ("uneven.html", &[uneven()]),
        ("targets.html", &[targets()]),
        ("targets.svg", &[targets()]),
        ("targets-and-more.svg", &[targets(), calm()]),
        ("two.html", &four[..2]),
        ("one.svg", &four[1..2]),
        ("two.svg", &four[..2]),
        ("four.svg", &four),
    ] {
        written(folder.path(), name, runs);
    }
    let Some(faults) = measure(folder.path()) else {
        return;
    };
    assert_eq!(faults, Vec::<String>::new());
}
