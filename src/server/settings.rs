//! All options of a server: its own, and those of the rooms that it wires.

use std::{path::PathBuf, thread::available_parallelism, time::Duration};

use clap::Args;

use super::{Addresses, Listen};
use crate::{
    cache, cnf, feed, health,
    http::{self, RouteSet},
    store, units, watch, writer,
};

/// All options of a server: its own, and those of the rooms that it wires.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
#[expect(
    missing_docs,
    reason = "clap would take the doc of a flattened field for its own"
)]
pub struct Settings {
    /// Serve the admin routes and /metrics here instead of on the public address, and all public paths as
    /// well; port 0 takes a free port. A socket that systemd passes with the name `admin` counts instead.
    #[arg(long, env = "PUBLISHER_ADMIN_ADDRESS", value_name = "HOST:PORT")]
    #[arg(help_heading = "HTTP")]
    pub admin_address: Option<String>,
    /// How long to serve as before after SIGTERM, with /health/ready at 503, in milliseconds: the time
    /// that load balancers need to notice.
    #[arg(long = "shutdown-delay-ms", env = "PUBLISHER_SHUTDOWN_DELAY_MS")]
    #[arg(value_name = "MS", default_value = "0", value_parser = units::millis(..=units::DAY_MILLIS))]
    #[arg(help_heading = "HTTP")]
    pub shutdown_delay: Duration,
    /// Threads that serve connections [default: one per core].
    #[arg(long, env = "PUBLISHER_WORKERS", value_name = "THREADS")]
    #[arg(value_parser = units::number::<usize>(1..=1024))]
    pub workers: Option<usize>,
    /// Open connections per worker; further ones wait in the kernel [default: 25000, or as many as the limit of file
    /// descriptors allows].
    #[arg(long, env = "PUBLISHER_MAX_CONNECTIONS", value_name = "CONNECTIONS")]
    #[arg(value_parser = units::number::<usize>(1..=1_000_000))]
    pub max_connections: Option<usize>,
    /// How long connections are still answered after a signal, each answer with `Connection: close`,
    /// before idle ones are closed, in milliseconds. Ends early when no connection is left.
    #[arg(long = "shutdown-grace-ms", env = "PUBLISHER_SHUTDOWN_GRACE_MS")]
    #[arg(value_name = "MS", default_value = "1000", value_parser = units::millis(..=units::DAY_MILLIS))]
    pub shutdown_grace: Duration,
    /// How long requests in flight may take to end after a signal, in seconds.
    #[arg(long = "shutdown-timeout-secs", value_name = "SECONDS")]
    #[arg(env = "PUBLISHER_SHUTDOWN_TIMEOUT_SECS")]
    #[arg(default_value = "30", value_parser = units::secs(..=units::YEAR_SECS))]
    pub shutdown_timeout: Duration,
    /// Write the board to this file whenever it changes, and serve it from there after a start that cannot read the
    /// database, with /health/ready at 503. Each server needs a file of its own.
    #[arg(long, env = "PUBLISHER_SNAPSHOT_FILE", value_name = "PATH")]
    pub snapshot_file: Option<PathBuf>,
    // Each of these has a help heading, which holds for all that follows.
    #[command(flatten)]
    pub http: http::Settings,
    #[command(flatten)]
    pub health: health::Settings,
    #[command(flatten)]
    pub cache: cache::Settings,
    #[command(flatten)]
    pub store: store::Settings,
    #[command(flatten)]
    pub feed: feed::Settings,
    #[command(flatten)]
    pub cnf: cnf::Settings,
    #[command(flatten)]
    pub watch: watch::Settings,
    #[command(flatten)]
    pub writer: writer::Settings,
}

/// Open connections per worker if no option says otherwise.
const DEFAULT_MAX_CONNECTIONS: usize = 25_000;

/// An address to serve.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) listen: Listen,
    pub(super) routes: RouteSet,
    pub(super) workers: usize,
    /// How many connections may be open.
    pub(super) max_connections: usize,
    /// Whether an option says so.
    pub(super) is_max_given: bool,
}

impl Settings {
    /// Returns how many threads serve connections of the public address.
    pub(super) fn worker_count(&self) -> usize {
        let cores = || available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores)
    }

    /// Returns the addresses to serve: the public one, then the admin address if there is one.
    pub(super) fn addresses(&self, listen: Addresses) -> Vec<Address> {
        let address = |listen, routes, workers: usize| Address {
            listen,
            routes,
            workers,
            max_connections: workers
                .saturating_mul(self.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS)),
            is_max_given: self.max_connections.is_some(),
        };
        let workers = self.worker_count();
        let given = || self.admin_address.clone().map(Listen::At);
        match listen.admin.or_else(given) {
            Some(admin) => vec![
                address(listen.public, RouteSet::Public, workers),
                address(admin, RouteSet::Admin, 1),
            ],
            None => vec![address(listen.public, RouteSet::All, workers)],
        }
    }
}
