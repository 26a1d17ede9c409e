//! The rate limit of one client address.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

use super::Settings;
use crate::domain::clock::Clock;

/// How often idle clients are evicted.
const EVICT_EVERY: Duration = Duration::from_secs(60);

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
    /// Returns the limit, if one is set, and starts a task that keeps its memory bounded.
    pub fn launch(settings: &Settings, clock: Arc<dyn Clock>) -> Option<Arc<Self>> {
        let per_minute = settings.rate_limit?;
        let burst = settings.rate_limit_burst.unwrap_or(per_minute);
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        let rate_limit = Arc::new(Self {
            clients: DefaultKeyedRateLimiter::keyed(quota),
            clock: DefaultClock::default(),
        });
        let weak = Arc::downgrade(&rate_limit);
        actix_rt::spawn(async move {
            while let Some(rate_limit) = weak.upgrade() {
                rate_limit.evict_idle();
                drop(rate_limit);
                clock.sleep_until(clock.now() + EVICT_EVERY).await;
            }
        });
        Some(rate_limit)
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long the client should wait, if there were too many.
    pub fn admit(&self, client: IpAddr) -> Result<(), Duration> {
        let checked = self.clients.check_key(&network(client));
        checked.map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    fn evict_idle(&self) {
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
