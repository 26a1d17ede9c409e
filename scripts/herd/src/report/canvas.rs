//! An SVG drawing that is as wide as its place: shapes are stretched to the width, texts keep their size.
//!
//! Horizontal positions are shares of the plot's width, from 0 to 1, vertical ones are pixels from the top. The stretched
//! shapes lie in a view box of [`WIDTH`] units whose aspect ratio is not preserved; CSS keeps their strokes as wide as they
//! are (`vector-effect`).

use std::fmt::{Display, Write as _};

/// Width of the stretched shapes, in units.
pub(super) const WIDTH: f64 = 1000.0;
/// Room for labels to the left and to the right of a plot, in pixels.
pub(super) const LEFT: f64 = 54.0;
pub(super) const RIGHT: f64 = 10.0;

/// Where a text begins, ends or has its middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct At {
    /// Share of the plot's width.
    pub(super) share: f64,
    /// Pixels to the right of it.
    pub(super) dx: f64,
    /// Pixels from the top.
    pub(super) y: f64,
}

/// A drawing in progress.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    shapes: String,
    texts: String,
}

// Writing to a string cannot fail: the results of `write!` are dropped.
impl Canvas {
    /// Writes a text.
    pub(super) fn text(&mut self, class: &str, at: At, text: &str) {
        let _ = writeln!(
            self.texts,
            r#"<text class="{class}" x="{:.2}%" dx="{:.0}" y="{:.1}">{}</text>"#,
            100.0 * at.share,
            at.dx,
            at.y,
            escaped(text)
        );
    }

    /// Draws a path in units: see [`unit`].
    pub(super) fn path(&mut self, class: &str, d: impl Display) {
        let _ = writeln!(self.shapes, r#"<path class="{class}" d="{d}"/>"#);
    }

    /// Draws a horizontal line over the whole width.
    pub(super) fn across(&mut self, class: &str, y: f64) {
        self.path(class, format_args!("M0 {y:.1}H{WIDTH}"));
    }

    /// Draws a sample of a path for a legend; `d` is in pixels.
    pub(super) fn sample(&mut self, class: &str, dx: f64, y: f64, d: &str) {
        let _ = writeln!(
            self.texts,
            r#"<path class="{class}" transform="translate({dx:.0},{y:.0})" d="{d}"/>"#
        );
    }

    /// Adds an area that shows a text while the pointer is over it.
    pub(super) fn hint(&mut self, d: impl Display, text: &str) {
        let _ = writeln!(
            self.shapes,
            r#"<path class="hint" d="{d}"><title>{}</title></path>"#,
            escaped(text)
        );
    }

    /// Adds shapes that are written already.
    pub(super) fn shapes(&mut self, shapes: &str) {
        self.shapes.push_str(shapes);
    }

    /// Returns the elements of the drawing, for an `svg` element of this height around the plots.
    pub(super) fn finish(self, height: f64) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" preserveAspectRatio=\"none\" width=\"100%\" height=\"{height:.0}\">\n\
             {}</svg>\n{}",
            self.shapes, self.texts,
        )
    }
}

/// Returns a share of the width in units, as short as it can be written.
pub(super) fn unit(share: f64) -> String {
    let text = format!("{:.1}", share * WIDTH);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Escapes text for XML and HTML. Characters that XML does not allow become `U+FFFD`.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            character if character.is_control() && !matches!(character, '\n' | '\t') => {
                escaped.push('\u{fffd}');
            }
            character => escaped.push(character),
        }
    }
    escaped
}

/// Shortens a name to so many characters.
pub(super) fn shortened(name: &str, most: usize) -> String {
    match name.char_indices().nth(most) {
        None => name.to_owned(),
        Some((end, _)) => name.get(..end).unwrap_or(name).to_owned() + "…",
    }
}

/// Isolates a name, whose letters may run from right to left, from the text around it (FSI and PDI of Unicode).
pub(super) fn isolated(name: &str) -> String {
    format!("\u{2068}{name}\u{2069}")
}
