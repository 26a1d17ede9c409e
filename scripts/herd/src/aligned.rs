//! Text in columns for a terminal.

use unicode_width::UnicodeWidthStr as _;

/// The widest line of a name of a column: two columns of figures, and one of names of 30 characters, fit 80.
const FIGURES: usize = 22;
const GAP: usize = 3;

/// Aligns names to the left and figures to the right. The first row has the names of the columns, which may take several
/// lines. Characters that would control the terminal are replaced.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let mut rows = rows.iter();
    let heads: Vec<Vec<String>> = rows.next().map_or(Vec::new(), |row| {
        row.iter().map(|name| lines(name)).collect()
    });
    let height = heads.iter().map(Vec::len).max().unwrap_or(0);
    let head = (0..height).map(|line| {
        let cells = heads.iter().map(|lines| {
            // Short names stand in the last line.
            let at = (line + lines.len()).checked_sub(height);
            at.and_then(|at| lines.get(at)).cloned().unwrap_or_default()
        });
        cells.collect()
    });
    let rows: Vec<Vec<String>> = head
        .chain(rows.map(|row| row.iter().map(|cell| printable(cell)).collect()))
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match column {
                0 => line += &format!("{cell}{space}"),
                _ => line += &format!("{}{space}{cell}", " ".repeat(GAP)),
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Breaks a name into lines as wide as a column, at spaces where there are any.
fn lines(name: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in printable(name).split(' ') {
        let mut word = word.to_owned();
        loop {
            let line = match lines.last_mut() {
                Some(line) => line,
                None => return lines,
            };
            let gap = usize::from(!line.is_empty());
            if line.width() + gap + word.width() <= FIGURES {
                line.push_str(if gap == 1 { " " } else { "" });
                line.push_str(&word);
                break;
            }
            if line.is_empty() {
                let (head, tail) = split(&word);
                (*line, word) = (head, tail);
            }
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// Splits a word after the characters that fit into a column, at least one.
fn split(word: &str) -> (String, String) {
    let mut head = String::new();
    let mut rest = word.chars();
    for character in word.chars() {
        let longer = format!("{head}{character}");
        if longer.width() > FIGURES && !head.is_empty() {
            break;
        }
        head = longer;
        rest.next();
    }
    (head, rest.collect())
}

/// Replaces control characters, and marks that change the direction of what follows.
pub(crate) fn printable(text: &str) -> String {
    let controls = |character: char| {
        character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|character| {
            if controls(character) {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}
