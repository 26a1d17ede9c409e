//! Three publishers behind nginx, as a client sees them:
//!
//! - publishers are killed, the primary is promoted: clients get every row once, and no client that has the board gets
//!   it again

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    fleet::{Fleet, stored},
    load, ms, promise, seconds, size,
};
use crate::{
    chaos::{items, server::bearer, writers::Writer},
    client::Connection,
    cluster::{Cluster, Replication, skipped},
    ports::free_port,
    store::LONG,
};

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const CODINGS: [&str; 4] = ["identity", "gzip", "br", "zstd"];

/// nginx with the configuration of scripts/deploy, in front of these publishers. Ends when dropped.
struct Nginx {
    process: Child,
    address: String,
}

impl Nginx {
    fn start(folder: &Path, publishers: &[String]) -> Option<Self> {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/deploy/nginx.conf");
        let address = format!("127.0.0.1:{}", free_port());
        let servers: Vec<String> = publishers
            .iter()
            .map(|it| format!("server {it} max_fails=0;"))
            .collect();
        let shipped = fs::read_to_string(shipped).unwrap();
        // Without its cache, as its head says: what is acknowledged must be seen at once.
        let is_cache = |line: &str| line.trim_start().starts_with("proxy_cache");
        let lines = shipped.lines().filter(|line| !is_cache(line));
        let mut lines: Vec<&str> = lines.collect();
        let publisher = lines
            .iter()
            .position(|line| line.contains("server 127.0.0.1:8080"));
        let servers = servers.join(" ");
        lines[publisher.unwrap()] = &servers;
        let site = lines.join("\n");
        assert!(site.contains("listen 8090;"));
        let site = site.replace("listen 8090;", &format!("listen {address};"));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
            .concat();
        let conf = format!(
            "daemon off; pid {0}/nginx.pid; error_log stderr warn; worker_processes 1;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off;\n{temporary}{site}}}\n",
            folder.display()
        );
        let path = folder.join("nginx.conf");
        fs::write(&path, conf).unwrap();
        let process = Command::new("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("nginx.log")).unwrap())
            .spawn()
            .ok()?;
        let nginx = Self { process, address };
        let begun = Instant::now();
        while TcpStream::connect(&nginx.address).is_err() {
            let log = || fs::read_to_string(folder.join("nginx.log"));
            assert!(begun.elapsed() < LONG, "{:?}", log());
            thread::sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it, unlike after SIGKILL.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.process.wait();
    }
}

/// Returns the status and the entity-tag of the board in a coding.
fn board(address: &str, coding: &str, tag: &str) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let condition = match tag {
        "" => String::new(),
        tag => format!("If-None-Match: {tag}\r\n"),
    };
    let request = format!(
        "GET {BOARD} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: {coding}\r\n{condition}\r\n"
    );
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.get(9..12).and_then(|it| it.parse().ok());
    let mut lines = answer.lines();
    let tag = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("etag").then(|| value.to_owned())
    });
    Ok((status.unwrap_or(0), tag.unwrap_or_default()))
}

