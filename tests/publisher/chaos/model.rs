//! What was sent, what was acknowledged, and when: hence what must, may and must not be stored.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::items;

/// Time since the round began.
pub type At = Duration;

/// One write.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub at: At,
    pub answer: Answer,
    /// The status that it gives to a challenge.
    pub rank: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// None, or one that says that the outcome is unknown.
    Unknown,
    /// 200, and since then every answer of this server shows it, if `published`.
    Acknowledged { at: At, published: bool },
    /// 503: nothing is stored.
    Rejected,
}

/// Whether an item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Must,
    May,
    Gone,
}

/// What takes away, during a round, what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A backup that was read in one span takes the place of the content in another one.
    Replaced { backup: (At, At), at: (At, At) },
    /// Eval runs and challenges of earlier rounds are deleted.
    Deleted { before_round: u32, at: (At, At) },
    /// The log is deleted, and what only it held: everything since `from`.
    Log { at: (At, At) },
}

impl Loss {
    /// Returns when it began and ended.
    pub fn span(self) -> (At, At) {
        match self {
            Self::Replaced { at, .. } | Self::Deleted { at, .. } | Self::Log { at } => at,
        }
    }
}

/// A round: what was there when it began, and what happened since.
pub struct Model {
    begun: Instant,
    pub round: u32,
    /// Clients with this number and greater ones write to another server than the one that is read.
    pub elsewhere: u32,
    pub rows: Mutex<HashMap<String, Sent>>,
    /// Eval runs that were acknowledged, and from when on every pull has them.
    pub acknowledged: Mutex<Vec<(At, String)>>,
    /// Eval runs that another process was acknowledged, and that the server has yet to notice.
    pub acknowledged_elsewhere: Mutex<Vec<String>>,
    /// Since when the server has shown nothing that was taken away; `None` if nobody looked.
    pub settled: Mutex<Option<At>>,
    pub challenges: Mutex<HashMap<String, Vec<Sent>>>,
    pub epochs: Mutex<HashMap<u64, Sent>>,
    /// Eval runs that were served, and when the last request for each began.
    pub served: Mutex<HashMap<String, At>>,
    pub faults: Mutex<Faults>,
    /// When something was begun that takes away what was acknowledged.
    pub disturbed: Mutex<Option<At>>,
}

/// What was found.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    /// Acknowledged, and not stored, or not served.
    pub lost: Vec<String>,
    /// Served and not stored, or not any more.
    pub unstored: Vec<String>,
    pub damaged: Vec<String>,
    /// Everything else: answers that must not be, processes that do not recover.
    pub others: Vec<String>,
}

/// What is stored.
#[derive(Debug, Default, Clone)]
pub struct Stored {
    pub rows: HashMap<String, String>,
    pub challenges: HashMap<String, usize>,
    pub epochs: HashMap<u64, Option<String>>,
    pub lineage: String,
}

impl Model {
    pub fn new(round: u32, stored: &Stored) -> Self {
        let there = |rank| Sent {
            at: At::ZERO,
            rank,
            answer: Answer::Acknowledged {
                at: At::ZERO,
                published: true,
            },
        };
        let rows = stored.rows.keys().map(|id| (id.clone(), there(0)));
        let challenges = stored.challenges.iter();
        let challenges = challenges.map(|(id, rank)| (id.clone(), vec![there(*rank)]));
        Self {
            begun: Instant::now(),
            round,
            elsewhere: u32::MAX,
            rows: Mutex::new(rows.collect()),
            acknowledged: Mutex::default(),
            acknowledged_elsewhere: Mutex::default(),
            settled: Mutex::default(),
            challenges: Mutex::new(challenges.collect()),
            epochs: Mutex::new(stored.epochs.keys().map(|key| (*key, there(0))).collect()),
            served: Mutex::default(),
            faults: Mutex::default(),
            disturbed: Mutex::default(),
        }
    }

    pub fn now(&self) -> At {
        self.begun.elapsed()
    }

    /// Returns whether nothing was taken away until now.
    pub fn is_undisturbed(&self) -> bool {
        self.disturbed.lock().unwrap().is_none()
    }

    pub fn disturb(&self) -> At {
        *self.disturbed.lock().unwrap().get_or_insert(self.now())
    }

    pub fn lost(&self, what: String) {
        self.faults.lock().unwrap().lost.push(what);
    }

    pub fn unstored(&self, what: String) {
        self.faults.lock().unwrap().unstored.push(what);
    }

    pub fn other(&self, what: String) {
        self.faults.lock().unwrap().others.push(what);
    }

    /// Returns how many writes of this round were acknowledged.
    pub fn acknowledgements(&self) -> u64 {
        let is_one =
            |sent: &&Sent| sent.at > At::ZERO && matches!(sent.answer, Answer::Acknowledged { .. });
        let rows = self.rows.lock().unwrap().values().filter(is_one).count();
        let challenges = self.challenges.lock().unwrap();
        let challenges = challenges.values().flatten().filter(is_one).count();
        let epochs = self.epochs.lock().unwrap().values().filter(is_one).count();
        (rows + challenges + epochs) as u64
    }
}

impl Sent {
    /// Returns whether this write is in the database after `loss`.
    pub fn expected(&self, loss: Option<Loss>) -> Expected {
        let acknowledged = match self.answer {
            Answer::Acknowledged { at, .. } => Some(at),
            Answer::Unknown => None,
            // A commit that finds its log gone may be saved by the stop.
            Answer::Rejected if matches!(loss, Some(Loss::Log { .. })) => return Expected::May,
            Answer::Rejected => return Expected::Gone,
        };
        let is_before = |time: At| acknowledged.is_some_and(|at| at < time);
        let kept = match acknowledged {
            Some(_) => Expected::Must,
            None => Expected::May,
        };
        match loss {
            None | Some(Loss::Deleted { .. }) => kept,
            Some(Loss::Replaced { at, .. } | Loss::Log { at }) if self.at > at.1 => kept,
            Some(Loss::Replaced { backup, .. }) if is_before(backup.0) => Expected::Must,
            Some(Loss::Replaced { backup, at }) if self.at > backup.1 && is_before(at.0) => {
                Expected::Gone
            }
            Some(Loss::Log { .. }) if self.at == At::ZERO => kept,
            Some(Loss::Replaced { .. } | Loss::Log { .. }) => Expected::May,
        }
    }
}

/// Returns whether `loss` deletes the item with this id.
pub fn is_deleted(id: &str, loss: Option<Loss>) -> bool {
    matches!(loss, Some(Loss::Deleted { before_round, .. }) if items::round_of(id) < before_round)
}
