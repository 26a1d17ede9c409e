//! How options are read from environment variables: one rule for all of them.

use std::{env, ffi::OsStr};

use clap::{
    Arg, ArgAction, Command,
    builder::{BoolishValueParser, Resettable},
    error::{ContextKind, ContextValue},
};

/// What switches a switch off, as [`BoolishValueParser`] has it.
const OFF: [&str; 6] = ["0", "no", "n", "off", "false", "f"];

/// Makes every option of a command and its subcommands read its environment variable by these rules:
///
/// - An empty variable counts as unset. Containers and service managers often can set a variable, but not remove it.
/// - The variable of an option without a value is 1, yes, y, on, true, t or 0, no, n, off, false, f, in any case. The
///   latter count as unset, too: a switch that is off needs none of the options that it requires when it is on.
#[must_use]
pub(super) fn read_by_the_rules(command: Command) -> Command {
    let command = command.mut_args(option);
    command.mut_subcommands(read_by_the_rules)
}

/// Returns the value of a variable that no option has, unless it is unset or empty.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn option(option: Arg) -> Arg {
    let Some(name) = option.get_env() else {
        return option;
    };
    let value = env::var_os(name);
    let is_switch = matches!(option.get_action(), ArgAction::SetTrue);
    let is_unset = |value: &OsStr| value.is_empty() || is_switch && is_off(value);
    if value.as_deref().is_some_and(is_unset) {
        option.env(Resettable::Reset)
    } else if is_switch {
        option.value_parser(BoolishValueParser::new())
    } else {
        option
    }
}

/// Adds to the error about an option's value the variable that it comes from.
pub(super) fn name_variable(mut error: clap::Error, command: &Command) -> clap::Error {
    let Some(ContextValue::String(invalid)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let option = invalid
        .split([' ', '='])
        .next()
        .unwrap_or_default()
        .to_owned();
    let given = |argument: std::ffi::OsString| {
        let argument = argument.to_string_lossy().into_owned();
        argument.split('=').next() == Some(&option)
    };
    if env::args_os().any(given) {
        return error;
    }
    let Some(found) = find(command, option.trim_start_matches("--")) else {
        return error;
    };
    let Some(name) = found.get_env().filter(|name| env::var_os(name).is_some()) else {
        return error;
    };
    let mut tip = format!(
        "the value is that of the environment variable {}",
        name.display()
    );
    if matches!(found.get_action(), ArgAction::SetTrue) {
        tip.push_str(", which must be 1, yes, on, true or 0, no, off, false");
    }
    error.insert(
        ContextKind::Suggested,
        ContextValue::StyledStrs(vec![tip.into()]),
    );
    error
}

/// Returns the option with this name that the command or one of its subcommands has.
fn find<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let mut own = command.get_arguments();
    let own = own.find(|option| option.get_long() == Some(long) && option.get_env().is_some());
    let mut others = command.get_subcommands();
    own.or_else(|| others.find_map(|command| find(command, long)))
}

fn is_off(value: &OsStr) -> bool {
    OFF.iter().any(|off| value.eq_ignore_ascii_case(off))
}
