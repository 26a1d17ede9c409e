//! Clients that pull the feed and the board, and check each item that they are served against what was sent.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    items,
    model::{Answer, At, Model, Sent},
};
use crate::client::Connection;

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_since_ran_at: Option<String>,
    next_since_id: Option<String>,
    merkle_epoch_latest: Option<u64>,
}

#[derive(Deserialize)]
struct Board {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    challenge_id: String,
}

/// All eval runs from a cursor on, and the greatest epoch of the last page.
pub struct Pulled {
    pub rows: HashMap<String, String>,
    pub latest: Option<u64>,
}

/// Pulls all pages from the first eval run of a round on; `None` if one gets 503.
pub fn pull(connection: &mut Connection, from_round: u32) -> io::Result<Option<Pulled>> {
    let mut rows = HashMap::new();
    let (mut ran_at, mut id) = (items::ran_at(from_round), String::new());
    loop {
        let path = format!("/v1/leaderboard/recent?since_ran_at={ran_at}&since_id={id}&limit=1000");
        let body = match connection.request("GET", &path, "", b"")? {
            (200, body) => body,
            (503, _) => return Ok(None),
            (status, _) => return Err(io::Error::other(format!("the feed: {status}"))),
        };
        let page: Page = serde_json::from_slice(&body)?;
        for item in page.items {
            let id = items::id_of(item.get()).unwrap_or_default().to_owned();
            if rows.insert(id, item.get().to_owned()).is_some() {
                return Err(io::Error::other("an eval run came twice in one pull"));
            }
        }
        let latest = page.merkle_epoch_latest;
        match (page.next_since_ran_at, page.next_since_id) {
            (Some(next_ran_at), Some(next_id)) => (ran_at, id) = (next_ran_at, next_id),
            _ => return Ok(Some(Pulled { rows, latest })),
        }
    }
}

/// Returns the ids of the challenges on the board; `None` for a 503.
pub fn board(connection: &mut Connection) -> io::Result<Option<HashSet<String>>> {
    match connection.request("GET", BOARD, "", b"")? {
        (200, body) => {
            let board: Board = serde_json::from_slice(&body)?;
            Ok(Some(
                board
                    .items
                    .into_iter()
                    .map(|item| item.challenge_id)
                    .collect(),
            ))
        }
        (503, _) => Ok(None),
        (status, _) => Err(io::Error::other(format!("the board: {status}"))),
    }
}

/// A client that reads until its server is gone.
pub struct Reader<'a> {
    pub model: &'a Model,
    pub address: &'a str,
    pub stop: &'a AtomicBool,
}

impl Reader<'_> {
    fn repeat(&self, read: impl Fn(&mut Connection) -> io::Result<()>) {
        let Ok(mut connection) = Connection::open(self.address) else {
            return;
        };
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(error) = read(&mut connection) {
                if matches!(
                    error.kind(),
                    io::ErrorKind::Other | io::ErrorKind::InvalidData
                ) {
                    self.model.other(error.to_string());
                }
                return;
            }
        }
    }

    /// Pulls the feed.
    pub fn feed(&self) {
        let model = self.model;
        self.repeat(|connection| {
            let latest = latest_epoch(model);
            let begun = model.now();
            let Some(pulled) = pull(connection, model.round)? else {
                return Ok(());
            };
            check_rows(model, begun, &pulled.rows);
            if model.is_undisturbed() {
                let acknowledged = model.acknowledged.lock().unwrap();
                for (due, id) in acknowledged.iter() {
                    if *due < begun && !pulled.rows.contains_key(id) {
                        model.lost(format!("{id} was acknowledged, and a later pull lacks it"));
                    }
                }
                drop(acknowledged);
                if pulled.latest < latest {
                    model.lost(format!("epoch {latest:?} is not shown"));
                }
            }
            Ok(())
        });
    }

    /// Pulls the board.
    pub fn board(&self) {
        let model = self.model;
        self.repeat(|connection| {
            let begun = model.now();
            let Some(board) = board(connection)? else {
                return Ok(());
            };
            let ended = model.now();
            let challenges = model.challenges.lock().unwrap();
            for id in &board {
                let sent = challenges.get(id);
                if !sent.is_some_and(|sent| sent.iter().any(|sent| sent.rank == items::ACTIVE)) {
                    model.unstored(format!(
                        "challenge {id} is on the board, and never was active"
                    ));
                }
            }
            if model.is_undisturbed() {
                for (id, sent) in challenges.iter() {
                    check_challenge(model, id, sent, (begun, ended), board.contains(id));
                }
            }
            Ok(())
        });
    }
}

/// The greatest epoch that was acknowledged.
fn latest_epoch(model: &Model) -> Option<u64> {
    let epochs = model.epochs.lock().unwrap();
    let acknowledged = epochs.iter().filter(|(key, sent)| {
        let is_read = sent.at == At::ZERO || **key % 1000 < u64::from(model.elsewhere);
        is_read && matches!(sent.answer, Answer::Acknowledged { .. })
    });
    acknowledged.map(|(key, _)| *key).max()
}

fn check_rows(model: &Model, begun: At, rows: &HashMap<String, String>) {
    let sent = model.rows.lock().unwrap();
    for (id, row) in rows {
        if !sent.contains_key(id) || *row != items::row(id) {
            model.unstored(format!("an eval run that was never sent: {row}"));
        }
    }
    drop(sent);
    let mut served = model.served.lock().unwrap();
    for id in rows.keys() {
        served.insert(id.clone(), begun);
    }
}

/// Checks that a challenge is on the board, or is not, if that is certain for a request of this span.
fn check_challenge(model: &Model, id: &str, sent: &[Sent], (begun, ended): (At, At), is_on: bool) {
    let seen_before = |sent: &&Sent| match sent.answer {
        Answer::Acknowledged { at, published } => published && at < begun,
        Answer::Unknown | Answer::Rejected => false,
    };
    let Some(least) = sent.iter().filter(seen_before).map(|sent| sent.rank).max() else {
        return;
    };
    if writer_of(id) >= model.elsewhere {
        return;
    }
    let most = sent
        .iter()
        .filter(|sent| sent.at < ended)
        .map(|sent| sent.rank)
        .max();
    if is_on && least > items::ACTIVE {
        model.unstored(format!("challenge {id} is over, and on the board"));
    }
    if !is_on && least == items::ACTIVE && most == Some(items::ACTIVE) {
        model.lost(format!("challenge {id} is active, and not on the board"));
    }
}

fn writer_of(id: &str) -> u32 {
    id.split('-')
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
