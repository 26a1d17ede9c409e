//! All SQL: opening, the pool of readers, queries, and the one write connection.
//!
//! | file | knows |
//! |---|---|
//! | `open` | what must be true of a file before it is used, migrations |
//! | `backup` | writes a copy of a database in use |
//! | `change_detector` | notices commits of other connections |
//! | `condition` | whether the database can be trusted: damage, failed polls |
//! | `file` | whether the files of the database are those that were opened |
//! | `history` | whether the database went back without a restore |
//! | `kept_open` | the connection that is opened first and closed last |
//! | `migrations` | the schema, and how a database gets it |
//! | `page_copy` | copies a database through SQLite, and checks it |
//! | `pool` | the r2d2 pool of read connections, and its pragmas |
//! | `read` | the queries of the board, the feed, the health check and the exports |
//! | `restore` | brings a backup into a database in use |
//! | `scratch` | a private folder for a database that is being made |
//! | `settings` | the options of this room |
//! | `write` | inserts and replacements, and when they conflict |

pub mod backup;
pub(crate) mod change_detector;
pub(crate) mod condition;
pub mod file;
pub(crate) mod history;
pub mod kept_open;
mod migrations;
pub mod open;
pub mod page_copy;
pub mod pool;
pub mod read;
pub mod restore;
mod scratch;
mod settings;
pub mod write;

pub use settings::Settings;

use crate::domain::position::NotAPosition;

/// A read or write of the database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection came free or could be opened in the time allowed.
    #[error("no database connection: {0}")]
    Pool(#[from] r2d2::Error),
    /// SQLite says why.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The files of the database do not belong together.
    #[error(transparent)]
    File(#[from] file::FileFault),
    /// The file is no database that this program can use.
    #[error(transparent)]
    Open(Box<open::OpenError>),
    /// A stored value is invalid: another program wrote it.
    #[error("database: challenge {challenge_id:?} has an invalid {column}")]
    Corrupt {
        /// The row.
        challenge_id: String,
        /// The column.
        column: &'static str,
    },
    /// The table of lineages has an invalid row: another program wrote it.
    #[error("database: a lineage is {0}")]
    Lineage(#[from] NotAPosition),
}

impl From<open::OpenError> for StoreError {
    fn from(error: open::OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}
