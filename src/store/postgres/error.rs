//! Why PostgreSQL did not do what it was asked to. No message contains a password.

use std::{error::Error as _, fmt, io};

use super::{migrations::SchemaFault, password::PasswordFault, url::PostgresUrl};
use crate::store::StoreError;

/// A read, a write or a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No answer came in the time allowed. The connection is discarded, and the server is asked to cancel.
    #[error("PostgreSQL did not answer in time")]
    Timeout,
    /// The database has not answered yet, so its schema is not known.
    #[error("PostgreSQL has not been reached yet")]
    NotPrepared,
    /// The server refused a statement, or the connection broke.
    #[error("PostgreSQL: {0}")]
    Server(#[from] ServerError),
    /// No host accepted a connection.
    #[error("cannot connect to {url}: {causes}")]
    Connect {
        /// The database.
        url: PostgresUrl,
        /// What each host said.
        causes: String,
    },
    /// The schema is not one that this program can use.
    #[error(transparent)]
    Schema(#[from] SchemaFault),
    /// The certificates cannot be read.
    #[error("{0}")]
    Certificates(String),
    /// The file of the password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordFault),
    /// The thread that talks to PostgreSQL cannot be started.
    #[error("cannot start the thread of PostgreSQL: {0}")]
    Thread(#[from] io::Error),
}

/// An error of the driver or the server, with its causes in one line.
#[derive(Debug)]
pub struct ServerError(tokio_postgres::Error);

impl ServerError {
    /// Returns whether the server refuses the data as such: data exceptions, constraints, errors that a trigger raises.
    pub(super) fn is_about_data(&self) -> bool {
        self.db_error().is_some_and(|error| {
            let code = error.code().code();
            ["22", "23", "P0"]
                .iter()
                .any(|class| code.starts_with(class))
        })
    }

    /// Returns the error of the server, if it was one: SQLSTATE, severity and text.
    pub(super) fn db_error(&self) -> Option<&tokio_postgres::error::DbError> {
        self.0.as_db_error()
    }
}

impl From<tokio_postgres::Error> for ServerError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(error)
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error.into())
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error.into())
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = self.db_error() {
            write!(f, "{}: {}", error.severity(), error.message())?;
            if let Some(hint) = error.hint() {
                write!(f, " ({hint})")?;
            }
            return write!(f, " [{}]", error.code().code());
        }
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}
