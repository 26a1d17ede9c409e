//! The program under a service manager:
//!
//! - a signal turns readiness off first, and a second signal ends the process at once
//! - a clock that is set back changes no answer, and the date does not run back
//! - a stop leaves no write-ahead log behind and exits with 0
//! - an inherited socket stays open after the server exits: a restart refuses no connection
//! - restarts with two inherited sockets refuse no connection and lose no acknowledged write
//! - a socket that cannot be used is named
//! - the service manager is notified of readiness, of a reload and of the stop
//! - the access log has a line for each request, without query or token
//! - the access log says how long a request waited for a change

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    app::{BOARD, TOKENS, eventually},
    chaos::inject::Injector,
    process::{Service, activated, get, in_shell, post, serve},
    waiting::CHANGES,
    wire::{self, Client},
};

const PAGE: &str = "/v1/leaderboard/recent?since_ran_at=2026-06-01T00:00:00Z";

fn post_row(address: &str) -> String {
    post(address, &wire::row("a"))
}

#[test]
fn a_signal_turns_readiness_off_first_and_a_second_signal_ends_the_process() {
    let folder = TempDir::new().unwrap();
    let delay = ["--shutdown-delay-ms", "600000"];
    let service = Service::start(serve(&folder.path().join("a.db"), &delay));
    assert!(get(&service.address, "/health/ready", "").starts_with("HTTP/1.1 200 "));
    service.signal("-TERM");
    eventually("readiness off", || {
        let answer = get(&service.address, "/health/ready", "");
        answer.starts_with("HTTP/1.1 503 ") && answer.contains(r#""process":"stopping""#)
    });
    assert!(get(&service.address, BOARD, "").starts_with("HTTP/1.1 200 "));
    assert!(get(&service.address, "/health/live", "").starts_with("HTTP/1.1 200 "));
    service.signal("-INT");
    let (code, said) = service.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("SIGTERM: stopping") && said.contains("a second signal"),
        "{said}"
    );
}

#[test]
fn a_clock_that_is_set_back_changes_no_answer_and_the_date_does_not_run_back() {
    let folder = TempDir::new().unwrap();
    let Some(injector) = Injector::new(folder.path()) else {
        return;
    };
    let database = folder.path().join("a.db");
    let mut command = serve(&database, &["--ttl-secs", "1"]);
    injector.apply(&mut command, &database);
    let service = Service::start(command);
    let ask = |path: &str| {
        let answer = get(&service.address, path, "");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        let date = head.lines().find(|line| line.starts_with("date: "));
        (body.to_owned(), date.unwrap().to_owned())
    };
    assert!(post_row(&service.address).starts_with("HTTP/1.1 200 "));
    let paths = [BOARD, PAGE, "/health/ready"];
    let before = paths.map(ask);
    let ahead = before.iter().map(|(_, date)| date.clone()).next_back();
    injector.shift_clock(-300 * 86_400);
    // The clock is read anew for each answer.
    for (path, (body, _)) in paths.iter().zip(&before) {
        let (again, date) = ask(path);
        assert_eq!((&again, Some(date)), (body, ahead.clone()), "{path}");
    }
    // Writes are accepted, the board is rebuilt after its TTL, and the process exits cleanly.
    let row = r#"{"id":"b","ran_at":"2026-06-08T00:00:00Z","eval_output_schema_version":5}"#;
    assert!(post(&service.address, row).starts_with("HTTP/1.1 200 "));
    assert!(ask(PAGE).0.contains(row));
    let builds = || {
        ask(BOARD);
        let metrics = ask("/metrics").0;
        let built = "publisher_board_builds_total{outcome=\"built\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(built));
        line.unwrap().parse::<u32>().unwrap()
    };
    let so_far = builds();
    eventually("a rebuild", || builds() > so_far);
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    let warned = "the wall clock was set back by 2592";
    assert_eq!(said.matches(warned).count(), 1, "{said}");
}

