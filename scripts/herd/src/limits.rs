//! The limits of a run, and the part of them that a shard gets. The parts add up to the whole, so that no shard asks
//! another one on the path of a request.

use std::{cell::Cell, fmt, rc::Rc, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::sockets::Sockets;

/// Polls of a run that may be without an answer at the same time, those that wait for a connection included. Each takes
/// some kilobytes. There is room for more if more clients or connections are allowed.
const MOST_POLLS: u32 = 50_000;
/// Time whose requests may be sent at once.
const BURST: Duration = Duration::from_secs(1);

/// The part of the clients that one shard runs: every `shards`th one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Number of the shard, from 0.
    pub shard: u32,
    /// Number of shards.
    pub shards: u32,
    /// Clients of all shards together.
    pub clients: u32,
}

impl Part {
    /// Returns whether client `number` of the run, from 0, is one of this shard.
    pub(super) fn has(self, number: u32) -> bool {
        number % self.shards == self.shard
    }

    /// Returns how many of the first `clients` clients are of this shard.
    pub(super) fn of(self, clients: u32) -> u32 {
        (clients + self.shards - 1 - self.shard) / self.shards
    }

    /// Returns the clients of the shards before this one.
    fn before(self) -> u32 {
        let earlier = (0..self.shard).map(|shard| Self { shard, ..self });
        earlier.map(|part| part.of(self.clients)).sum()
    }

    /// Divides `whole` in the proportion of the clients. If `whole` is at least the number of clients, so is the part.
    fn share(self, whole: u32) -> u32 {
        let up_to = |clients: u32| {
            let clients = u64::from(clients);
            u64::from(whole) * clients / u64::from(self.clients.max(1))
        };
        let before = self.before();
        let share = up_to(before + self.of(self.clients)) - up_to(before);
        u32::try_from(share).unwrap_or(whole)
    }
}

/// A limit that a request may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// `--max-connections`.
    Connections,
    /// `--max-rate`.
    Rate,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "--max-connections",
            Self::Rate => "--max-rate",
        })
    }
}

/// What each limit of a run held back. The latencies contain that time, which is the generator's and not the server's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Requests that waited for `--max-connections`.
    pub max_connections: u64,
    /// Requests that waited for `--max-rate`, some of them after they had waited for `--max-connections`.
    pub max_rate: u64,
    /// Polls that were not sent, as too many polls had no answer.
    pub max_polls: u64,
}

impl HeldBack {
    /// Counts a request that this limit holds back.
    pub(super) fn count(&mut self, by: Limit) {
        *match by {
            Limit::Connections => &mut self.max_connections,
            Limit::Rate => &mut self.max_rate,
        } += 1;
    }

    /// Adds those of another shard.
    pub(super) fn merge(&mut self, other: Self) {
        self.max_connections += other.max_connections;
        self.max_rate += other.max_rate;
        self.max_polls += other.max_polls;
    }
}

/// Limits of all clients of a shard together.
pub(super) struct Limits {
    /// As many as polls may be without an answer.
    polls: Arc<Semaphore>,
    /// Time between two requests at the maximum rate.
    gap: Duration,
    /// Earliest time of the next request at that rate.
    next: Cell<Instant>,
    /// The open connections, idle ones included.
    pub sockets: Rc<Sockets>,
    /// End of the run: no retry starts after it.
    pub end: Instant,
}

impl Limits {
    /// The part of a run that is limited to `connections` connections and `rate` requests per second, until `end`.
    pub(super) fn new(
        part: Part,
        connections: u32,
        rate: u32,
        began: Instant,
        end: Instant,
    ) -> Self {
        let second = Duration::from_secs(1).as_nanos();
        let own = u128::from(part.of(part.clients).max(1));
        let gap = (second * u128::from(part.clients)).div_ceil(own * u128::from(rate.max(1)));
        let gap = Duration::from_nanos(u64::try_from(gap).unwrap_or(u64::MAX));
        let polls = MOST_POLLS.max(part.clients).max(connections);
        let connections = part.share(connections).max(1) as usize;
        Self {
            sockets: Rc::new(Sockets::new(connections, part.of(part.clients) as usize)),
            polls: Arc::new(Semaphore::new(part.share(polls) as usize)),
            gap,
            // Shards send one after the other, at the rate of the whole. The first second's worth may be sent at once.
            next: Cell::new(
                (began + Duration::from_secs(1) / rate.max(1) * part.shard)
                    .checked_sub(BURST.saturating_sub(gap))
                    .unwrap_or(began),
            ),
            end,
        }
    }

    /// Returns a permit that a poll holds until it ends; `None` if too many polls have no response yet.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.polls).try_acquire_owned().ok()
    }

    /// Returns when the next request may be sent, which takes its place: a leaky bucket of one second, and of one request
    /// at least.
    pub(super) fn reserve(&self, now: Instant) -> Instant {
        let saved = BURST.saturating_sub(self.gap);
        let next = self.next.get().max(now.checked_sub(saved).unwrap_or(now));
        self.next.set(next + self.gap);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(shards: u32, clients: u32) -> impl Iterator<Item = Part> {
        (0..shards).map(move |shard| Part {
            shard,
            shards,
            clients,
        })
    }

    #[test]
    fn every_client_is_of_one_shard_and_the_limits_add_up() {
        for (shards, clients, connections) in
            [(1, 1, 1), (2, 3, 3), (3, 7, 100), (4, 4, 4), (8, 65, 1024)]
        {
            let all = || parts(shards, clients);
            for number in 0..clients {
                assert_eq!(all().filter(|part| part.has(number)).count(), 1);
            }
            for part in all() {
                let own = (0..clients).filter(|number| part.has(*number)).count();
                assert_eq!(part.of(clients) as usize, own);
                assert!(part.share(connections) as usize >= own, "{part:?}");
            }
            let sum: u32 = all().map(|part| part.share(connections)).sum();
            assert_eq!(sum, connections);
        }
    }

    #[test]
    fn shards_together_send_no_more_than_the_rate_nor_after_a_pause_more_than_a_second_of_it() {
        for (shards, clients, rate) in [
            (1, 1, 1),
            (1, 5, 3),
            (2, 3, 2),
            (2, 64, 5),
            (3, 7, 50),
            (4, 9, 4),
        ] {
            let began = Instant::now();
            let end = began + Duration::from_secs(60);
            let limits: Vec<Limits> = parts(shards, clients)
                .map(|part| Limits::new(part, 100, rate, began, end))
                .collect();
            let case = format!("{shards} shards, {clients} clients, {rate}/s");
            // Everybody sends as soon as it may, for ten seconds.
            let sent = |from: Instant, for_secs: u64| {
                let until = from + Duration::from_secs(for_secs);
                let each = limits.iter().map(|limits| {
                    let times = std::iter::repeat_with(|| limits.reserve(from));
                    times.take_while(|at| *at < until).count() as u64
                });
                each.sum::<u64>()
            };
            let steady = sent(began, 10);
            let (rate, shards) = (u64::from(rate), u64::from(shards));
            // The first second's worth at once.
            assert!(steady <= 11 * rate, "{case}: {steady}");
            assert!(steady + shards >= 10 * rate, "{case}: {steady}");
            // At one moment after a long pause.
            let later = began + Duration::from_secs(50);
            let at_once = limits.iter().map(|limits| {
                let times = std::iter::repeat_with(|| limits.reserve(later));
                times.take_while(|at| *at <= later).count() as u64
            });
            let at_once: u64 = at_once.sum();
            assert!(at_once <= rate, "{case}: {at_once} at once");
        }
    }
}
