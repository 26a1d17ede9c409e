//! Clients that follow `next_since_seq` for ever, each time at a server that they choose at random: every eval run
//! comes exactly once, through every kill.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    items,
    model::{Model, Stored},
    until,
};
use crate::client::Connection;

const LIMITS: [u16; 4] = [1, 7, 200, 1000];
/// How long a client may need to catch up when nobody writes.
const CATCH_UP: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_since_seq: String,
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
enum Pulled {
    Rows,
    /// The end of the feed.
    Nothing,
    /// 503: the server is behind the cursor, or overloaded.
    Later,
}

/// A client. It keeps its cursor, and what it has seen, from round to round.
pub struct Puller {
    cursor: String,
    seen: HashSet<String>,
    /// Servers that it may ask. Changed while it pulls.
    connections: HashMap<String, Connection>,
}

impl Puller {
    pub fn new() -> Self {
        Self {
            cursor: "0".to_owned(),
            seen: HashSet::new(),
            connections: HashMap::new(),
        }
    }

    /// Pulls until it is told to stop.
    pub fn run(&mut self, model: &Model, addresses: &Mutex<Vec<String>>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let address = fastrand::choice(addresses.lock().unwrap().iter().cloned());
            let pulled = address.map(|address| self.pull(model, &address));
            if !matches!(pulled, Some(Ok(Pulled::Rows))) {
                thread::sleep(Duration::from_millis(fastrand::u64(0..10)));
            }
        }
        self.connections.clear();
    }

    /// Asks for a page. A page that does not arrive whole is asked for again.
    fn pull(&mut self, model: &Model, address: &str) -> io::Result<Pulled> {
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => Connection::open(address)?,
        };
        let limit = fastrand::choice(LIMITS).unwrap_or(1);
        let cursor = &self.cursor;
        let path = format!("/v1/leaderboard/recent?since_seq={cursor}&limit={limit}");
        let answer = connection.request("GET", &path, "", b"")?;
        let body = match answer {
            (200, body) => body,
            (503, _) => return Ok(Pulled::Later),
            (status, body) => {
                let body = String::from_utf8_lossy(&body);
                model.other(format!("since_seq={cursor}: {status} {body}"));
                return Err(io::ErrorKind::InvalidData.into());
            }
        };
        self.connections.insert(address.to_owned(), connection);
        let page: Page = serde_json::from_slice(&body).unwrap();
        for row in &page.items {
            let id = items::id_of(row.get()).unwrap_or_default();
            if row.get() != items::row(id) {
                model.unstored(format!("an eval run that was never sent: {row}"));
            }
            if !self.seen.insert(id.to_owned()) {
                model.other(format!("since_seq={cursor}: {id} came twice"));
            }
        }
        self.cursor = page.next_since_seq;
        Ok(if page.items.is_empty() {
            Pulled::Nothing
        } else {
            Pulled::Rows
        })
    }

    /// Pulls to the end, when nobody writes: then it has seen everything that is stored.
    pub fn catch_up(&mut self, model: &Model, address: &str, stored: &Stored) {
        let ended = until(CATCH_UP, || match self.pull(model, address) {
            Ok(Pulled::Nothing) => {
                // Until the server has noticed what others wrote.
                let missing = stored.rows.keys().find(|id| !self.seen.contains(*id));
                missing.is_none().then_some(())
            }
            _ => None,
        });
        if ended.is_none() {
            let missing = stored.rows.keys().filter(|id| !self.seen.contains(*id));
            let missing: Vec<&String> = missing.take(3).collect();
            let count = stored.rows.len();
            let cursor = &self.cursor;
            model.lost(format!(
                "a client at since_seq={cursor} of {count} has missed {missing:?}"
            ));
        }
        self.forget(stored);
        self.connections.clear();
    }

    /// Forgets what is gone: it is not written again, or may come a second time.
    pub fn forget(&mut self, stored: &Stored) {
        self.seen.retain(|id| stored.rows.contains_key(id));
    }
}
