//! The cache's machine, over arbitrary interleavings of request, expiry, success, failure, hang and
//! invalidation:
//!
//! - never two builds at once
//! - never a waiter forgotten, nor one answered twice or with a snapshot older than it needs
//! - never an older snapshot over a newer one
//! - never staleness that was noticed without a build running or scheduled
//! - retries wait one to ten seconds, and one warning is given per change of state

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Event {
    Request,
    ColdReader,
    Change,
    Write,
    Advance(u64),
    Succeed,
    /// An error or a panic: the actor reports them alike.
    Fail,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Request),
        2 => Just(Event::ColdReader),
        1 => Just(Event::Change),
        2 => Just(Event::Write),
        4 => (1_u64..40_000).prop_map(Event::Advance),
        4 => Just(Event::Succeed),
        3 => Just(Event::Fail),
    ]
}

/// What the world looks like to an observer of the machine.
struct World {
    machine: SingleFlight<u32>,
    now: Instant,
    token: Option<(BuildToken, u64)>,
    /// How often the database has changed.
    version: u64,
    published: Option<(u64, Instant)>,
    failing: bool,
    /// Unanswered waiters, each with the version that it needs.
    waiting: BTreeMap<u32, u64>,
    next_waiter: u32,
    last_failure: Option<Instant>,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = Settings {
            ttl: Duration::from_secs(30),
            rebuild_timeout: Duration::from_secs(5),
            max_waiting: 10_000,
        };
        Self {
            machine: SingleFlight::new(settings, fastrand::Rng::with_seed(seed)),
            now: Instant::now(),
            token: None,
            version: 0,
            published: None,
            failing: false,
            waiting: BTreeMap::new(),
            next_waiter: 0,
            last_failure: None,
        }
    }

    fn stale(&self) -> bool {
        self.published
            .is_none_or(|(version, until)| version < self.version || self.now >= until)
    }

    fn new_waiter(&mut self, needs: u64) -> u32 {
        self.next_waiter += 1;
        self.waiting.insert(self.next_waiter, needs);
        self.next_waiter
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Request => {
                let step = self.machine.refresh(self.now);
                self.observe(step, None);
                assert!(
                    !self.stale() || self.token.is_some() || self.machine.wake_at().is_some(),
                    "staleness was noticed, and nothing is running or scheduled"
                );
            }
            Event::ColdReader => {
                let waiter = self.new_waiter(0);
                let step = self.machine.wait(self.now, waiter);
                self.observe(step, None);
            }
            Event::Change => {
                self.version += 1;
                let step = self.machine.invalidate(self.now, None);
                self.observe(step, None);
                assert!(self.token.is_some() || self.machine.wake_at().is_some());
            }
            Event::Write => {
                self.version += 1;
                let waiter = self.new_waiter(self.version);
                let step = self.machine.invalidate(self.now, Some(waiter));
                self.observe(step, None);
            }
            Event::Advance(ms) => {
                let target = self.now + Duration::from_millis(ms);
                // As an alarm clock would: at every instant that the machine asked for.
                while let Some(at) = self.machine.wake_at().filter(|at| *at <= target) {
                    self.now = self.now.max(at);
                    let step = self.machine.woken(self.now);
                    self.observe(step, None);
                    assert!(self.machine.wake_at() != Some(at), "woken for nothing");
                }
                self.now = target;
            }
            Event::Succeed => self.finish(BuildOutcome::Built),
            Event::Fail => self.finish(BuildOutcome::Failed),
        }
        if !self.waiting.is_empty() {
            assert!(
                self.token.is_some(),
                "somebody waits, and no build is running"
            );
            assert!(
                self.machine.wake_at().is_some(),
                "somebody waits without a limit"
            );
        }
    }

    fn finish(&mut self, outcome: BuildOutcome) {
        if let Some((token, version)) = self.token.take() {
            if outcome == BuildOutcome::Failed {
                self.last_failure = Some(self.now);
            }
            let step = self.machine.finish(self.now, token, outcome);
            self.observe(step, (outcome == BuildOutcome::Built).then_some(version));
        }
    }

    fn observe(&mut self, step: Step<u32>, built: Option<u64>) {
        assert_eq!(
            step.publish.is_some(),
            built.is_some(),
            "publishes just what was built"
        );
        if let (Some(until), Some(version)) = (step.publish, built) {
            if let Some((before, _)) = self.published {
                assert!(version >= before, "an older snapshot over a newer one");
            }
            self.published = Some((version, until));
        }
        for (waiter, answer) in step.answers {
            let needs = self.waiting.remove(&waiter).expect("answered twice");
            match answer {
                Answer::Published => {
                    let (version, _) = self.published.expect("nothing is published");
                    assert!(
                        version >= needs,
                        "answered with a snapshot older than needed"
                    );
                }
                Answer::Unavailable { retry_after } => {
                    assert!(retry_after <= Duration::from_secs(10));
                }
            }
        }
        match step.change {
            Some(HealthChange::Failing) => assert!(!std::mem::replace(&mut self.failing, true)),
            Some(HealthChange::Recovered { failures }) => {
                assert!(failures > 0);
                assert!(std::mem::replace(&mut self.failing, false));
            }
            None => {}
        }
        if let Some(token) = step.start {
            assert!(self.token.is_none(), "two builds at once");
            if let Some(failed) = self.last_failure.take().filter(|_| self.failing) {
                let waited = self.now - failed;
                assert!(waited >= Duration::from_secs(1), "retried after {waited:?}");
            }
            self.token = Some((token, self.version));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn its_promises_hold_over_any_interleaving(
        seed: u64,
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut world = World::new(seed);
        for event in events {
            world.apply(event);
        }
        // Let everything succeed from here on: nobody may be left behind, nothing left stale.
        world.apply(Event::Request);
        for _ in 0..4 {
            world.apply(Event::Succeed);
            world.apply(Event::Advance(11_000));
            world.apply(Event::Request);
        }
        world.apply(Event::Succeed);
        prop_assert!(world.waiting.is_empty());
        prop_assert!(!world.stale());
        prop_assert!(!world.failing);
    }
}

#[test]
fn one_expiry_makes_one_build_whatever_the_number_of_requests() {
    let mut world = World::new(0);
    world.apply(Event::Request);
    world.apply(Event::Succeed);
    world.apply(Event::Request);
    assert!(world.token.is_none(), "fresh");
    world.apply(Event::Advance(30_000));
    for _ in 0..1000 {
        world.apply(Event::Request);
    }
    world.apply(Event::Succeed);
    assert!(world.token.is_none());
}

#[test]
fn a_build_that_began_before_a_write_does_not_satisfy_it() {
    let mut world = World::new(0);
    world.apply(Event::Request);
    world.apply(Event::Write);
    world.apply(Event::Succeed);
    assert_eq!(world.waiting.len(), 1, "the first build read too early");
    world.apply(Event::Succeed);
    assert!(world.waiting.is_empty());
    assert_eq!(world.published.unwrap().0, 1);
}

#[test]
fn an_overdue_build_keeps_its_token_and_is_published_when_it_ends_after_all() {
    let mut world = World::new(0);
    world.apply(Event::ColdReader);
    world.apply(Event::Advance(5_000));
    assert!(world.waiting.is_empty(), "the reader has been turned away");
    world.apply(Event::Advance(60_000));
    world.apply(Event::Request);
    assert!(world.failing);
    world.apply(Event::Succeed);
    assert!(world.published.is_some());
    assert!(!world.failing);
}

#[test]
fn retries_back_off_to_ten_seconds_at_the_most() {
    let mut world = World::new(7);
    world.apply(Event::Request);
    let mut waits = Vec::new();
    for _ in 0..10 {
        world.apply(Event::Fail);
        let wait = world.machine.wake_at().unwrap() - world.now;
        waits.push(wait);
        world.apply(Event::Advance(u64::try_from(wait.as_millis()).unwrap() + 1));
        assert!(world.token.is_some(), "the retry comes without a request");
    }
    assert!(waits[0] <= Duration::from_secs(2));
    assert!(waits[9] >= Duration::from_secs(5) && waits[9] <= Duration::from_secs(10));
    world.apply(Event::Succeed);
    world.apply(Event::Change);
    world.apply(Event::Fail);
    let wait = world.machine.wake_at().unwrap() - world.now;
    assert!(
        wait <= Duration::from_secs(2),
        "a success resets the back-off"
    );
}
