//! Connections:
//!
//! - no more are open than `--max-connections`, idle ones included, whatever the version of HTTP
//! - at that limit a client waits for its own connections, and opens no more
//! - clients are dealt to the addresses of a name in turn

#[cfg(target_os = "linux")]
use std::{collections::HashSet, fs, sync::atomic::AtomicBool};
use std::{
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{herd_of, http2, run, stub};

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn port(url: &str) -> u16 {
    url.trim_end_matches('/')
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Returns the local addresses of established connections to these ports, as the clients see them.
#[cfg(target_os = "linux")]
fn established(ports: &[u16]) -> HashSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let ends: Vec<String> = ports.iter().map(|port| format!(":{port:04X}")).collect();
    let rows = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, peer) = (columns.next()?, columns.next()?);
        let is_one = columns.next()? == "01" && ends.iter().any(|end| peer.ends_with(end));
        is_one.then(|| local.to_owned())
    });
    rows.collect()
}

#[cfg(target_os = "linux")]
#[test]
fn no_more_connections_are_open_than_allowed_idle_ones_included() {
    let http1 = || stub(|socket| socket.write_all(EMPTY));
    let all: [(&[&str], [String; 3]); 2] = [
        (&[], [http1(), http1(), http1()]),
        (&["--http2"], std::array::from_fn(|_| http2::answering())),
    ];
    for (version, urls) in all {
        let ports = urls.each_ref().map(|url| port(url));
        let over = AtomicBool::new(false);
        let targets: Vec<String> = urls.iter().map(|url| format!("1 {url}")).collect();
        let mut arguments = Vec::new();
        for target in &targets {
            arguments.extend(["--target", target]);
        }
        let options = "--clients 4 --interval-ms 50 --duration-secs 2 --max-connections 4 --threads 2 --timeout-ms 20000";
        arguments.extend(options.split(' '));
        arguments.extend(version);
        let (run, most) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut most = 0;
                while !over.load(Ordering::SeqCst) {
                    // The table is not read at one moment. What is in both was there between the two.
                    let (before, after) = (established(&ports), established(&ports));
                    most = most.max(before.intersection(&after).count());
                    thread::sleep(Duration::from_millis(1));
                }
                most
            });
            let run = actix_web::rt::System::new().block_on(run(&arguments));
            over.store(true, Ordering::SeqCst);
            (run, watch.join().unwrap())
        });
        assert!(run.is_clean(), "{version:?}: {:?}", run.pollers.failures);
        assert_eq!(run.pollers.answered, 160);
        // Each client has a connection to each server, if it may.
        assert!((2..=4).contains(&most), "{version:?}: {most}");
    }
}

/// Starts a server that responds after some milliseconds; returns its URL and the number of connections so far.
fn slow() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let opened = Arc::<AtomicUsize>::default();
    let accepted = Arc::clone(&opened);
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            accepted.fetch_add(1, Ordering::SeqCst);
            thread::spawn(|| {
                super::respond_to_all(socket, |socket| {
                    thread::sleep(Duration::from_millis(5));
                    socket.write_all(EMPTY)
                })
            });
        }
    });
    (url, opened)
}

#[actix_web::test]
async fn a_client_at_the_limit_waits_for_its_own_connections() {
    for threads in [1, 2] {
        let (url, opened) = slow();
        // Several times as many requests as the connections can carry.
        let options = format!(
            "--clients 4 --max-connections 4 --threads {threads} --rate 2000 --duration-secs 1 --timeout-ms 20000"
        );
        let run = herd_of(&url, &options).await;
        let opened = opened.load(Ordering::SeqCst);
        let seen = &run.pollers;
        // The first ones may be dealt unevenly, and with one more the run looks whether the server is there.
        assert!(opened <= 12, "{opened} connections, {seen:?}");
        assert!(seen.answered >= 60, "{seen:?}");
        assert!(seen.held_back_by.max_connections > 0, "{seen:?}");
    }
}

#[actix_web::test]
async fn clients_are_dealt_to_the_addresses_of_a_name_in_turn() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = match TcpListener::bind(("127.0.0.2", port)) {
        Ok(second) => second,
        Err(error) => return super::skipped(&format!("127.0.0.2: {error}")),
    };
    let count = |listener: TcpListener| {
        let (send, peers) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let send = send.clone();
                thread::spawn(move || {
                    super::respond_to_all(socket, |socket| socket.write_all(EMPTY)).unwrap();
                    let _ = send.send(());
                });
            }
        });
        peers
    };
    let (first, second) = (count(first), count(second));
    let options = format!(
        "--clients 6 --interval-ms 500 --jitter-percent 0 --duration-secs 1 --timeout-ms 20000 \
         --resolve herd.invalid:{port}:127.0.0.1,127.0.0.2"
    );
    let run = herd_of(&format!("http://herd.invalid:{port}/"), &options).await;
    assert!(run.is_clean(), "{:?}", run.pollers.failures);
    // Each client has a connection; the first address had one more, with which the run looked whether it is there.
    for (connections, expected) in [(first, 4), (second, 3)] {
        for number in 0..expected {
            let ended = connections.recv_timeout(Duration::from_secs(20));
            assert!(ended.is_ok(), "{number} of {expected}");
        }
        let more = connections.recv_timeout(Duration::from_millis(200));
        assert!(more.is_err(), "more than {expected}");
    }
}
