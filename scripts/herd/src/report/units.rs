//! Numbers with few characters, for axes and sentences.

/// Formats a rate: `0.25`, `4.2`, `40`, `1,234`, `12k`.
pub(crate) fn rate(value: f64) -> String {
    match value {
        value if value >= LONG => short(value),
        value if value >= 9.95 || value == 0.0 => crate::table::count(value.round() as u64),
        value if value >= 0.995 => trimmed(format!("{value:.1}")),
        value => format!("{value:.2}"),
    }
}

/// From here on, numbers get a unit.
const LONG: f64 = 9_999.5;

/// Formats a number with at most four digits: `1,234`, `12k`, `3.4M`.
pub(super) fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| value >= *unit && value >= LONG);
    match unit {
        Some((unit, name)) if value / unit < 99.95 => {
            trimmed(format!("{:.1}", value / unit)) + name
        }
        Some((unit, name)) => format!("{:.0}{name}", value / unit),
        None if value.fract() == 0.0 || value >= 99.95 => crate::table::count(value.round() as u64),
        None => format!("{}", (value * 1e3).round() / 1e3),
    }
}

/// Formats a time of the run: `18 s`, `1 min 30 s`, `2 h 5 min`.
pub(crate) fn time_of_run(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let two = |big: u64, big_name: &str, small: u64, small_name: &str| match small {
        0 => format!("{big} {big_name}"),
        small => format!("{big} {big_name} {small} {small_name}"),
    };
    match whole {
        0..60 => format!("{} s", (seconds * 10.0).round() / 10.0),
        60..3600 => two(whole / 60, "min", whole % 60, "s"),
        _ => two(whole / 3600, "h", whole % 3600 / 60, "min"),
    }
}

/// Formats a latency of an axis: `0.1 ms`, `10 ms`, `1 s`.
pub(super) fn latency(ms: f64) -> String {
    if ms >= 999.5 {
        format!("{} s", short(ms / 1e3))
    } else {
        format!("{} ms", (ms * 1e3).round() / 1e3)
    }
}

/// Returns a share in percent; only a whole one is `100 %`, and only an empty one `0 %`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let share = 100.0 * part as f64 / whole.max(1) as f64;
    match (part, share) {
        (0, _) => "0 %".to_owned(),
        (part, _) if part == whole => "100 %".to_owned(),
        (_, share) if share > 99.9 => "over 99.9 %".to_owned(),
        (_, share) if share < 0.1 => "under 0.1 %".to_owned(),
        (_, share) => format!("{share:.1} %"),
    }
}

/// Puts spaces that do not break between numbers and their units.
pub(super) fn unbroken(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut number = false;
    for (at, word) in text.split(' ').enumerate() {
        let bare = word.trim_end_matches(['.', ',', ';', ':', ')']);
        let unit = matches!(bare, "%" | "µs" | "ms" | "s" | "min" | "h" | "d");
        match (at, number && unit) {
            (0, _) => {}
            (_, true) => joined.push('\u{a0}'),
            (_, false) => joined.push(' '),
        }
        joined.push_str(word);
        number = word.ends_with(|last: char| last.is_ascii_digit());
    }
    joined
}

fn trimmed(text: String) -> String {
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
