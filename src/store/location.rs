//! What `--database` names: a SQLite file, or a PostgreSQL server by its URL.
//!
//! A password never appears in `Debug`, `Display` or an error. A URL with a password is refused on the command line,
//! because the list of processes shows it.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

use clap::{
    Arg, Command,
    builder::TypedValueParser,
    error::{Error, ErrorKind},
    parser::ValueSource,
};

use super::postgres::url::{PostgresUrl, UrlError};

/// Where the data are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A database of PostgreSQL.
    Postgres(PostgresUrl),
}

impl Location {
    /// Reads a path, or a URL that begins with `postgres://` or `postgresql://`.
    ///
    /// # Errors
    /// [`UrlError`]. It contains no part of the text that may be a password.
    pub fn parse(text: &OsStr) -> Result<Self, UrlError> {
        let lossy = text.to_string_lossy();
        if is_like_a_url(&lossy) {
            return Err(UrlError::Scheme);
        }
        // A file of a secret ends with a line break.
        let lossy = match lossy.trim_end() {
            url if url.starts_with("postgres") && url.contains("://") => url,
            _ => &lossy,
        };
        match lossy.split_once("://") {
            Some(("postgres" | "postgresql", rest)) => {
                if text.to_str().is_none() {
                    return Err(UrlError::Encoding);
                }
                Ok(Self::Postgres(PostgresUrl::parse(rest)?))
            }
            Some((scheme, _)) if is_scheme(scheme) => Err(UrlError::Scheme),
            Some(_) | None if text.is_empty() => Err(UrlError::Empty),
            Some(_) | None => Ok(Self::Sqlite(PathBuf::from(text))),
        }
    }

    /// Returns the path of a SQLite file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

/// The path as it was given, or the URL without a password.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// Returns whether a text was meant as a URL or as the parameters of libpq. As a path it would be in the log, and perhaps
/// a password with it.
fn is_like_a_url(text: &str) -> bool {
    let has_quote = text.starts_with(['"', '\'', ' ', '\t']) || text.ends_with(['"', '\'']);
    let is_other = !text.starts_with("postgres://") && !text.starts_with("postgresql://");
    let lower = text.to_ascii_lowercase();
    let is_libpq = ["password=", "host=", "dbname=", "user="]
        .iter()
        .any(|parameter| {
            lower
                .split([' ', '\t'])
                .any(|word| word.starts_with(parameter))
        });
    let is_scheme = |(scheme, _): (&str, &str)| !scheme.starts_with(['.', '/']);
    let is_url = lower.split_once("://").is_some_and(is_scheme)
        || (lower.starts_with("postgres") && lower.contains(':'));
    is_other && (has_quote || is_libpq || is_url)
}

/// Returns whether a text is the scheme of a URL (RFC 3986, section 3.1).
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Parses the value of `--database` or of its environment variable, or of another option that names a database. Only the
/// variable may contain a password.
///
/// The option must have `hide_env_values`: `--help` would show the password otherwise.
#[derive(Debug, Clone, Copy)]
pub struct LocationParser<T> {
    /// Takes what the option accepts.
    accept: fn(Location) -> Result<T, UrlError>,
}

impl LocationParser<Location> {
    /// Accepts every location.
    pub const ANY: Self = Self { accept: Ok };
}

impl LocationParser<PostgresUrl> {
    /// Accepts only a URL of PostgreSQL.
    pub const URL: Self = Self {
        accept: |location| match location {
            Location::Postgres(url) => Ok(url),
            Location::Sqlite(_) => Err(UrlError::NoUrl),
        },
    };
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for LocationParser<T> {
    type Value = T;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        self.parse_ref_(cmd, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, Error> {
        let parsed = parse_from(value, source).and_then(self.accept);
        parsed.map_err(|error| refused(cmd, arg, error))
    }
}

fn parse_from(value: &OsStr, source: ValueSource) -> Result<Location, UrlError> {
    let location = Location::parse(value)?;
    let is_shown = source != ValueSource::EnvVariable;
    match &location {
        Location::Postgres(url) if url.has_password() && is_shown => {
            Err(UrlError::PasswordOnCommandLine)
        }
        Location::Postgres(_) | Location::Sqlite(_) => Ok(location),
    }
}

/// Returns an error of the command line. clap's own would repeat the value, and with it a password.
fn refused(cmd: &Command, arg: Option<&Arg>, error: UrlError) -> Error {
    let option = arg.map_or_else(String::new, |arg| format!(" for '{arg}'"));
    let message = format!("invalid value{option}: {error}\n");
    Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    fn parse(text: &str) -> Result<Location, UrlError> {
        Location::parse(OsStr::new(text))
    }

    #[test]
    fn a_text_that_was_meant_as_a_url_is_no_path() {
        for text in [
            "\"postgres://u:sekret@h/d\"",
            "'postgres://u:sekret@h/d'",
            " postgres://u:sekret@h/d",
            "postgres:/u:sekret@h/d",
            "Postgres://u:sekret@h/d",
            "jdbc:postgresql://h/d?password=sekret",
            "host=h user=u password=sekret dbname=d",
            "dbname=d",
            "\"publisher.db\"",
        ] {
            assert_eq!(parse(text), Err(UrlError::Scheme), "{text}");
        }
        for text in ["postgres.db", "my=1.db", "a=b.db", "./postgres"] {
            assert!(matches!(parse(text), Ok(Location::Sqlite(_))), "{text}");
        }
    }

    #[test]
    fn a_text_without_a_scheme_is_a_path() {
        for text in [
            "publisher.db",
            "/var/lib/a b.db",
            "postgres",
            "./postgres://x",
            "a:b",
        ] {
            assert_eq!(
                parse(text).ok(),
                Some(Location::Sqlite(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn other_schemes_and_the_empty_text_are_refused() {
        for text in ["mysql://host/db", "sqlite://x.db", "Postgres://host/db", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    fn command() -> Command {
        let database = Arg::new("database").long("database");
        let listen = Arg::new("listen").long("listen");
        Command::new("test")
            .arg(database.value_parser(LocationParser::ANY))
            .arg(listen.value_parser(LocationParser::URL))
    }

    #[test]
    fn a_password_is_refused_on_the_command_line_and_not_repeated() {
        for url in [
            "postgres://user:hunter2@host/db",
            "postgres://host/db?password=hunter2",
            "postgres://user:hunter2",
            "postgres://user:hun/ter2@host/db?hunter2=1",
            "postgres://user@host:hunter2/db",
            "postgres://user@host/db?sslmode=hunter2",
            "postgres://user:4711/hunter2@host/db",
        ] {
            for option in ["--database", "--listen"] {
                let parsed = command().try_get_matches_from(["test", option, url]);
                let text = parsed.unwrap_err().to_string();
                assert!(!text.contains("ter2") && text.contains(option), "{text}");
            }
        }
        let parsed = command().try_get_matches_from(["test", "--listen", "u:hunter2@h"]);
        assert!(!parsed.unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_password_is_accepted_from_the_environment() {
        let url = OsStr::new("postgres://user:hunter2@host/db");
        let location = parse_from(url, ValueSource::EnvVariable);
        assert!(matches!(&location, Ok(Location::Postgres(url)) if url.has_password()));
        assert!(!format!("{location:?}").contains("hunter2"));
    }
}
