//! The rate limit of one client address.
//!
//! Each client has a bucket that fills evenly (GCRA: one number, the time at which it would be full again).
//! An IPv6 client has three, because one owner may have addresses of many networks: that of its /64, a 16
//! times larger one of its /48, and a 256 times larger one of its /32.
//!
//! The buckets are in a table of fixed size, a count-min sketch: each key has one cell in each of four rows,
//! at places that a secret decides, and its value is the least of the four. So memory is bounded however many
//! addresses an attacker has, and nothing is ever evicted: no client gets a fresh bucket by filling the table.
//! A client shares all its four cells with clients above their rate only if they are very many: with
//! 10,000 such clients, one in 2,500 others is limited too early.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use smallvec::{SmallVec, smallvec};

use super::Settings;
use crate::domain::clock::Clock;

const ROWS: usize = 4;
/// Cells of a row: as many as 16 bits of a hash tell apart. Together the rows have 2 MiB.
const CELLS: usize = 1 << 16;
/// The prefixes of an IPv6 address that have a bucket each, and how much larger it is than one client's.
const LEVELS: [(u32, u64); 3] = [(64, 1), (48, 16), (32, 256)];
const NANOS_PER_MINUTE: u64 = 60_000_000_000;

/// Limits the requests of each client, evenly over time. All workers share it; it takes no lock.
pub struct RateLimit {
    /// For each cell the time when its buckets are full again, in nanoseconds since the start.
    cells: Box<[AtomicU64]>,
    secret: RandomState,
    clock: Arc<dyn Clock>,
    start: Instant,
    /// How long one request takes to be regained.
    interval_nanos: u64,
    /// How long a whole bucket takes; the same on every level.
    burst_nanos: u64,
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").finish_non_exhaustive()
    }
}

/// One bucket of a request: its cells, and how long the request takes to be regained there.
struct Bucket {
    cells: [usize; ROWS],
    cost_nanos: u64,
}

impl RateLimit {
    /// Returns the limit, if one is set.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Option<Arc<Self>> {
        let per_minute = settings.rate_limit?;
        let burst = settings.rate_limit_burst.unwrap_or(per_minute);
        let interval_nanos = (NANOS_PER_MINUTE / u64::from(per_minute.get())).max(1);
        Some(Arc::new(Self {
            cells: (0..ROWS * CELLS).map(|_| AtomicU64::new(0)).collect(),
            secret: RandomState::new(),
            start: clock.now(),
            clock,
            interval_nanos,
            burst_nanos: interval_nanos.saturating_mul(burst.get().into()),
        }))
    }

    /// Counts a request, unless it is refused.
    ///
    /// # Errors
    /// How long the client should wait, if there were too many.
    pub fn admit(&self, client: IpAddr) -> Result<(), Duration> {
        let since = self.clock.now().saturating_duration_since(self.start);
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let buckets = self.buckets(client);
        // All of them before any: a refused request counts nowhere.
        for bucket in &buckets {
            self.full_at(bucket, now)?;
        }
        for bucket in &buckets {
            self.take(bucket, now)?;
        }
        Ok(())
    }

    fn buckets(&self, client: IpAddr) -> SmallVec<[Bucket; 3]> {
        match embedded_ipv4(client) {
            IpAddr::V4(address) => smallvec![self.bucket(0, address.to_bits().into(), 1)],
            IpAddr::V6(address) => {
                let levels = LEVELS.iter();
                let network = |bits: u32| address.to_bits() >> (128 - bits);
                let bucket =
                    |(bits, larger): &(u32, u64)| self.bucket(*bits, network(*bits), *larger);
                levels.map(bucket).collect()
            }
        }
    }

    fn bucket(&self, bits: u32, network: u128, larger: u64) -> Bucket {
        let hash = self.secret.hash_one((bits, network));
        let cell = |row: usize| row * CELLS + (hash >> (16 * row)) as usize % CELLS;
        Bucket {
            cells: std::array::from_fn(cell),
            cost_nanos: (self.interval_nanos / larger).max(1),
        }
    }

    /// Returns the cell that decides, its value, and when the bucket is full again after this request.
    fn full_at(&self, bucket: &Bucket, now: u64) -> Result<(&AtomicU64, u64, u64), Duration> {
        let cells = bucket.cells.iter().map(|cell| &self.cells[*cell]);
        let least = cells
            .map(|cell| (cell, cell.load(Relaxed)))
            .min_by_key(|(_, value)| *value);
        // There are four.
        let (cell, value) = least.unwrap_or((&self.cells[0], 0));
        let full_at = value.max(now).saturating_add(bucket.cost_nanos);
        match full_at.saturating_sub(now.saturating_add(self.burst_nanos)) {
            0 => Ok((cell, value, full_at)),
            wait => Err(Duration::from_nanos(wait)),
        }
    }

    fn take(&self, bucket: &Bucket, now: u64) -> Result<(), Duration> {
        loop {
            let (cell, value, full_at) = self.full_at(bucket, now)?;
            // Fails if another worker was faster, so that no two requests are counted as one.
            let taken = cell.compare_exchange_weak(value, full_at, Relaxed, Relaxed);
            if taken.is_ok() {
                for cell in bucket.cells {
                    self.cells[cell].fetch_max(full_at, Relaxed);
                }
                return Ok(());
            }
        }
    }
}

/// The address or network that counts as one client where clients share memory: an IPv4 address, or a /48, which is
/// what one owner of IPv6 addresses commonly has (RFC 6177).
pub(super) fn site_of(client: IpAddr) -> IpAddr {
    network_of(client, 48)
}

/// The address or network of one client as options mean it: an IPv4 address, or a /64.
pub(super) fn subnet_of(client: IpAddr) -> IpAddr {
    network_of(client, 64)
}

