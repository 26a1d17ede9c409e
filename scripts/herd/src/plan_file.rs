//! Plans in files: options as TOML, and as JSON in the results of a run.
//!
//! A file is a third way to write the command line. Each key becomes an argument, before those of the command line, and
//! clap checks all of them together. So an option has one name, one type, one default and one error, wherever it is.

use std::{ffi::OsString, path::Path};

use anyhow::{Context as _, bail, ensure};
use clap::{
    ArgAction, Command, CommandFactory as _, Parser as _,
    error::{ContextKind, Error as ClapError, ErrorKind},
    parser::ValueSource,
};
use serde_json::{Map, Value};

use crate::{
    bounded_file,
    config::{Cli, RunOptions},
    one_line::one_line,
    run::FORMAT,
};

/// Options that only the command line has: a file that somebody else wrote must not confirm that a server is yours.
const NOT_IN_FILES: [&str; 4] = ["plan", "i-own-this-server", "help", "version"];

/// Reasons why there are no options, for the user.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Clap has an error, or the help or version to print.
    #[error(transparent)]
    Clap(#[from] ClapError),
    /// The file is invalid.
    #[error(transparent)]
    File(#[from] anyhow::Error),
}

/// Parses the command line, and the plan file that it names. `arguments` begin with the name of the program.
///
/// # Errors
/// If the file cannot be read, and if an option in either is invalid or contradicts another one.
pub fn options(arguments: Vec<OsString>) -> Result<Cli, OptionsError> {
    let mut command = Cli::command();
    command.build();
    let (switched_off, arguments) = without_switches(&command, arguments);
    // Requirements may be met, and errors are found, when the options of the file are there.
    let given = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(&arguments)?;
    let Some(path) = given
        .try_get_one::<std::path::PathBuf>("plan")
        .ok()
        .flatten()
    else {
        return Ok(Cli::try_parse_from(arguments)?);
    };
    let context = || path.display().to_string();
    let options = read(path).with_context(context)?;
    let on_command_line = |id: &str| {
        let is_known = given.try_contains_id(id).is_ok();
        is_known && given.value_source(id) == Some(ValueSource::CommandLine)
    };
    let replaced = replaced(&command, on_command_line);
    let mut from_file = Vec::new();
    for (key, value) in &options {
        if NOT_IN_FILES.contains(&key.as_str()) {
            let error = anyhow::anyhow!("{key} is for the command line only");
            return Err(error.context(context()).into());
        }
        if !(replaced.contains(key) || switched_off.contains(key)) {
            from_file.extend(argument(&command, key, value).with_context(context)?);
        }
    }
    let program = arguments.first().cloned().unwrap_or_default();
    check_alone(&program, path, &from_file)?;
    let rest = arguments.into_iter().skip(1);
    let all = std::iter::once(program).chain(from_file).chain(rest);
    Ok(Cli::try_parse_from(all)?)
}

/// Returns the options as a plan file has them, without those that are not set.
///
/// # Errors
/// If a path is not UTF-8.
pub(super) fn written(options: &RunOptions) -> serde_json::Result<Map<String, Value>> {
    let Value::Object(mut all) = serde_json::to_value(options)? else {
        return Ok(Map::new());
    };
    all.retain(|_, value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_) => true,
    });
    Ok(all)
}

fn read(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = String::from_utf8(bounded_file::read(path, bounded_file::LONGEST)?)?;
    ensure!(
        !text.trim().is_empty(),
        "the file is empty: if the output goes to the same file (>), the shell has emptied it before herd could read it"
    );
    // A TOML document never begins with a brace.
    if text.trim_start().starts_with('{') {
        return of_run(serde_json::from_str(&text)?);
    }
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        anyhow::anyhow!("line {line}: {}", error.message().replace('\n', "; "))
    })?;
    table
        .into_iter()
        .map(|(key, value)| Ok((key.clone(), of_toml(&key, value)?)))
        .collect()
}

/// Returns the plan in the results of a run.
fn of_run(mut run: Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
    ensure!(
        run.get("format").and_then(Value::as_u64) == Some(FORMAT.into()),
        "not the results of a run, or written by another version of herd; a plan of your own is TOML"
    );
    match run.remove("plan") {
        Some(Value::Object(plan)) => Ok(plan),
        Some(_) | None => bail!("the results have no plan"),
    }
}

fn of_toml(key: &str, value: toml::Value) -> anyhow::Result<Value> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(is_set) => is_set.into(),
        // As text: JSON has no NaN, which the option refuses with its own error.
        toml::Value::Float(number) => number.to_string().into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(list) => {
            let list = list.into_iter().map(|value| of_toml(key, value));
            list.collect::<anyhow::Result<Vec<_>>>()?.into()
        }
        toml::Value::Table(_) => bail!("{key}: a plan has no tables; all options are at its top"),
    })
}

