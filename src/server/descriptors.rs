//! How many connections fit beside the file descriptors that must always be available.

use super::accepting::AcceptLimits;

/// Of one open database connection: the file, its write-ahead log, its index, and a temporary file.
const PER_DATABASE_CONNECTION: u64 = 4;
/// Database connections beside the pool: the writer, the watch, and the one that is held while serving.
const OTHER_DATABASE_CONNECTIONS: u64 = 3;
/// Standard streams, sockets that listen, the poller of each thread, the log, /proc while it is read.
const OTHERS: u64 = 40;

/// Raises the soft limit of descriptors to the hard one, and lowers the limits of connections so that
/// all of them fit. Says so in the log if they did not.
pub(super) fn fit(limits: &mut [AcceptLimits], pool_size: u32) {
    let reserved =
        (u64::from(pool_size) + OTHER_DATABASE_CONNECTIONS) * PER_DATABASE_CONNECTION + OTHERS;
    let available = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(descriptors) => descriptors,
        Err(error) => {
            log::warn!("cannot determine the limit of file descriptors: {error}");
            return;
        }
    };
    let mut room = usize::try_from(available.saturating_sub(reserved)).unwrap_or(usize::MAX);
    let addresses = limits.len();
    for (number, limit) in limits.iter_mut().enumerate().rev() {
        // Each address gets its share, the last ones (the admin address) first; what they leave is for
        // the others.
        let share = (room / (number + 1)).max(1);
        if limit.connections > share {
            log::warn!(
                "the limit of {available} file descriptors allows only {share} connections instead of {} \
                 (--max-connections, {addresses} addresses; raise LimitNOFILE or ulimit -n)",
                limit.connections
            );
            limit.connections = share;
        }
        room = room.saturating_sub(limit.connections);
    }
}
