//! How many requests may wait, in all and from one client address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Settings;
use crate::http::rate_limit::network_of;

/// The waiting requests of all workers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    max_per_address: usize,
    counts: Mutex<Counts>,
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
    /// The limits of these options; nobody waits yet.
    pub fn new(settings: &Settings) -> Self {
        Self(Arc::new(Shared {
            max: settings.max_waits,
            max_per_address: settings.max_waits_per_address,
            counts: Mutex::default(),
        }))
    }

    /// Returns how many requests wait.
    pub(in crate::http) fn count(&self) -> usize {
        self.counts().all
    }

    /// Lets a request of this client wait, unless too many wait already. Costs a short lock.
    pub(in crate::http) fn admit(&self, client: IpAddr) -> Option<WaitPermit> {
        let network = network_of(client);
        let mut counts = self.counts();
        let of_network = counts.by_network.get(&network).copied().unwrap_or(0);
        if counts.all >= self.0.max || of_network >= self.0.max_per_address {
            return None;
        }
        counts.all += 1;
        counts.by_network.insert(network, of_network + 1);
        drop(counts);
        Some(WaitPermit {
            waits: self.clone(),
            network,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing under this lock panics half-way through a change.
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        let mut counts = self.waits.counts();
        counts.all -= 1;
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

    #[test]
    fn the_limits_hold_in_all_and_for_each_network_and_a_permit_comes_back() {
        let waits = Waits::new(&Settings {
            max_waits: 3,
            max_waits_per_address: 2,
            wait_slot: Duration::from_secs(25),
            wait_jitter: Duration::ZERO,
        });
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let same_network: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        let first = waits.admit(one).unwrap();
        let _second = waits.admit(same_network).unwrap();
        assert!(waits.admit(one).is_none(), "of one /64");
        let _third = waits.admit(other).unwrap();
        assert!(waits.admit(other).is_none(), "in all");
        assert_eq!(waits.count(), 3);
        drop(first);
        assert_eq!(waits.count(), 2);
        assert!(waits.admit(same_network).is_some());
        assert_eq!(waits.counts().by_network.len(), 2);
    }
}
