//! Fits the limits of connections to the file descriptors that the process may open.

use super::settings::Address;

/// Files of one open database connection: the database, its write-ahead log, its index, and a temporary file.
const PER_DATABASE_CONNECTION: u64 = 4;
/// Database connections beside the pool: the writer, the watch, and one that stays open while the server runs.
const OTHER_DATABASE_CONNECTIONS: u64 = 3;
/// Standard streams, listening sockets, the poller of each thread, the log, /proc while it is read.
const OTHERS: u64 = 40;

/// Raises the soft limit to the hard one. Returns how many descriptors the process may open.
fn raise() -> std::io::Result<u64> {
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    // A sandbox may forbid the system call that sets a limit: it is not made in vain.
    if soft == hard {
        Ok(soft)
    } else {
        rlimit::increase_nofile_limit(hard)
    }
}

/// Raises the soft limit of descriptors to the hard one, and lowers the addresses' limits of connections so
/// that all of them fit. Logs each limit that it lowers.
pub(super) fn fit(addresses: &mut [Address], pool_size: u32) {
    let reserved =
        (u64::from(pool_size) + OTHER_DATABASE_CONNECTIONS) * PER_DATABASE_CONNECTION + OTHERS;
    let available = match raise() {
        Ok(available) => available,
        Err(error) => {
            log::warn!("cannot determine the limit of file descriptors: {error}");
            return;
        }
    };
    let mut room = usize::try_from(available.saturating_sub(reserved)).unwrap_or(usize::MAX);
    let count = addresses.len();
    for (index, address) in addresses.iter_mut().enumerate().rev() {
        // The last address is that of operators, if they have one: an eighth is enough for them. The public
        // address gets the rest.
        let share = if index == 0 { room } else { room / 8 }.max(1);
        if address.max_connections > share {
            log::warn!(
                "the limit of {available} file descriptors allows only {share} connections instead of {} \
                 (--max-connections, {count} addresses; raise LimitNOFILE or ulimit -n)",
                address.max_connections
            );
            address.max_connections = share;
        }
        room = room.saturating_sub(address.max_connections);
    }
}
