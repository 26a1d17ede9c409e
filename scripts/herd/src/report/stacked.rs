//! The tables of the page. A table that is wider than its place turns into stacked rows, each value below its heading, so
//! that no value is out of view.

use std::fmt::Write as _;

use super::canvas::{escaped, isolated, shortened};

/// The stacked form; `TABLE` stands for the selector of a table.
const STACKED: &str = include_str!("stacked.css");
/// Widths of a place, in pixels, below which tables are stacked. A table has the first one that it fits.
const WIDTHS: [u32; 8] = [310, 330, 370, 420, 540, 680, 900, 1240];
/// Width of a digit and of the room beside a cell, in pixels: a little too much for most fonts.
const CHARACTER: f64 = 8.3;
/// Width of a letter of a heading that stands above a value.
const SMALL: f64 = 6.8;
const PADDING: f64 = 13.0;
/// Characters of a heading or of a row's name, from which on it may break within a word.
const NAME: usize = 14;
/// The most characters of a heading that stands above each value.
const LABEL: usize = 20;
/// Bounds of the width of a value in the stacked form.
const CELL: (f64, f64) = (68.0, 150.0);

/// A table whose first column names its rows.
#[derive(Debug)]
pub(super) struct Table {
    caption: String,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Whether the last column is text that may wrap.
    text: bool,
}

impl Table {
    pub(super) fn new(
        caption: &str,
        heads: Vec<String>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        Self {
            caption: caption.to_owned(),
            heads,
            rows: rows.into_iter().collect(),
            text: false,
        }
    }

    /// Returns the table with a last column of text.
    pub(super) fn with_text(mut self) -> Self {
        self.text = true;
        self
    }

    /// Returns the table as an element that can be opened.
    pub(super) fn details(&self) -> String {
        let title = escaped(&self.caption);
        format!(
            "<details><summary>{title}</summary>{}</details>\n",
            self.html()
        )
    }

    /// Returns the table. The roles stay when CSS makes blocks of the rows.
    pub(super) fn html(&self) -> String {
        let heads: String = self
            .heads
            .iter()
            .map(|head| {
                let head = breakable(head);
                format!("<th scope=\"col\" role=\"columnheader\"><bdi>{head}</bdi></th>")
            })
            .collect();
        let labels: Vec<String> = self
            .heads
            .iter()
            .map(|head| escaped(&isolated(&shortened(head, LABEL))))
            .collect();
        let mut rows = String::new();
        for row in &self.rows {
            rows += "<tr role=\"row\">";
            for (at, (cell, label)) in row.iter().zip(&labels).enumerate() {
                let name = breakable(cell);
                let cell = escaped(cell);
                // Writing to a string cannot fail.
                let _ = match (at, self.text && at + 1 == self.heads.len()) {
                    (0, _) => write!(rows, "<th scope=\"row\" role=\"rowheader\">{name}</th>"),
                    (_, true) => write!(
                        rows,
                        "<td class=\"text\" role=\"cell\" data-head=\"{label}\">{cell}</td>"
                    ),
                    (_, false) => {
                        write!(rows, "<td role=\"cell\" data-head=\"{label}\">{cell}</td>")
                    }
                };
            }
            rows += "</tr>\n";
        }
        let (class, cell) = self.measures();
        format!(
            "<div class=\"place\"><table class=\"{class}\" style=\"--cell:{cell:.0}px\" role=\"table\"><caption>{}</caption>\
             <thead role=\"rowgroup\"><tr role=\"row\">{heads}</tr></thead><tbody role=\"rowgroup\">\n{rows}</tbody></table></div>\n",
            escaped(&self.caption)
        )
    }

    /// Returns the class that says from which width on the table is one, and the least width of a value in the stacked form.
    fn measures(&self) -> (String, f64) {
        let widths = self.widths();
        let all: f64 = widths.iter().map(|width| width + PADDING).sum();
        let fits = WIDTHS.iter().find(|width| all <= f64::from(**width));
        let class = fits.map_or("stacked".to_owned(), |width| format!("from{width}"));
        let text = usize::from(self.text);
        let values = widths.len().saturating_sub(1 + text);
        let values = widths.into_iter().skip(1).take(values);
        let labels = self.heads.iter().skip(1);
        let labels = labels.map(|head| SMALL * head.chars().count().min(LABEL) as f64);
        (
            class,
            values.chain(labels).fold(CELL.0, f64::max).min(CELL.1),
        )
    }

    /// Returns the width that each column needs, in pixels: numbers do not wrap.
    fn widths(&self) -> Vec<f64> {
        let wide = |characters: usize| CHARACTER * characters as f64;
        let columns = self.heads.iter().enumerate().map(|(at, head)| {
            if self.text && at + 1 == self.heads.len() {
                return 220.0;
            }
            let words = head.split(' ').map(|word| word.chars().count().min(NAME));
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            // Names of rows wrap, as headings do.
            let most = if at == 0 { NAME } else { usize::MAX };
            let cells = cells.map(|cell| cell.chars().count().min(most));
            wide(words.chain(cells).max().unwrap_or(0))
        });
        columns.collect()
    }
}

/// Escapes a heading or the name of a row, with places in its long words at which they may break.
fn breakable(head: &str) -> String {
    let mut html = String::new();
    let mut long = 0;
    for character in head.chars() {
        long = if character == ' ' { 0 } else { long + 1 };
        if long > NAME {
            html.push_str("<wbr>");
            long = 1;
        }
        html += &escaped(character.encode_utf8(&mut [0; 4]));
    }
    html
}

/// Returns the styles that stack tables where they do not fit.
pub(super) fn styles() -> String {
    let mut css = STACKED.replace("TABLE", ".stacked");
    for width in WIDTHS {
        let rules = STACKED.replace("TABLE", &format!(".from{width}"));
        let _ = write!(css, "@container(max-width:{}px){{\n{rules}}}\n", width - 1);
    }
    css
}
