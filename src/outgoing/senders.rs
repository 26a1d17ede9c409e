//! The clients that are being sent a body, and which of them are cut off if others need its bytes.
//!
//! Bodies stay in memory until their last byte is accepted, so that clients which read slowly would use up the
//! [`ByteBudget`] for everybody. While bytes are short:
//!
//! - A sender must keep pace: [`PACE_BYTES_PER_SEC`] since it began, and all of its body within
//!   [`LONGEST_SECS`]. The ones furthest behind are cut off first.
//! - A client that has more than a quarter of the bytes, in several bodies, loses the bodies furthest behind to
//!   other clients, whatever its pace. It gains nothing from that itself.
//!
//! A body counts once, however many clients it is sent to, and goes only when all of them may be cut off.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use super::ByteBudget;

/// The pace of a client that is not cut off, if others need its bytes.
const PACE_BYTES_PER_SEC: usize = 64 * 1024;
/// How far behind its pace a client may be.
const PACE_SLACK: Duration = Duration::from_secs(1);
/// A longer body than this many seconds take at that pace has a higher pace.
const LONGEST_SECS: usize = 16;

/// All connections that a body is being sent on. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Senders {
    budget: ByteBudget,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    senders: BTreeMap<u64, Arc<Sender>>,
}

#[derive(Debug)]
struct Sender {
    client: IpAddr,
    /// Where the body is in memory, which tells bodies apart.
    body: usize,
    bytes: usize,
    begun: Instant,
    sent: AtomicUsize,
    is_cut_off: AtomicBool,
    waker: AtomicWaker,
}

/// A body that is being sent. Drop it after the body.
#[derive(Debug)]
pub struct Sending {
    senders: Senders,
    id: u64,
    sender: Arc<Sender>,
}

/// All senders of one body.
#[derive(Debug)]
struct Group {
    bytes: usize,
    /// `None` if there are several.
    client: Option<IpAddr>,
    /// When the last one of them falls behind its pace.
    slow_from: Instant,
    senders: Vec<Arc<Sender>>,
    is_cut_off: bool,
}

impl Senders {
    pub(crate) fn new(budget: ByteBudget) -> Self {
        Self {
            budget,
            state: Arc::default(),
        }
    }

