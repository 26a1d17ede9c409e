//! An error as one line, for the terminal.

use std::error::Error;

use clap::error::{ContextKind, ContextValue, Error as ClapError, ErrorKind};

/// Options of other load generators (ab, hey, oha, wrk, wrk2, k6, vegeta) and of curl, and what herd has in their place.
const HABITS: [(&str, &str); 14] = [
    ("-A", "the Accept field is --header 'Accept: …'"),
    ("-c", "the number of clients is --clients"),
    ("-D", "the file of a body is --body-file"),
    ("-d", "the duration is --duration-secs, a body is --body"),
    (
        "-k",
        "any certificate is --insecure; connections are kept open anyway",
    ),
    ("-m", "the method is --method, or -X"),
    ("-o", "the form of the results is --json or --report"),
    ("-p", "the file of a body is --body-file"),
    ("-q", "the rate of all clients together is --rate"),
    ("-R", "the rate of all clients together is --rate"),
    ("-r", "the rate of all clients together is --rate"),
    ("-T", "the type of a body is --header 'Content-Type: …'"),
    (
        "-t",
        "the number of threads is --threads, the timeout of a request is --timeout-ms",
    ),
    ("-z", "the duration is --duration-secs"),
];

/// Returns an error and its causes as one line, without causes that the line already contains. Of an error in the options it
/// says what may have been meant.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = match cause.downcast_ref::<ClapError>() {
            Some(error) => of_options(error),
            None => cause.to_string(),
        };
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        next = cause.source();
    }
    // A file may contain sequences that control the terminal.
    let plain = |letter: char| match letter.is_control() {
        true if letter.is_whitespace() => ' ',
        true => '\u{fffd}',
        false => letter,
    };
    line.chars().map(plain).collect()
}

fn of_options(error: &ClapError) -> String {
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let first = parts.next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let line = words.join(" ");
    let mut line = line.strip_prefix("error: ").unwrap_or(&line).to_owned();
    if let Some(meant) = meant(error) {
        return format!("{line}; {meant}");
    }
    for tip in parts.filter_map(|part| part.trim().strip_prefix("tip: ")) {
        let tip: Vec<&str> = tip.split_whitespace().collect();
        line = format!("{line}; {}", tip.join(" "));
    }
    line
}

/// Returns what herd has in place of an option of another program.
fn meant(error: &ClapError) -> Option<&'static str> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let habit = HABITS.iter().find(|(option, _)| option == unknown);
    habit.map(|(_, meant)| *meant)
}
