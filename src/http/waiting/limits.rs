//! How many requests may wait: in all, on one address of the server, and from one client address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::Settings;
use crate::http::rate_limit::subnet_of;

/// If fewer requests may wait than the option says and than this, the log has a warning.
const FEW_WAITS: usize = 2000;

/// The waiting requests of all workers, seen from one address of the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waits {
    shared: Arc<Shared>,
    here: Arc<Here>,
}

/// Those of all addresses of the server.
#[derive(Debug)]
struct Shared {
    max: usize,
    max_per_client: usize,
    counts: Mutex<Counts>,
}

/// Those of one address of the server: they must leave connections to polls and health checks.
#[derive(Debug)]
struct Here {
    max: usize,
    /// Changed under the lock of the counts only.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Of each network that has any.
    by_network: HashMap<IpAddr, usize>,
}

/// Counts a waiting request until it is dropped.
#[derive(Debug)]
pub(in crate::http) struct WaitPermit {
    waits: Waits,
    network: IpAddr,
}

impl Waits {
    /// The limits of these options for a public address with so many connections; nobody waits yet. The log says if
    /// `max_waits` is more than the address allows.
    pub fn new(settings: &Settings, max_connections: usize) -> Self {
        let waits = Self {
            shared: Arc::new(Shared {
                max: settings.max_waits,
                max_per_client: settings.max_waits_per_address,
                counts: Mutex::default(),
            }),
            here: Here::new(max_connections),
        };
        let (wanted, allowed) = (settings.max_waits, waits.here.max);
        if allowed < wanted {
            let level = if allowed < FEW_WAITS {
                log::Level::Warn
            } else {
                log::Level::Info
            };
            log::log!(
                level,
                "at most {allowed} requests may wait for a change instead of {wanted} (--max-waits): three quarters of the \
                 connections of the public address"
            );
        }
        waits
    }

    /// The same, seen from another address, with so many connections, where nobody waits yet.
    pub fn of_address(&self, max_connections: usize) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            here: Here::new(max_connections),
        }
    }

    /// Returns how many requests wait.
    pub(in crate::http) fn count(&self) -> usize {
        self.counts().all
    }

    /// Lets a request of this client wait, unless too many wait already. Costs a short lock.
    pub(in crate::http) fn admit(&self, client: IpAddr) -> Option<WaitPermit> {
        let network = subnet_of(client);
        let (shared, here) = (&self.shared, &self.here);
        let mut counts = self.counts();
        let of_network = counts.by_network.get(&network).copied().unwrap_or(0);
        let of_address = here.count.load(Relaxed);
        if counts.all >= shared.max || of_address >= here.max || of_network >= shared.max_per_client
        {
            return None;
        }
        counts.all += 1;
        here.count.store(of_address + 1, Relaxed);
        counts.by_network.insert(network, of_network + 1);
        drop(counts);
        Some(WaitPermit {
            waits: self.clone(),
            network,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing under this lock panics half-way through a change.
        self.shared
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Here {
    fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            // A quarter is left to other requests.
            max: max_connections - max_connections.div_ceil(4),
            count: AtomicUsize::new(0),
        })
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        let mut counts = self.waits.counts();
        counts.all -= 1;
        self.waits.here.count.fetch_sub(1, Relaxed);
        if let Some(of_network) = counts.by_network.get_mut(&self.network) {
            *of_network -= 1;
            if *of_network == 0 {
                counts.by_network.remove(&self.network);
            }
        }
        if counts.all == 0 {
            // After a herd has gone, its table would stay.
            counts.by_network = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::time::Duration;

    use super::*;

    fn settings(max_waits: usize) -> Settings {
        Settings {
            max_waits,
            max_waits_per_address: 2,
            wait_slot: Duration::from_secs(25),
            wait_jitter: Duration::ZERO,
        }
    }

    #[test]
    fn requests_that_wait_take_three_quarters_of_the_connections_of_each_address() {
        let waits = Waits::new(&settings(1000), 3);
        let admin = waits.of_address(2);
        let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let [a, b, c, d] = clients.map(|client| client.parse::<IpAddr>().unwrap());
        let first = waits.admit(a).unwrap();
        let _second = waits.admit(b).unwrap();
        assert!(waits.admit(c).is_none());
        let _third = admin.admit(c).unwrap();
        assert!(admin.admit(d).is_none());
        assert_eq!((waits.count(), admin.count()), (3, 3));
        drop(first);
        assert!(admin.admit(d).is_none());
        assert!(waits.admit(d).is_some());
    }

    #[test]
    fn the_limits_hold_in_all_and_for_each_network_and_a_permit_comes_back() {
        let waits = Waits::new(&settings(4), 100);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let same_network: IpAddr = "2001:db8::2".parse().unwrap();
        let same_site: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        let first = waits.admit(one).unwrap();
        let _second = waits.admit(same_network).unwrap();
        assert!(waits.admit(one).is_none(), "of one /64");
        let _third = waits.admit(same_site).unwrap();
        let _fourth = waits.admit(other).unwrap();
        assert!(waits.admit(other).is_none(), "in all");
        assert_eq!(waits.count(), 4);
        drop(first);
        assert_eq!(waits.count(), 3);
        assert!(waits.admit(same_network).is_some());
        assert_eq!(waits.counts().by_network.len(), 3);
    }
}
