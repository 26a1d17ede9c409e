//! Publishers of one database, each a process at an address that it keeps, and what is stored.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    process::Stdio,
    sync::{Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use crate::{
    chaos::{
        items,
        model::{Answer, Model, Sent, Stored},
        server::{Server, bearer, serve_at},
    },
    client::Connection,
    cluster::{Cluster, Database},
    ports::free_port,
    process::in_shell,
    replicas::publisher,
};

/// Ends the program when the input ends: that of the test process, however it ends.
const WITH_ITS_PARENT: &str = r#"exec 3<&0 </dev/null
    (cat <&3 >/dev/null; kill -9 $$) 2>/dev/null &
    exec 3<&-; exec "$0" "$@""#;

/// Publishers of one database.
pub struct Fleet {
    servers: Vec<Mutex<Server>>,
    /// Where clients write.
    pub addresses: Mutex<Vec<String>>,
    /// Where clients pull: those, and others.
    pub readable: Mutex<Vec<String>>,
    location: String,
    options: Vec<String>,
}

impl Fleet {
    /// Starts so many publishers, one after the other.
    pub fn start(location: impl AsRef<OsStr>, count: usize, options: &[&str]) -> Self {
        let location = location.as_ref().to_str().unwrap().to_owned();
        let options: Vec<String> = options.iter().map(|&it| it.to_owned()).collect();
        let mut fleet = Self {
            servers: Vec::new(),
            addresses: Mutex::default(),
            readable: Mutex::default(),
            location,
            options,
        };
        for _ in 0..count {
            let server = fleet.launch(&format!("127.0.0.1:{}", free_port()));
            fleet.addresses.lock().unwrap().push(server.address.clone());
            fleet.servers.push(Mutex::new(server));
        }
        *fleet.readable.get_mut().unwrap() = fleet.addresses.lock().unwrap().clone();
        fleet
    }

    fn launch(&self, address: &str) -> Server {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let serve = serve_at(address, publisher(), &self.location, &options);
        let mut command = in_shell(WITH_ITS_PARENT, &serve);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Server::try_start(&mut command)
            .unwrap_or_else(|log| panic!("a publisher does not start: {}", log.join("\n")))
    }

    pub fn len(&self) -> usize {
        self.servers.len()
    }

    pub fn server(&self, number: usize) -> MutexGuard<'_, Server> {
        self.servers[number].lock().unwrap()
    }

    pub fn address(&self, number: usize) -> String {
        self.server(number).address.clone()
    }

    /// Sends SIGKILL.
    pub fn kill(&self, number: usize) {
        self.server(number).kill();
    }

    /// Starts one that was killed at its address.
    pub fn restart(&self, number: usize) {
        let mut server = self.server(number);
        let next = self.launch(&server.address.clone());
        *server = next;
    }

    /// Lines of the logs that must not be there.
    pub fn faults(&self) -> Vec<String> {
        let all = (0..self.len()).flat_map(|number| self.server(number).faults());
        all.collect()
    }

    /// Sends eval runs to one publisher until they are acknowledged. Returns how long that takes.
    pub fn insist(
        &self,
        model: &Model,
        number: usize,
        ids: &[String],
        limit: Duration,
    ) -> Option<Duration> {
        let sent = Sent {
            at: model.now(),
            answer: Answer::Unknown,
            rank: 0,
        };
        let mut rows = model.rows.lock().unwrap();
        rows.extend(ids.iter().map(|id| (id.clone(), sent)));
        drop(rows);
        let body: Vec<String> = ids.iter().map(|id| items::row(id)).collect();
        let (body, address, begun) = (body.join("\n"), self.address(number), Instant::now());
        while !matches!(post(&address, &body), Ok((200, _))) {
            if begun.elapsed() > limit {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let (at, published) = (model.now(), true);
        for id in ids {
            let answer = Answer::Acknowledged { at, published };
            model.rows.lock().unwrap().get_mut(id).unwrap().answer = answer;
        }
        Some(begun.elapsed())
    }

    /// Waits until every publisher acknowledges a write. Returns how long that takes.
    pub fn writes_again(&self, model: &Model, name: usize) -> Option<Duration> {
        let begun = Instant::now();
        for number in 0..self.len() {
            let id = format!("{}-{}-{name}", model.round, 1000 + number);
            self.insist(model, number, &[id], Duration::from_secs(20))?;
        }
        Some(begun.elapsed())
    }
}

/// Posts eval runs on a connection of its own.
pub fn post(address: &str, rows: &str) -> io::Result<(u16, String)> {
    let path = "/v1/admin/eval-runs";
    let answer = Connection::open(address)?.request("POST", path, &bearer(), rows.as_bytes())?;
    Ok((answer.0, String::from_utf8_lossy(&answer.1).into_owned()))
}

/// Reads everything that is stored, at one of the servers that have the database.
pub fn stored(database: &Database, cluster: &Cluster) -> Stored {
    let query = |sql: &str| cluster.sql(&database.name, sql);
    let pairs = |text: String| -> Vec<(String, String)> {
        let pairs = text.lines().map(|line| line.split_once('|').unwrap());
        pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    let rows: HashMap<_, _> = pairs(query("SELECT id, body FROM eval_runs"))
        .into_iter()
        .collect();
    let challenges = pairs(query("SELECT challenge_id, status FROM challenges"));
    let rank = |status: &str| items::STATUSES.iter().position(|word| *word == status);
    let epochs = pairs(query("SELECT epoch, body FROM merkle_epochs"));
    Stored {
        rows,
        challenges: challenges
            .into_iter()
            .map(|(id, status)| (id, rank(&status).unwrap()))
            .collect(),
        epochs: epochs
            .into_iter()
            .map(|(epoch, body)| (epoch.parse().unwrap(), Some(body)))
            .collect(),
        lineage: query("SELECT id FROM lineages ORDER BY ordinal DESC LIMIT 1"),
    }
}
