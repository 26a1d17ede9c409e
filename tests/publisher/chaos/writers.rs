//! Clients that write until their server is gone.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    SLACK, items,
    model::{Answer, Model, Sent},
    server::bearer,
};
use crate::client::Connection;

/// A client that writes.
pub struct Writer<'a> {
    pub model: &'a Model,
    pub address: &'a str,
    /// Its number: what it writes has keys of its own.
    pub number: u32,
    /// Ends it, if the server does not.
    pub stop: &'a AtomicBool,
}

impl Writer<'_> {
    /// Writes until the connection breaks. Every eighth client writes challenges, another eighth epochs.
    pub fn run(&self) {
        let Ok(mut connection) = Connection::open(self.address) else {
            return;
        };
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let goes_on = match self.number % 8 {
                0 => self.challenge(&mut connection, number),
                1 => self.epoch(&mut connection, number),
                _ => self.rows(&mut connection, number),
            };
            if !goes_on {
                return;
            }
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

    fn rows(&self, connection: &mut Connection, number: u64) -> bool {
        let (model, round) = (self.model, self.model.round);
        let count = if fastrand::u8(..) < 8 { 20 } else { 1 };
        let ids: Vec<String> = (0..count)
            .map(|at| format!("{round}-{}-{number}-{at}", self.number))
            .collect();
        let body: Vec<String> = ids.iter().map(|id| items::row(id)).collect();
        let sent = self.sent(0);
        let mut rows = model.rows.lock().unwrap();
        rows.extend(ids.iter().map(|id| (id.clone(), sent)));
        drop(rows);
        let request = ("POST", "/v1/admin/eval-runs");
        self.send(connection, request, &body.join("\n"), |answer| {
            let mut rows = model.rows.lock().unwrap();
            for id in &ids {
                rows.get_mut(id).unwrap().answer = answer;
            }
            drop(rows);
            if let Answer::Acknowledged { at, .. } = answer {
                let is_read = self.number < model.elsewhere;
                let due = if is_read { at } else { at + SLACK };
                let ids = ids.iter().map(|id| (due, id.clone()));
                model.acknowledged.lock().unwrap().extend(ids);
            }
        })
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
