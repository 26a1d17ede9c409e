//! The rate limit of one client address.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

/// Limits the requests of each client, evenly over time (GCRA). All workers share it.
pub struct RateLimit {
    clients: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").finish_non_exhaustive()
    }
}

impl RateLimit {
    /// Allows `per_minute` requests a minute from one address, `burst` of them at once.
    pub fn new(per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            clients: DefaultKeyedRateLimiter::keyed(
                Quota::per_minute(per_minute).allow_burst(burst),
            ),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long the client should wait, if there were too many.
    pub fn admit(&self, client: IpAddr) -> Result<(), Duration> {
        let checked = self.clients.check_key(&network(client));
        checked.map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    /// Evicts clients that are idle. To be called from time to time.
    pub fn evict_idle(&self) {
        self.clients.retain_recent();
        self.clients.shrink_to_fit();
    }
}

/// Returns the network that one client has addresses of: with IPv6 a /64 (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}
