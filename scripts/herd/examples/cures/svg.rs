//! Lines, areas and texts, as an SVG document that phones can show: 400 units wide, no text below 12.

use std::fmt::Write as _;

pub const WIDTH: f64 = 400.0;

/// Colours, light and dark. Series differ in shape, too: an area, a line, a dashed line.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#17202a}.small{font-size:12px;fill:#566270}.bold{font-weight:600}.end{text-anchor:end}\
.middle{text-anchor:middle}.back{fill:#fff}path{fill:none;stroke-linejoin:round}.grid{stroke:#d9dee4}.axis{stroke:#8b96a3}\
.trigger{stroke:#566270;stroke-dasharray:2 3}.answered{fill:#8fbcee;stroke:#1769c4}.sent{stroke:#c8401b;stroke-width:1.6}\
.due{stroke:#17202a;stroke-dasharray:5 4}.up{stroke:#1769c4;stroke-width:2.4}.down{stroke:#c8401b;stroke-width:2.4;stroke-dasharray:7 4}\
@media (prefers-color-scheme:dark){text{fill:#e8edf2}.small{fill:#a3afbb}.back{fill:#14181d}.grid{stroke:#2a3138}.axis{stroke:#7f8b97}\
.trigger{stroke:#a3afbb}.answered{fill:#22466f;stroke:#5fa8f5}.sent{stroke:#ff8257}.due{stroke:#e8edf2}.up{stroke:#5fa8f5}.down{stroke:#ff8257}}";

/// A drawing in progress.
#[derive(Default)]
pub struct Svg(String);

/// A rectangle with linear scales.
pub struct Plot {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    /// Values at the left and the right edge.
    pub x: (f64, f64),
    /// Value at the upper edge; the lower one is 0.
    pub most: f64,
}

// Writing to a string cannot fail.
impl Svg {
    pub fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let _ = writeln!(
            self.0,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    /// Draws a line through points.
    pub fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        self.path(class, points, "");
    }

    fn path(&mut self, class: &str, points: &[(f64, f64)], end: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1} {y:.1}"))
            .collect();
        let _ = writeln!(
            self.0,
            r#"<path class="{class}" d="M{}{end}"/>"#,
            points.join("L")
        );
    }

    /// Returns the document, with a title for screen readers.
    pub fn document(self, height: f64, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n{}</svg>\n",
            self.0
        )
    }
}

impl Plot {
    /// Returns the position of a value; values beyond an edge are drawn on it.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let share = (x - self.x.0) / (self.x.1 - self.x.0);
        (
            self.left + self.width * share.clamp(0.0, 1.0),
            self.top + self.height * (1.0 - (y / self.most).clamp(0.0, 1.0)),
        )
    }

    pub fn line(&self, svg: &mut Svg, class: &str, values: &[(f64, f64)]) {
        let points: Vec<_> = values.iter().map(|(x, y)| self.at(*x, *y)).collect();
        svg.line(class, &points);
    }

    /// Draws the area below a line.
    pub fn area(&self, svg: &mut Svg, class: &str, values: &[(f64, f64)]) {
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return;
        };
        let mut points = vec![self.at(first.0, 0.0)];
        points.extend(values.iter().map(|(x, y)| self.at(*x, *y)));
        points.push(self.at(last.0, 0.0));
        svg.path(class, &points, "Z");
    }

    /// Draws the lower edge.
    pub fn floor(&self, svg: &mut Svg) {
        self.line(svg, "axis", &[(self.x.0, 0.0), (self.x.1, 0.0)]);
    }
}
