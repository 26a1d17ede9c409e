//! The options of following.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;

use crate::{fetch, units};

/// Which publisher is followed, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Following another publisher")]
#[group(skip)]
pub struct Settings {
    /// Copy the board and the feed of the publisher at this URL into the database, and serve them: read-only, with the
    /// same bytes and entity-tags. Without the upstream, serves what it has. The database must be an SQLite file of
    /// its own.
    #[arg(
        long,
        env = "PUBLISHER_FOLLOW",
        value_name = "URL",
        conflicts_with = "read_only"
    )]
    pub follow: Option<Upstream>,
    /// How often to poll an upstream that does not offer waiting, in milliseconds; less often if its answers may
    /// be cached for longer.
    #[arg(long = "follow-poll-ms", env = "PUBLISHER_FOLLOW_POLL_MS")]
    #[arg(value_name = "MS", default_value = "15000", value_parser = units::millis(10..=units::DAY_MILLIS))]
    pub follow_poll: Duration,
    /// How late an upstream without `since_seq` may commit an eval run, after the newest one: so much of the end of the
    /// feed is read again whenever it changes, in seconds.
    #[arg(long = "follow-overlap-secs", env = "PUBLISHER_FOLLOW_OVERLAP_SECS")]
    #[arg(value_name = "SECONDS", default_value = "600", value_parser = units::secs(..=units::YEAR_SECS))]
    pub follow_overlap: Duration,
    /// A file with the certificates, as PEM, that may have issued the upstream's [default: those that the system trusts].
    #[arg(long, env = "PUBLISHER_FOLLOW_CA_FILE", value_name = "PATH")]
    pub follow_ca_file: Option<PathBuf>,
}

/// The URL of a publisher: what stands before `/v1/…` in the URLs of its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream(String);

impl Upstream {
    /// Returns the URL of a path with its query.
    pub fn url(&self, target: &str) -> String {
        format!("{}{target}", self.0)
    }

    /// Returns whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri = fetch::uri(text).map_err(|error| error.to_string())?;
        if uri.query().is_some() || text.contains('#') {
            return Err(format!("{text:?}: must have no query and no fragment"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_have_a_path_and_no_query() -> Result<(), String> {
        for (text, board) in [
            ("http://a:8080", "http://a:8080/v1"),
            ("https://a/", "https://a/v1"),
            ("http://[::1]:65535", "http://[::1]:65535/v1"),
            ("https://a/api/cathedral//", "https://a/api/cathedral/v1"),
        ] {
            let upstream: Upstream = text.parse()?;
            assert_eq!(upstream.url("/v1"), board);
            assert_eq!(upstream.is_https(), text.starts_with("https"));
        }
        for text in [
            "",
            "a",
            "ftp://a",
            "http://a?x",
            "http://a/#x",
            "http://u@a",
            "http://127.0.0.1:99999",
            "http://[::1]:65536/a",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
        Ok(())
    }
}
