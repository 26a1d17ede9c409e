//! How options are read from environment variables: one rule for all of them.

use std::{env, ffi::OsStr};

use clap::{
    Arg, ArgAction, Command,
    builder::{BoolishValueParser, Resettable},
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

fn is_off(value: &OsStr) -> bool {
    OFF.iter().any(|off| value.eq_ignore_ascii_case(off))
}