    /// Notes that the body is being sent to the client from now on.
    pub(crate) fn begin(&self, client: IpAddr, body: &Bytes) -> Sending {
        let sender = Arc::new(Sender {
            client,
            body: body.as_ptr() as usize,
            bytes: body.len(),
            begun: Instant::now(),
            sent: AtomicUsize::new(0),
            is_cut_off: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.senders.insert(id, Arc::clone(&sender));
        drop(state);
        Sending {
            senders: self.clone(),
            id,
            sender,
        }
    }

    /// Cuts clients off until `bytes` are released soon, for a body that `client` asks for.
    pub(crate) fn cut_off(&self, client: IpAddr, bytes: usize, now: Instant) {
        let mut groups = self.groups();
        let max_share = self.budget.max_bytes() / 4;
        let mut shares: HashMap<IpAddr, (usize, usize)> = HashMap::new();
        for group in groups.iter().filter(|group| !group.is_cut_off) {
            if let Some(client) = group.client {
                let (bodies, share) = shares.entry(client).or_default();
                *bodies += 1;
                *share += group.bytes;
            }
        }
        let released = groups.iter().filter(|group| group.is_cut_off);
        let mut released: usize = released.map(|group| group.bytes).sum();
        while released < bytes {
            let has_too_much = |group: &Group| {
                let share = group.client.and_then(|client| shares.get(&client));
                share.is_some_and(|(bodies, share)| *bodies > 1 && *share > max_share)
            };
            let candidates = groups.iter_mut().filter(|group| !group.is_cut_off);
            let candidates = candidates.filter_map(|group| {
                let has_too_much = has_too_much(group);
                let may_go = group.slow_from <= now || has_too_much && group.client != Some(client);
                may_go.then_some((!has_too_much, group))
            });
            let first = candidates.min_by_key(|(is_fair, group)| (*is_fair, group.slow_from));
            let Some((_, group)) = first else {
                return;
            };
            group.cut_off();
            released += group.bytes;
            if let Some((bodies, share)) = group.client.and_then(|client| shares.get_mut(&client)) {
                *bodies -= 1;
                *share -= group.bytes;
            }
        }
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups: HashMap<usize, Group> = HashMap::new();
        for sender in self.lock().senders.values() {
            let slow_from = sender.slow_from();
            let group = groups.entry(sender.body).or_insert_with(|| Group {
                bytes: sender.bytes,
                client: Some(sender.client),
                slow_from,
                senders: Vec::new(),
                is_cut_off: true,
            });
            group.client = group.client.filter(|client| *client == sender.client);
            group.slow_from = group.slow_from.max(slow_from);
            group.is_cut_off &= sender.is_cut_off.load(Relaxed);
            group.senders.push(Arc::clone(sender));
        }
        groups.into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn cut_off(&mut self) {
        self.is_cut_off = true;
        for sender in &self.senders {
            sender.is_cut_off.store(true, Relaxed);
            sender.waker.wake();
        }
    }
}

impl Sender {
    fn slow_from(&self) -> Instant {
        let pace = PACE_BYTES_PER_SEC.max(self.bytes / LONGEST_SECS);
        let earned = self.sent.load(Relaxed) as f64 / pace as f64;
        self.begun + PACE_SLACK + Duration::from_secs_f64(earned)
    }
}

impl Sending {
    /// Notes how many bytes the client has accepted.
    pub fn sent(&self, bytes: usize) {
        self.sender.sent.store(bytes, Relaxed);
    }

    /// Ready when the client is cut off.
    pub fn poll_cut_off(&self, cx: &Context<'_>) -> Poll<()> {
        self.sender.waker.register(cx.waker());
        if self.sender.is_cut_off.load(Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.senders.lock().senders.remove(&self.id);
        self.senders.budget.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;
    const SECOND: Duration = Duration::from_secs(1);

    fn client(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    /// Begins one sending to each client, of bodies of so many bytes.
    fn sendings(senders: &Senders, clients: &[u8], bytes: usize) -> Vec<(Bytes, Sending)> {
        let begin = |number: &u8| {
            let body = senders.budget.charge(vec![0; bytes]);
            let sending = senders.begin(client(*number), &body);
            (body, sending)
        };
        clients.iter().map(begin).collect()
    }

    fn cut_off(sendings: &[(Bytes, Sending)]) -> Vec<usize> {
        let is_cut_off = |at: &usize| sendings[*at].1.sender.is_cut_off.load(Relaxed);
        (0..sendings.len()).filter(is_cut_off).collect()
    }

    #[test]
    fn those_furthest_behind_their_pace_are_cut_off_and_no_more_than_needed() {
        let senders = Senders::new(ByteBudget::new(1000 * KIB));
        let all = sendings(&senders, &[1, 2, 3, 4], 200 * KIB);
        let now = Instant::now();
        all[0].1.sent(130 * KIB);
        all[1].1.sent(30 * KIB);
        all[2].1.sent(10 * KIB);
        all[3].1.sent(20 * KIB);
        senders.cut_off(client(9), KIB, now);
        assert!(cut_off(&all).is_empty());
        senders.cut_off(client(9), KIB, now + 2 * SECOND);
        assert_eq!(cut_off(&all), [2]);
        // Its bytes will be released.
        senders.cut_off(client(9), 200 * KIB, now + 2 * SECOND);
        assert_eq!(cut_off(&all), [2]);
        senders.cut_off(client(9), 1000 * KIB, now + 2 * SECOND);
        assert_eq!(cut_off(&all), [1, 2, 3]);
        drop(all);
        assert!(senders.lock().senders.is_empty());
    }

    #[test]
    fn a_client_with_more_than_a_quarter_gives_way_to_others_only() {
        let senders = Senders::new(ByteBudget::new(1000 * KIB));
        let all = sendings(&senders, &[1, 1, 1, 2], 200 * KIB);
        let one_long = sendings(&senders, &[3], 600 * KIB);
        let now = Instant::now();
        all[0].1.sent(30 * KIB);
        senders.cut_off(client(1), 1000 * KIB, now);
        assert!(cut_off(&all).is_empty());
        senders.cut_off(client(2), 1000 * KIB, now);
        // One body is no more than its share.
        assert_eq!(cut_off(&all), [1, 2]);
        assert!(cut_off(&one_long).is_empty());
    }

    #[test]
    fn a_body_that_somebody_takes_at_pace_is_cut_off_for_nobody() {
        let senders = Senders::new(ByteBudget::new(1000 * KIB));
        let body = senders.budget.charge(vec![0; 500 * KIB]);
        let slow: Vec<_> = (1..9).map(|n| senders.begin(client(n), &body)).collect();
        let fast = senders.begin(client(9), &body);
        fast.sent(400 * KIB);
        let is_cut_off = || {
            slow.iter()
                .all(|sending| sending.sender.is_cut_off.load(Relaxed))
        };
        let now = Instant::now() + 2 * SECOND;
        senders.cut_off(client(9), KIB, now);
        assert!(!is_cut_off());
        drop(fast);
        senders.cut_off(client(9), KIB, now);
        assert!(is_cut_off());
    }
}
