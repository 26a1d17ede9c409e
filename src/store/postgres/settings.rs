//! The options that say how PostgreSQL is reached.

use std::path::PathBuf;

use clap::Args;

use super::{location::UrlParser, store::Options, url::PostgresUrl};

/// How PostgreSQL is reached, if `--database` is a URL.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct Settings {
    /// A file with the password of PostgreSQL, in one line. It is read for each new connection, so that the password can
    /// be changed while the server runs. The environment variable PGPASSWORD may have the password instead.
    #[arg(long, env = "PUBLISHER_DATABASE_PASSWORD_FILE", value_name = "PATH")]
    pub database_password_file: Option<PathBuf>,
    /// A PEM file with the certificates that may have issued that of PostgreSQL [default: those of the system].
    #[arg(long, env = "PUBLISHER_DATABASE_CA_FILE", value_name = "PATH")]
    pub database_ca_file: Option<PathBuf>,
    /// A URL of the same database at which it notices changes, if the one of --database leads through a pooler that
    /// shares connections.
    #[arg(long, env = "PUBLISHER_DATABASE_LISTEN_URL", value_name = "URL")]
    #[arg(hide_env_values = true, value_parser = UrlParser)]
    pub database_listen_url: Option<PostgresUrl>,
}

impl Settings {
    /// Returns how to open the database at `url`. `password` is used where a URL has none: that of PGPASSWORD.
    pub fn options(
        self,
        url: PostgresUrl,
        password: Option<&str>,
        read_only: bool,
        pool_size: u32,
    ) -> Options {
        let with_password = |url: PostgresUrl| match password {
            Some(password) if !url.has_password() => url.with_password(password),
            Some(_) | None => url,
        };
        Options {
            url: with_password(url),
            listen_url: self.database_listen_url.map(with_password),
            password_file: self.database_password_file,
            ca_file: self.database_ca_file,
            read_only,
            pool_size,
        }
    }
}
