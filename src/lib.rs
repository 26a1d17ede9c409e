//! The cathedral publisher: challenges for miners and signed eval runs for validators, polled
//! without pause, served from an actor-owned cache over SQLite.
//!
//! # The map
//!
//! | module | what it is | may import |
//! |---|---|---|
//! | [`domain`] | challenges, eval runs, cursors, entity-tags, the clock: truth without I/O | nothing |
//! | [`store`] | all SQL: opening, migrations, the pool of readers, queries, writes | domain |
//! | [`representation`] | the immutable bytes of one answer and their entity-tag | domain |
//! | [`cache`] | the board's snapshot: handle, actor, single-flight machine | store, representation |
//! | [`feed`] | pages of the leaderboard feed | store, representation, metrics |
//! | [`health`] | whether the database answers, and whether requests should come here | store, the handles of cache and writer |
//! | [`liveness`] | notices the death of an actor | nothing |
//! | [`writer`] | the write actor: admission, group commit | store, the handles of cache and feed, metrics |
//! | [`metrics`] | what is counted, and its text | nothing |
//! | [`json_stream`] | the forms in which many items come, read one by one | nothing |
//! | [`http`] | the board's fast path, routes, conditional requests, authentication, limits, errors | handles of cache, feed, health, writer; metrics |
//! | [`server`] | wiring, listening, shutting down | all of the above |
//! | [`import_export`] | import and export | store, json_stream |
//! | [`demo`] | sample data, and a task that keeps writing it | store, the writer's handle |
//! | [`config`] | the command line and the environment | nothing |
//!
//! # Invariants
//!
//! - Only `http` and `server` know actix_web (and its CORS), only `server` the parts that it is made of; only `cache::actor`, `cache::handle` and `server` know
//!   actix; only `store` and who opens a database through it know rusqlite.
//! - The server sends no requests. The load generator is a package of its own (`scripts/herd`) and reaches
//!   the server over HTTP only.
//! - A handler never sees an address of an actor, a pool or a connection: it holds handles.
//! - A request that the published snapshot can answer sends no message, takes no lock and touches no
//!   database. (The first one that finds it stale sends one message, and does not wait.)
//! - At most one build of the board runs at any time, even when one hangs.
//! - An answer of the fast path is that of the general one; whatever is unusual has the general one alone.
//! - A published snapshot never changes, but that a coding of it may join, which is made once; a newer
//!   one takes its place.
//! - Nothing blocks an async thread: SQLite, serialising and hashing run on blocking threads, feed
//!   reads a bounded number at a time, with connections left over for the board.
//! - Nothing is acknowledged before it is durable, nor, on the board, before readers see it (or the
//!   acknowledgement says that they do not).
//! - There is no static state: everything is passed in, the clock included.

pub mod answer;
pub mod cache;
pub mod config;
pub mod demo;
pub mod domain;
pub mod feed;
pub mod health;
pub mod http;
pub mod import_export;
pub mod json_stream;
pub mod liveness;
pub mod metrics;
pub mod server;
pub mod store;
mod watch;
pub mod writer;