/// Returns the arguments of an option: one for each value. No value is an argument of its own, except for the URL, which
/// begins like one: otherwise a value might be taken for an option or a subcommand.
fn argument(command: &Command, key: &str, value: &Value) -> anyhow::Result<Vec<OsString>> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    ensure!(
        !key.is_empty() && key.bytes().all(is_plain),
        "'{}' is not an option",
        key.escape_debug()
    );
    if key == "url" {
        let text = value.as_str().filter(|text| is_url(text));
        let text = text.context("url: expected one URL, such as http://127.0.0.1:8080/path")?;
        return Ok(vec![text.into()]);
    }
    let option = command
        .get_arguments()
        .find(|option| option.get_long() == Some(key));
    let Some(option) = option else {
        bail!(unknown(command, key));
    };
    match (option.get_action(), value) {
        (ArgAction::SetTrue, Value::Bool(true)) => Ok(vec![format!("--{key}").into()]),
        (ArgAction::SetTrue, Value::Bool(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => bail!("{key}: expected true or false"),
        (ArgAction::Append, Value::Array(list)) => {
            list.iter().map(|value| with_value(key, value)).collect()
        }
        (_, value) => Ok(vec![with_value(key, value)?]),
    }
}

/// Says that there is no such option, and which one has a similar name.
fn unknown(command: &Command, key: &str) -> String {
    // Clap knows which names are similar.
    let parsed = command
        .clone()
        .try_get_matches_from(["herd".to_owned(), format!("--{key}")]);
    let error = parsed.err();
    let similar = error
        .as_ref()
        .and_then(|error| error.get(ContextKind::SuggestedArg));
    match similar.map(ToString::to_string) {
        Some(name) => format!(
            "there is no option '{key}'; a similar one is '{}'",
            name.trim_start_matches('-')
        ),
        None => format!("there is no option '{key}'"),
    }
}

/// Returns an option with its value, as one argument.
fn with_value(key: &str, value: &Value) -> anyhow::Result<OsString> {
    match value {
        Value::String(text) => Ok(format!("--{key}={text}").into()),
        Value::Number(number) => Ok(format!("--{key}={number}").into()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => bail!(
            "{key}: expected a text or a number, and a list of them only if the option may be given more than once"
        ),
    }
}

/// Returns whether a text begins with a scheme, so that it is neither an option nor a subcommand. Its parts are checked with
/// those of the command line.
fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// Returns the names of the options that those of the command line replace: themselves, and others of a group of which
/// only one may be given.
fn replaced(command: &Command, given: impl Fn(&str) -> bool) -> Vec<String> {
    let groups: Vec<Vec<String>> = command
        .get_groups()
        .filter(|group| !(*group).clone().is_multiple())
        .map(|group| group.get_args().map(ToString::to_string).collect())
        .collect();
    let is_replaced = |id: &str| {
        let group = groups
            .iter()
            .find(|ids| ids.iter().any(|other| other == id));
        given(id) || group.is_some_and(|ids| ids.iter().any(|id| given(id)))
    };
    command
        .get_arguments()
        .map(|option| option.get_id().as_str())
        .filter(|id| is_replaced(id))
        .map(|id| id.replace('_', "-"))
        .collect()
}

/// Takes `--FLAG=false` out of the arguments; returns the names of these flags, and the other arguments.
fn without_switches(command: &Command, arguments: Vec<OsString>) -> (Vec<String>, Vec<OsString>) {
    let flags: Vec<&str> = command
        .get_arguments()
        .filter(|option| matches!(option.get_action(), ArgAction::SetTrue))
        .filter_map(|option| option.get_long())
        .collect();
    let mut off = Vec::new();
    let kept = arguments.into_iter().filter(|argument| {
        let name = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--")?.strip_suffix("=false"))
            .filter(|name| flags.contains(name));
        off.extend(name.map(str::to_owned));
        name.is_none()
    });
    let kept = kept.collect();
    (off, kept)
}

/// Checks the options of the file by themselves, so that an error names the file. What they lack may be on the command
/// line.
fn check_alone(program: &OsString, path: &Path, options: &[OsString]) -> Result<(), OptionsError> {
    let alone = std::iter::once(program).chain(options);
    match Cli::try_parse_from(alone) {
        Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
            let error = anyhow::anyhow!("{}: {}", path.display(), one_line(&error));
            Err(error.into())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