#[test]
fn a_stop_leaves_no_write_ahead_log_behind() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let service = Service::start(serve(&database, &[]));
    assert!(post_row(&service.address).starts_with("HTTP/1.1 200 "));
    let log = folder.path().join("a.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::metadata(&log).map_or(0, |log| log.len()), 0);
    // The database file alone contains everything.
    let copy = folder.path().join("copy.db");
    fs::copy(&database, &copy).unwrap();
    let connection = rusqlite::Connection::open(&copy).unwrap();
    let rows: u64 = connection
        .query_row("SELECT count(*) FROM eval_runs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
}

/// The same with a second socket for the admin routes, as file descriptor 4.
fn activated_twice(
    database: &Path,
    listener: &TcpListener,
    admin: &TcpListener,
    options: &[&str],
) -> Command {
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=cathedral-publisher.socket:admin \
                    exec "$0" "$@" 3<&0 4<&1 </dev/null >/dev/null"#;
    let mut shell = in_shell(script, &serve(database, options));
    shell
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(admin.try_clone().unwrap())));
    shell
}

#[test]
fn an_inherited_socket_stays_open_after_the_server_exits() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let first = Service::start(activated(&database, &listener, &[]));
    assert_eq!(first.address, address);
    assert!(get(&address, BOARD, "").starts_with("HTTP/1.1 200 "));
    first.signal("-TERM");
    assert_eq!(first.ended().0, Some(0));
    // No server runs: the kernel queues the connection, and the next server answers it.
    let mut between = TcpStream::connect(&address).unwrap();
    between
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(
        between,
        "GET {BOARD} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let second = Service::start(activated(&database, &listener, &[]));
    let mut answer = String::new();
    between.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    second.signal("-TERM");
    assert_eq!(second.ended().0, Some(0));
}

#[test]
fn restarts_with_two_inherited_sockets_refuse_no_connection_and_lose_no_acknowledged_write() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let [public, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [public_address, admin_address] =
        [&public, &admin].map(|listener| listener.local_addr().unwrap().to_string());
    let start = || Service::start(activated_twice(&database, &public, &admin, &[]));
    let mut service = start();
    assert_eq!(service.address, public_address);
    let metrics = |address: &str| get(address, "/metrics", "").starts_with("HTTP/1.1 200 ");
    assert!(metrics(&admin_address) && !metrics(&public_address));
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let write = |writer: u32| {
        let mut acknowledged = Vec::new();
        while !stop.load(SeqCst) {
            let id = format!("{writer}-{}", acknowledged.len());
            let answer = post(&admin_address, &wire::row(&id));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            acknowledged.push(id);
            count.fetch_add(1, SeqCst);
        }
        acknowledged
    };
    let (service, acknowledged) = thread::scope(|scope| {
        let writers = [0, 1, 2].map(|writer| scope.spawn(move || write(writer)));
        for _ in 0..3 {
            let so_far = count.load(SeqCst);
            eventually("some writes", || count.load(SeqCst) > so_far + 20);
            service.signal("-TERM");
            let (code, said) = service.ended();
            assert!(code == Some(0) && !said.contains("cut off"), "{said}");
            service = start();
        }
        stop.store(true, SeqCst);
        let written = writers.map(|writer| writer.join().unwrap());
        (
            service,
            written.into_iter().flatten().collect::<BTreeSet<String>>(),
        )
    });
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    let connection = rusqlite::Connection::open(&database).unwrap();
    let mut stored = connection.prepare("SELECT id FROM eval_runs").unwrap();
    let stored: BTreeSet<String> = stored
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(stored, acknowledged);
}

