//! What only a database file has, for the tests that are about files.

use std::path::PathBuf;

use cathedral_publisher::store::{Store, sqlite::pool::ReadPool};

use crate::app::{App, Data};

impl Data {
    pub fn path(&self) -> PathBuf {
        self.database.path()
    }

    /// Runs `work` in one write transaction.
    pub fn write<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        self.database.write(work)
    }
}

impl App {
    /// Returns the pool of readers of the file.
    pub fn pool(&self) -> &ReadPool {
        let Store::Sqlite(store) = &self.store else {
            panic!("a file of SQLite");
        };
        store.pool()
    }
}