fn network_of(client: IpAddr, bits: u32) -> IpAddr {
    match embedded_ipv4(client) {
        IpAddr::V6(address) => {
            let host_bits = 128 - bits;
            Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The IPv4 address in an address of the NAT64 prefix `64:ff9b::/96` (RFC 6052 §2.1), behind which all IPv4
/// clients would be one /64; other addresses as they are.
fn embedded_ipv4(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
            }
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::num::NonZeroU32;

    use clap::Parser as _;

    use super::*;
    use crate::domain::clock::ManualClock;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn limit(per_minute: u32, burst: u32) -> (Arc<RateLimit>, ManualClock) {
        let mut settings = Cli::parse_from(["test"]).settings;
        settings.rate_limit = NonZeroU32::new(per_minute);
        settings.rate_limit_burst = NonZeroU32::new(burst);
        let clock = ManualClock::default();
        let limit = RateLimit::new(&settings, Arc::new(clock.clone()));
        (limit.unwrap(), clock)
    }

    /// How many of so many requests, one from each address, are admitted.
    fn admitted(limit: &RateLimit, addresses: impl Iterator<Item = IpAddr>) -> usize {
        let is_admitted = |address: &IpAddr| limit.admit(*address).is_ok();
        addresses.filter(is_admitted).count()
    }

    fn v6(network: u64) -> IpAddr {
        std::net::Ipv6Addr::from_bits(u128::from(network) << 64 | 1).into()
    }

    const BASE: u64 = 0x2001_0db8_0000_0000;

    #[test]
    fn a_bucket_holds_its_burst_and_is_regained_evenly() {
        let (limit, clock) = limit(60, 3);
        let client = IpAddr::from([192, 0, 2, 1]);
        let ask = |times: usize| admitted(&limit, std::iter::repeat_n(client, times));
        assert_eq!(ask(10), 3);
        assert_eq!(limit.admit(client), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_millis(999));
        assert_eq!(ask(10), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(ask(10), 1);
        clock.advance(Duration::from_secs(600));
        assert_eq!(ask(10), 3);
        assert!(limit.admit(IpAddr::from([192, 0, 2, 2])).is_ok());
    }

    #[test]
    fn the_networks_of_a_48_share_a_larger_bucket_and_those_of_a_32_too() {
        let (limit, _) = limit(60, 3);
        let of_a_64 = (0..100).map(|host| {
            let IpAddr::V6(address) = v6(BASE) else {
                return v6(BASE);
            };
            IpAddr::from(std::net::Ipv6Addr::from_bits(address.to_bits() + host))
        });
        assert_eq!(admitted(&limit, of_a_64), 3);
        // All of the 65,536 networks of one /48, of which the first has used its three.
        let of_a_48 = (1..0x10000).map(|network| v6(BASE + network));
        assert_eq!(admitted(&limit, of_a_48), 3 * 16 - 3);
        // One network of each of the 65,536 /48 of one /32.
        let of_a_32 = (1..0x10000).map(|network| v6(BASE + (network << 16)));
        assert_eq!(admitted(&limit, of_a_32), 3 * 256 - 3 * 16);
        assert!(limit.admit(v6(BASE + (1 << 32))).is_ok());
    }

    #[test]
    fn a_refused_request_counts_nowhere() {
        let (limit, clock) = limit(60, 1);
        assert_eq!(admitted(&limit, (0..1000).map(|_| v6(BASE))), 1);
        // The /48 has lost one of its 16 only.
        assert_eq!(admitted(&limit, (1..100).map(|n| v6(BASE + n))), 15);
        clock.advance(Duration::from_secs(1));
        assert_eq!(admitted(&limit, (1..100).map(|n| v6(BASE + n))), 16);
    }

    #[test]
    fn no_number_of_addresses_resets_a_bucket_or_costs_memory() {
        let (limit, _) = limit(60, 1);
        let attacker = IpAddr::from([198, 51, 100, 1]);
        assert!(limit.admit(attacker).is_ok());
        let many = (0..300_000_u32).map(|bits| Ipv4Addr::from_bits(0x0100_0000 + bits).into());
        let admitted_once = admitted(&limit, many.clone());
        assert!(admitted_once <= 300_000);
        assert!(limit.admit(attacker).is_err(), "the table forgot a client");
        assert_eq!(admitted(&limit, many), 0, "the table forgot clients");
        assert_eq!(limit.cells.len(), ROWS * CELLS);
    }

    #[test]
    fn clients_above_their_rate_do_not_limit_others() {
        let (limit, _) = limit(60, 2);
        for attacker in 0..500_u32 {
            let address = Ipv4Addr::from_bits(0x0100_0000 + attacker);
            admitted(&limit, std::iter::repeat_n(address.into(), 10));
        }
        // Each is limited with a probability of (500 / 65,536)^4, which is 3e-9.
        let honest = (0..100_u32).map(|n| Ipv4Addr::from_bits(0x0200_0000 + n).into());
        assert_eq!(admitted(&limit, honest), 100);
    }

    #[test]
    fn ipv4_clients_behind_nat64_are_limited_one_by_one() {
        let (limit, _) = limit(60, 1);
        let behind = |text: &str| limit.admit(text.parse().unwrap()).is_ok();
        assert!(behind("64:ff9b::192.0.2.1"));
        assert!(behind("64:ff9b::192.0.2.2"));
        assert!(!behind("192.0.2.1"));
    }

    #[test]
    fn extreme_rates_are_no_overflow() {
        for (per_minute, burst) in [(1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            let (limit, clock) = limit(per_minute, burst);
            assert!(limit.admit(v6(BASE)).is_ok());
            clock.advance(Duration::from_secs(1 << 33));
            assert!(limit.admit(v6(BASE)).is_ok());
        }
    }
}