#[test]
fn a_socket_that_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let serve = serve(&folder.path().join("a.db"), &[]);
    for (script, reason) in [
        (
            r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3</dev/null"#,
            "socket 0 of LISTEN_FDS cannot be used",
        ),
        (
            r#"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b exec "$0" "$@" 3</dev/null"#,
            "LISTEN_FDNAMES does not have a name for each socket",
        ),
    ] {
        let output = in_shell(script, &serve).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_service_manager_is_notified_of_readiness_of_a_reload_and_of_the_stop() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let notified = || {
        let mut message = [0; 100];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut command = serve(&folder.path().join("a.db"), &[]);
    command.env("NOTIFY_SOCKET", &path);
    let service = Service::start(command);
    assert_eq!(notified().trim(), "READY=1");
    service.signal("-HUP");
    let reloading = notified();
    assert!(
        reloading.contains("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(notified().trim(), "READY=1");
    service.signal("-TERM");
    assert_eq!(notified().trim(), "STOPPING=1");
    assert_eq!(service.ended().0, Some(0));
}

#[test]
fn the_access_log_says_how_long_a_request_waited_for_a_change() {
    let folder = TempDir::new().unwrap();
    let options = ["--access-log", "all", "--log-format", "json"];
    let options = [&options[..], &["--wait-slot-secs", "1"]].concat();
    let service = Service::start(serve(&folder.path().join("a.db"), &options));
    let mut client = Client::connect(&service.address);
    let first = client.ask(wire::get(CHANGES, ""));
    let link = first.head.split_once("link: <").unwrap().1;
    let next = format!("{CHANGES}{}", link.split_once('>').unwrap().0);
    // The second one does not wait.
    client.send(wire::get(&next, "") + &wire::get(BOARD, ""));
    assert_eq!((client.answer().status, client.answer().status), (200, 200));
    // Memory does not answer this one.
    let second = client.ask(wire::get(CHANGES, ""));
    let link = second.head.split_once("link: <").unwrap().1;
    let next = format!("{CHANGES}{}", link.split_once('>').unwrap().0);
    let conditional = client.ask(wire::get(&next, "If-Match: *\r\n"));
    assert_eq!(conditional.status, 200);
    service.signal("-TERM");
    let (_, said) = service.ended();
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
    let waited: Vec<Option<u64>> = lines
        .filter(|line: &Value| line["target"] == "access")
        .map(|line| {
            assert!(line.get("waited_ms").is_none_or(Value::is_u64), "{line}");
            line["waited_ms"].as_u64()
        })
        .collect();
    assert_eq!(
        waited.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true, false, false, true],
        "{said}"
    );
    assert!(waited[1].unwrap() + waited[4].unwrap() >= 100, "{said}");
}

#[test]
fn the_access_log_has_a_line_for_each_request_without_query_or_token() {
    let folder = TempDir::new().unwrap();
    for format in ["json", "text"] {
        let options = ["--access-log", "all", "--log-format", format];
        let service = Service::start(serve(&folder.path().join(format), &options));
        let query = format!("{BOARD}?token=in-the-query");
        get(&service.address, &query, "X-Request-Id: mine/1\r\n");
        post_row(&service.address);
        service.signal("-TERM");
        let (code, said) = service.ended();
        assert_eq!(code, Some(0));
        assert!(
            !said.contains("in-the-query") && !said.contains(TOKENS[0]),
            "{said}"
        );
        if format == "text" {
            let line = said
                .lines()
                .find(|line| line.contains("request_id=mine/1"))
                .unwrap();
            for field in [
                "INFO access: answered",
                "client=127.0.0.1",
                "method=GET",
                "status=200",
            ] {
                assert!(line.contains(field), "{line}");
            }
            continue;
        }
        let lines: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let access: Vec<&Value> = lines
            .iter()
            .filter(|line| line["target"] == "access")
            .collect();
        assert_eq!(access.len(), 2, "{said}");
        assert_eq!(access[0]["request_id"], "mine/1");
        assert_eq!(
            (&access[0]["path"], &access[0]["status"]),
            (&BOARD.into(), &200.into())
        );
        assert!(access[0]["body_bytes"].as_u64().unwrap() > 50);
        assert_eq!(
            (&access[1]["method"], &access[1]["route"]),
            (&"POST".into(), &"admin".into())
        );
        assert_eq!(
            access[1]["request_id"].as_str().unwrap().len(),
            16,
            "an id is generated"
        );
    }
}