#[test]
fn publishers_are_killed_and_the_primary_is_promoted_and_clients_notice_nothing() {
    let Some(primary) = Cluster::start(&[]) else {
        return;
    };
    let primary = Arc::new(primary);
    let database = primary.database();
    let standby = primary.standby(Replication::Synchronous);
    let fleet = Fleet::start(database.url_of(&[&primary, &standby]), 3, &[]);
    let folder = tempfile::TempDir::new().unwrap();
    let publishers = fleet.addresses.lock().unwrap().clone();
    let Some(nginx) = Nginx::start(folder.path(), &publishers) else {
        skipped("nginx is not installed: publishers behind it were not tested");
        return;
    };
    for number in 0..30 {
        let id = format!("1-0-{number}");
        let path = format!("/v1/admin/challenges/{id}");
        let challenge = items::challenge(&id, items::ACTIVE);
        let mut connection = Connection::open(&fleet.address(0)).unwrap();
        let put = connection.request("PUT", &path, &bearer(), challenge.as_bytes());
        assert_eq!(put.unwrap().0, 200);
    }
    let stored_first = stored(&database, &primary);
    let has_same = || {
        let boards = publishers
            .iter()
            .map(|it| board(it, "identity", "").unwrap().1);
        let mut boards: Vec<String> = boards.collect();
        boards.dedup();
        (boards.len() == 1).then_some(())
    };
    let all = crate::chaos::until(Duration::from_secs(20), has_same);
    assert!(all.is_some(), "the replicas have different boards");
    // Every coding is made in the background.
    let tags = CODINGS.map(|coding| {
        let made = || {
            let (status, tag) = board(&nginx.address, coding, "").unwrap();
            (status == 200 && (coding == "identity" || tag.contains(coding))).then_some(tag)
        };
        let tag = crate::chaos::until(Duration::from_secs(20), made);
        let log = || fs::read_to_string(folder.path().join("nginx.log"));
        tag.unwrap_or_else(|| panic!("{coding}: {:?}", log()))
    });

    let model = load::model(1, &stored_first);
    let mut pullers = load::pullers(3);
    // nginx gives each request to another publisher.
    *fleet.readable.lock().unwrap() = vec![nginx.address.clone()];
    let wanted = size(500, 10_000);
    let counts = Mutex::new([0_u32; 3]);
    let stop = &AtomicBool::new(false);
    let mut again = None;
    let mut kills = 0;
    let (begun, length) = (Instant::now(), seconds(8, 120));
    load::during(&fleet, &model, 0, &mut pullers, || {
        thread::scope(|scope| {
            let (model, addresses) = (&model, &fleet.addresses);
            // Challenges are left alone: no writer whose number is a multiple of eight.
            for number in (1..8).chain(9..16) {
                let writer = Writer {
                    model,
                    addresses,
                    number,
                    repeats: true,
                    stop,
                };
                scope.spawn(move || writer.run());
            }
            for client in 0..4 {
                let (counts, nginx, tags) = (&counts, &nginx, &tags);
                let pause = length / (wanted / 4);
                scope.spawn(move || {
                    for poll in 0..wanted / 4 {
                        let kind = (client + poll as usize) % 4;
                        let (coding, held) = (CODINGS[kind], &tags[kind]);
                        let status = board(&nginx.address, coding, held).map_or(0, |it| it.0);
                        let kind = match status {
                            304 => 0,
                            200 => 1,
                            _ => 2,
                        };
                        counts.lock().unwrap()[kind] += 1;
                        thread::sleep(pause / 2);
                    }
                });
            }
            let every = seconds(1, 10);
            while begun.elapsed() < length {
                thread::sleep(every / 2);
                fleet.kill(kills % 3);
                thread::sleep(Duration::from_millis(300));
                fleet.restart(kills % 3);
                kills += 1;
                if again.is_none() && begun.elapsed() > length / 2 {
                    primary.kill();
                    standby.promote();
                    again = fleet.writes_again(model, 0);
                }
                thread::sleep(every / 2);
            }
            stop.store(true, Relaxed);
        });
    });
    let stored = stored(&database, &standby);
    let faults = load::compare(&fleet, &model, &stored, &mut pullers);
    let (found, is_clean) = load::verdict(&faults);
    let [unchanged, full, failed] = *counts.lock().unwrap();
    let writes = model.acknowledgements();
    promise(
        "end",
        &format!(
            "3 publishers behind nginx, {kills} killed, 1 promotion; clients of since_seq, 304s"
        ),
        &format!(
            "{writes} acknowledged writes: {found}; writes {} after the promotion; {unchanged} x 304, {full} x 200, \
             {failed} failed",
            again.map_or("never".to_owned(), ms)
        ),
        is_clean && full == 0 && unchanged > wanted / 2 && again.is_some(),
    );
}
