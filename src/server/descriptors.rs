//! Fits the database connections and the client connections to the file descriptors that the process may open.

use std::io;

use super::settings::{Address, Settings};
use crate::http::RouteSet;

/// Descriptors of a database connection: the database and its write-ahead log.
const PER_DATABASE_CONNECTION: usize = 2;
/// Database connections beside the pool: the writer, the poll, and one that stays open while the server runs.
const OTHER_DATABASE_CONNECTIONS: usize = 3;
/// Descriptors of a thread with an event loop: two pollers, a waker and a socket for signals.
const PER_THREAD: usize = 4;
/// Standard streams and the log (4), signals (2), listening sockets (4), the index of the write-ahead log (1),
/// temporary files of SQLite (4), /proc while it is read (4), the token file and the service manager (2), spare (2).
const OTHERS: usize = 23;
/// If the public address may have fewer connections, the log says so, even if no option asks for more.
const FEW_CONNECTIONS: usize = 4000;
/// The least number of connections of an address.
const MIN_CONNECTIONS: usize = 4;
/// The smallest pool, as `--pool-size` has it.
const MIN_POOL: usize = 3;

impl Settings {
    /// Raises the soft limit of descriptors to the hard one. If not all connections fit, lowers the number of
    /// database connections, to a quarter of the descriptors that are left for connections. Call it before there is
    /// a pool.
    ///
    /// # Errors
    /// If too few connections fit for the server to be of use.
    pub fn fit_descriptors(&mut self) -> io::Result<()> {
        let Some(available) = raise() else {
            return Ok(());
        };
        // The main thread, and that of the admin address.
        let threads = self.worker_count() + 2;
        let least = reserved(threads, MIN_POOL) + 2 * MIN_CONNECTIONS;
        if available < least {
            return Err(io::Error::other(format!(
                "the limit of {available} file descriptors is too low: {threads} threads need at least {least} \
                 (raise LimitNOFILE or ulimit -n, or lower --workers)"
            )));
        }
        let left = available - reserved(threads, 0);
        let pool_size = self.store.pool_size as usize;
        let fitting = (left / 4).clamp(MIN_POOL, MIN_POOL.max(pool_size));
        if fitting < pool_size {
            log::warn!(
                "the limit of {available} file descriptors allows only {fitting} database connections instead of \
                 {pool_size} (--pool-size; raise LimitNOFILE or ulimit -n)"
            );
            self.store.pool_size = u32::try_from(fitting).unwrap_or(self.store.pool_size);
        }
        Ok(())
    }
}

/// Lowers the addresses' limits of connections so that all of them fit. Logs each limit that it lowers, if an option set
/// that limit or few connections are left.
pub(super) fn fit(addresses: &mut [Address], pool_size: u32) {
    let Some(available) = raise() else {
        return;
    };
    let workers = addresses.iter().map(|address| address.workers);
    let threads = workers.sum::<usize>() + 1;
    let reserved = reserved(threads, pool_size as usize);
    let mut room = available.saturating_sub(reserved);
    for (index, address) in addresses.iter_mut().enumerate().rev() {
        // The last address is that of operators, if they have one: an eighth is enough for them. The public
        // address gets the rest.
        let share = if index == 0 { room } else { room / 8 };
        let share = share.max(MIN_CONNECTIONS);
        if address.max_connections > share {
            let (name, few) = match address.routes {
                RouteSet::Public | RouteSet::All => ("public", FEW_CONNECTIONS),
                RouteSet::Admin => ("admin", MIN_CONNECTIONS),
            };
            if address.is_max_given {
                log::warn!(
                    "the {name} address: the limit of {available} file descriptors allows only {share} connections \
                     instead of {} (--max-connections; raise LimitNOFILE or ulimit -n)",
                    address.max_connections
                );
            } else if share < few {
                log::warn!(
                    "the {name} address: the limit of {available} file descriptors allows only {share} connections \
                     (raise LimitNOFILE or ulimit -n)"
                );
            }
            address.max_connections = share;
        }
        room = room.saturating_sub(address.max_connections);
    }
}

/// Returns how many descriptors are not for connections of clients.
fn reserved(threads: usize, pool_size: usize) -> usize {
    (pool_size + OTHER_DATABASE_CONNECTIONS) * PER_DATABASE_CONNECTION
        + threads * PER_THREAD
        + OTHERS
}

/// Raises the soft limit to the hard one. Returns how many descriptors the process may open, if that is known.
fn raise() -> Option<usize> {
    let raised = rlimit::Resource::NOFILE.get().and_then(|(soft, hard)| {
        // A sandbox may forbid the system call that sets a limit: it is not made in vain.
        if soft == hard {
            Ok(soft)
        } else {
            rlimit::increase_nofile_limit(hard)
        }
    });
    match raised {
        Ok(available) => Some(usize::try_from(available).unwrap_or(usize::MAX)),
        Err(error) => {
            log::warn!("cannot determine the limit of file descriptors: {error}");
            None
        }
    }
}
