//! Clients that write until they are told to stop, each time at a server that they choose at random.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    items,
    model::{Answer, Model, Sent},
    server::bearer,
};
use crate::client::Connection;

/// A client that writes.
pub struct Writer<'a> {
    pub model: &'a Model,
    /// Servers that it may ask. Another one is chosen when a connection breaks.
    pub addresses: &'a Mutex<Vec<String>>,
    /// Its number: what it writes has keys of its own.
    pub number: u32,
    /// Whether it sends eval runs again, those whose outcome is unknown always, and other ones under the same id.
    pub repeats: bool,
    pub stop: &'a AtomicBool,
}

/// Eval runs of one request.
struct Rows {
    ids: Vec<String>,
    /// Whether they have been acknowledged.
    stored: bool,
}

impl Writer<'_> {
    /// Every eighth client writes challenges, another eighth epochs.
    pub fn run(&self) {
        let mut number = 0;
        let mut again = None;
        while !self.stop.load(Ordering::Relaxed) {
            let address = fastrand::choice(self.addresses.lock().unwrap().iter().cloned());
            let connection = address.and_then(|address| Connection::open(&address).ok());
            if let Some(mut connection) = connection {
                self.write(&mut connection, &mut number, &mut again);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Writes until the connection breaks.
    fn write(&self, connection: &mut Connection, number: &mut u64, again: &mut Option<Rows>) {
        let mut goes_on = true;
        // Now and then another server is chosen.
        while goes_on
            && !self.stop.load(Ordering::Relaxed)
            && (!self.repeats || fastrand::u8(..) > 2)
        {
            if let Some(rows) = again.take() {
                goes_on = self.repeat(connection, rows, again);
                continue;
            }
            *number += 1;
            goes_on = match self.number % 8 {
                0 => self.challenge(connection, *number),
                1 => self.epoch(connection, *number),
                _ => self.rows(connection, *number, again),
            };
        }
    }

    /// Sends a request. Returns false if the connection broke.
    fn send(
        &self,
        connection: &mut Connection,
        (method, path): (&str, &str),
        body: &str,
        answered: impl FnOnce(Answer),
    ) -> bool {
        match connection.request(method, path, &bearer(), body.as_bytes()) {
            Ok((200, body)) => {
                let published = !String::from_utf8_lossy(&body).contains("published");
                let at = self.model.now();
                answered(Answer::Acknowledged { at, published });
            }
            Ok((503, body)) => {
                if !String::from_utf8_lossy(&body).contains("unknown") {
                    answered(Answer::Rejected);
                }
                thread::sleep(Duration::from_millis(5));
            }
            Ok((status, answer)) => {
                let answer = String::from_utf8_lossy(&answer);
                self.model
                    .other(format!("{method} {path}: {status} {answer}"));
                return false;
            }
            Err(_) => return false,
        }
        true
    }

    fn sent(&self, rank: usize) -> Sent {
        Sent {
            at: self.model.now(),
            answer: Answer::Unknown,
            rank,
        }
    }

    fn rows(&self, connection: &mut Connection, number: u64, again: &mut Option<Rows>) -> bool {
        let round = self.model.round;
        let count = if fastrand::u8(..) < 8 { 20 } else { 1 };
        let ids: Vec<String> = (0..count)
            .map(|at| format!("{round}-{}-{number}-{at}", self.number))
            .collect();
        let sent = self.sent(0);
        let mut rows = self.model.rows.lock().unwrap();
        rows.extend(ids.iter().map(|id| (id.clone(), sent)));
        drop(rows);
        self.post(connection, ids, true, again)
    }

    /// Sends eval runs. A rejection says that they are not stored only if they were not sent before.
    fn post(
        &self,
        connection: &mut Connection,
        ids: Vec<String>,
        is_first: bool,
        again: &mut Option<Rows>,
    ) -> bool {
        let model = self.model;
        let body: Vec<String> = ids.iter().map(|id| items::row(id)).collect();
        let request = ("POST", "/v1/admin/eval-runs");
        let mut outcome = Answer::Unknown;
        let goes_on = self.send(connection, request, &body.join("\n"), |answer| {
            outcome = answer
        });
        match outcome {
            Answer::Acknowledged { at, .. } => {
                self.answered(&ids, outcome);
                if self.number < model.elsewhere {
                    let due = ids.iter().map(|id| (at, id.clone()));
                    model.acknowledged.lock().unwrap().extend(due);
                } else {
                    let mut elsewhere = model.acknowledged_elsewhere.lock().unwrap();
                    elsewhere.extend(ids.iter().cloned());
                }
                if self.repeats && fastrand::u8(..) < 16 {
                    *again = Some(Rows { ids, stored: true });
                }
            }
            Answer::Rejected if is_first => self.answered(&ids, outcome),
            Answer::Rejected | Answer::Unknown if self.repeats => {
                *again = Some(Rows { ids, stored: false });
            }
            Answer::Rejected | Answer::Unknown => {}
        }
        goes_on
    }

    fn answered(&self, ids: &[String], answer: Answer) {
        let mut rows = self.model.rows.lock().unwrap();
        for id in ids {
            rows.get_mut(id).unwrap().answer = answer;
        }
    }

    /// Sends eval runs again. If they are stored, nothing is inserted, and other ones under their ids are a conflict.
    fn repeat(&self, connection: &mut Connection, rows: Rows, again: &mut Option<Rows>) -> bool {
        if !rows.stored {
            return self.post(connection, rows.ids, false, again);
        }
        let is_conflict = fastrand::bool();
        let body: Vec<String> = rows
            .ids
            .iter()
            .map(|id| match is_conflict {
                true => items::row(id).replacen("1.0", "2.0", 1),
                false => items::row(id),
            })
            .collect();
        let request = ("POST", "/v1/admin/eval-runs");
        let answer =
            connection.request(request.0, request.1, &bearer(), body.join("\n").as_bytes());
        let (status, said) = match answer {
            Ok((status, said)) => (status, String::from_utf8_lossy(&said).into_owned()),
            Err(_) => return false,
        };
        let is_right = match status {
            200 => !is_conflict && said.contains("\"inserted\":0"),
            409 => is_conflict,
            503 => true,
            _ => false,
        };
        if !is_right {
            let ids = &rows.ids;
            let what = if is_conflict {
                "other eval runs"
            } else {
                "a repetition"
            };
            self.model
                .other(format!("{what} of {ids:?}: {status} {said}"));
        }
        is_right
    }

    fn challenge(&self, connection: &mut Connection, number: u64) -> bool {
        let challenges = &self.model.challenges;
        let (round, rank) = (self.model.round, (number as usize - 1) % 4);
        let id = format!("{round}-{}-{}", self.number, (number - 1) / 4);
        let sent = self.sent(rank);
        let mut all = challenges.lock().unwrap();
        let of_it = all.entry(id.clone()).or_default();
        of_it.push(sent);
        let index = of_it.len() - 1;
        drop(all);
        let path = format!("/v1/admin/challenges/{id}");
        let body = items::challenge(&id, rank);
        self.send(connection, ("PUT", &path), &body, |answer| {
            let mut all = challenges.lock().unwrap();
            all.get_mut(&id).unwrap()[index].answer = answer;
        })
    }

    fn epoch(&self, connection: &mut Connection, number: u64) -> bool {
        let epochs = &self.model.epochs;
        let epoch =
            u64::from(self.model.round) * 1_000_000 + number * 1000 + u64::from(self.number);
        epochs.lock().unwrap().insert(epoch, self.sent(0));
        let path = format!("/v1/admin/merkle-epochs/{epoch}");
        let body = items::epoch(epoch);
        self.send(connection, ("PUT", &path), &body, |answer| {
            epochs.lock().unwrap().get_mut(&epoch).unwrap().answer = answer;
        })
    }
}
