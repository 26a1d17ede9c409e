//! The store on PostgreSQL: any number of replicas use one database.
//!
//! | file | knows |
//! |---|---|
//! | `call` | the one call of a commit |
//! | `cancel` | asks a server to cancel what it does for a session |
//! | `connect` | opens sessions: hosts, settings, what a server must be |
//! | `decide` | what a group of operations does to what is stored: pure |
//! | `dump` | everything that is stored, for exports |
//! | `error` | why a call failed, without a password |
//! | `import` | many items in one transaction |
//! | `look` | reads what is stored of a group |
//! | `migrations` | the schema, and how a database gets it |
//! | `password` | the file with the password |
//! | `pool` | sessions that read |
//! | `prune` | removes old eval runs |
//! | `read` | the queries of the board, the feed, the health check |
//! | `runtime` | the thread that drives sockets; deadlines of blocking threads |
//! | `restore` | puts the content of a file in the place of what is there |
//! | `row` | what rows stand for |
//! | `store` | the handle that readers, writer and watcher share |
//! | `tls` | the roots that are trusted |
//! | `url` | hosts and parameters of a URL, encryption |
//! | `watch` | notices what other replicas write |
//! | `writer` | group commit: look, decide, one call |

mod call;
mod cancel;
mod connect;
mod decide;
pub mod dump;
pub mod error;
pub mod import;
mod look;
pub mod migrations;
pub mod password;
mod pool;
pub mod prune;
mod read;
pub(in crate::store) mod restore;
mod row;
mod runtime;
mod store;
mod tls;
pub mod url;
mod watch;
mod writer;

pub use store::{Options, PostgresStore};
pub use watch::PostgresWatcher;
pub use writer::PostgresWriter;
