//! The cathedral publisher: challenges for miners and signed eval runs for validators, polled
//! without pause, served from an actor-owned cache over SQLite or PostgreSQL.
//!
//! # The map
//!
//! A module imports only what its row names; a test reads the `use crate::…` lines and holds both
//! against each other.
//!
//! | module | what it is | imports |
//! |---|---|---|
//! | `domain` | challenges, eval runs, cursors, entity-tags, the clock: truth without I/O | - |
//! | `json_stream` | reads many JSON items one by one | domain |
//! | `liveness` | notices the death of an actor | - |
//! | `throttle` | bounds how often events of one kind are told | - |
//! | `units` | parsers of option values: times, sizes, numbers | - |
//! | `small_file` | reads small files of the configuration, bounded; opens regular files without waiting for a pipe | - |
//! | `certificates` | the authorities that outgoing connections trust | small_file |
//! | `fetch` | outgoing HTTP, bounded in time and bytes | certificates |
//! | `decode` | decodes bodies of other servers, within bounds | - |
//! | `check` | conformance of any publisher with the wire contract | decode, domain, fetch, units |
//! | `metrics` | what is counted, and its text | - |
//! | `outgoing` | bodies that are read for one answer: how many bytes, and which slow clients give way | - |
//! | `answer` | pure: a representation's bytes and heads, negotiation, preconditions | domain |
//! | `keys` | the JWK set of a server: served, and what eval runs are verified with | answer, domain, small_file |
//! | `store` | all SQL: opening, migrations, the pool of readers, queries, writes | certificates, domain, small_file, units |
//! | `cache` | the board's snapshot: handle, actor, single-flight machine; the last one on disk | answer, domain, liveness, metrics, store, units |
//! | `feed` | pages of the leaderboard feed: one cache, bounded in bytes | answer, domain, metrics, outgoing, store, units |
//! | `cnf` | the formulas of challenges: files, served in chunks from memory | answer, domain, metrics, outgoing, small_file, throttle, units |
//! | `watch` | notices what other processes write, and tells cache and feed | cache, domain, feed, liveness, metrics, store, units |
//! | `writer` | the write actor: admission, group commit | cache, domain, feed, liveness, metrics, store, units |
//! | `follow` | copies board and feed of another publisher, which it does not believe | cache, decode, domain, fetch, keys, liveness, metrics, store, throttle, units, writer |
//! | `health` | whether the database answers, and whether the server is ready | cache, follow, store, units, writer |
//! | `http` | the front door, the actix-web application, limits, errors | answer, cache, cnf, domain, feed, health, json_stream, keys, metrics, outgoing, small_file, store, throttle, units, writer |
//! | `server` | wiring, accepting, workers, the order of shutting down | cache, cnf, domain, feed, follow, health, http, keys, liveness, metrics, store, throttle, units, watch, writer |
//! | `import_export` | import and export | cache, config, domain, json_stream, store |
//! | `demo` | sample data, and a task that keeps writing it | cnf, domain, store, writer |
//! | `config` | the command line and the environment | check, domain, follow, server, store, units |
//!
//! # Walks
//!
//! - **Read**: `http::door` parses the head, loads the snapshot or a cached page, lets `answer` decide, and
//!   sends the prepared head and the shared bytes in one system call.
//! - **Rebuild**: a client finds the snapshot stale → `cache::handle` sends one message → the machine in
//!   `cache::state` hands out one token → a blocking thread reads in one transaction, serialises, hashes
//!   and encodes → the actor publishes and answers those that waited.
//! - **Write**: door → actix-web route → authentication → admission (a permit, or 503) → the writer's
//!   queue → one transaction for all that has piled up → answers; cache and feed are told.
//! - **Follow**: `follow` asks the upstream on a thread of its own, checks the whole answer there → the writer's queue →
//!   one transaction that takes over numbers and lineages → cache and feed are told.
//! - **Other processes**: `watch` polls the database and tells cache and feed what changed.
//!
//! # Invariants
//!
//! - Only `http` knows actix_web, only `http::door` and `server` know actix-rt's connections; only
//!   `cache`, `writer` and `server` know actix; only `store` and its callers that hold a connection know
//!   rusqlite.
//! - A handler never sees an actor's address, a pool or a connection: it holds handles.
//! - A request that the published snapshot can answer sends no message, takes no lock and touches no
//!   database. (The first one that finds it stale sends one message, and does not wait.)
//! - At most one build of the board runs at any time, even when one hangs.
//! - Memory and actix-web give the same answer to the same request.
//! - A connection's next head is read only when the last answer is sent, and everything that a connection
//!   waits for has a time limit.
//! - A published snapshot never changes, except that a content coding of it may be added once; a newer
//!   snapshot takes its place.
//! - Nothing blocks an async thread: SQLite, serialising and hashing run on blocking threads, feed
//!   reads and encodings a bounded number at a time, with connections left over for the board.
//! - Nothing is acknowledged before it is durable, nor, on the board, before clients see it (or the
//!   acknowledgement says that they do not).
//! - Nothing waits for stderr: the log is a bounded queue, and what does not fit is dropped and counted.
//! - There is no static state: everything is passed in, the clock included.
//!
//! # Reasons
//!
//! - Actors: a mailbox makes "one at a time" true without a lock that a request could meet.
//! - `journal_mode=WAL`: commits and readers do not wait for each other. `synchronous=FULL`: an
//!   acknowledged commit survives a loss of power. `query_only`: a reader cannot write. `busy_timeout`:
//!   every wait for another process has a limit.

pub mod answer;
pub mod cache;
mod certificates;
pub mod check;
pub mod cnf;
pub mod config;
mod decode;
pub mod demo;
pub mod domain;
pub mod feed;
pub mod fetch;
pub mod follow;
pub mod health;
pub mod http;
pub mod import_export;
pub mod json_stream;
pub mod keys;
pub mod liveness;
pub mod metrics;
pub mod outgoing;
pub mod server;
mod small_file;
pub mod store;
pub mod throttle;
mod units;
mod watch;
pub mod writer;

#[cfg(test)]
mod map;
