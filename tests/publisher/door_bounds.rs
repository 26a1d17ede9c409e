//! What one connection may cost, in memory, time and turns:
//!
//! - pipelining without reading costs at most 64 kB a connection, whatever is asked
//! - an idle connection costs at most 4 kB, whatever it sent before
//! - a refused or unfinished body ends the connection within its time limit
//! - a long body that is refused is not read
//! - one flooding connection does not starve its worker
//! - the keep-alive time is what its option says, and 0 closes after one answer
//! - the second head is timed like the first
//! - a head is timed from its own first byte
//! - line ends do not keep a connection
//! - field names and targets of any length are answered with 431 and 414
//! - parser errors are JSON, counted, and not a herd of lines
//! - with few descriptors health, feed and writes still work
//! - a small limit of descriptors is shared, and one that is too small is refused
//! - what clients sent while the process was stopped is read when it goes on
//! - a panic in a handler is answered with 500, and only its connection closes

use std::{
    io::{ErrorKind, Read, Write},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use actix_web::web::block;
use socket2::SockRef;

use crate::{
    app::{BOARD, Data, FEED, eventually, settings},
    fragile::{self, FragileClock},
    process::{Service, in_shell, serve},
    wire::{Client, get, post, row},
};

fn start(data: &Data, options: &[&str]) -> Service {
    Service::start(serve(
        &data.path(),
        &[&["--workers", "1"], options].concat(),
    ))
}

/// The memory that a process has taken, in bytes, without the pages of its program.
fn memory_bytes(service: &Service) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", service.pid());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

/// How many connections the server knows, without the one that asks.
fn connections(service: &Service) -> u64 {
    metric(service, "publisher_http_connections ") - 1
}

fn metric(service: &Service, name: &str) -> u64 {
    let answer = Client::connect(&service.address).ask(get("/metrics", "Connection: close\r\n"));
    let text = String::from_utf8(answer.body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

#[test]
fn pipelining_without_reading_costs_at_most_64_kb_a_connection() {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let data = Data::sample();
    data.sample_runs(300, "2026-06-07T00:00:00Z");
    // A chunked body takes room for the longest one, and each 503 a line in a log that nobody reads here.
    let options = ["--send-timeout-secs", "600", "--max-write-mib", "1024"];
    let service = start(&data, &options);
    let page = format!("{FEED}?since_ran_at=2020-01-01T00:00:00Z&limit=300");
    let general = "TE: trailers\r\n";
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    let requests = [
        get(BOARD, ""),
        get(BOARD, general),
        get(BOARD, "If-None-Match: *\r\n"),
        get(BOARD, &long),
        get(&page, ""),
        get(&page, general),
        get("/metrics", ""),
        get("/openapi.json", ""),
        get("/nope", ""),
        get("/health", ""),
        post("Content-Length: 2\r\n") + "[]",
        post("Transfer-Encoding: chunked\r\n") + "2\r\n[]\r\n0\r\n\r\n",
    ];
    // What is made once for all.
    for request in &requests {
        Client::connect(&service.address).ask(request);
    }
    let each = 20;
    let before = memory_bytes(&service);
    let mut clients = Vec::new();
    for request in &requests {
        let much = request.repeat(400_000 / request.len() + 1);
        for _ in 0..each {
            let client = Client::connect_narrow(&service.address);
            // Until neither kernel takes more: the server reads no further.
            let pause = Some(Duration::from_millis(100));
            client.socket.set_write_timeout(pause).unwrap();
            let _ = (&client.socket).write_all(much.as_bytes());
            clients.push(client);
        }
    }
    // Another client that is answered again and again is proof that all others have had their turns.
    let mut other = Client::connect(&service.address);
    for _ in 0..20 {
        assert_eq!(other.ask(get("/health/live", "")).status, 200);
    }
    let grown = memory_bytes(&service).saturating_sub(before);
    let bytes = grown / clients.len() as u64;
    assert!(bytes <= 64 * 1024, "{bytes} bytes a connection");
}

#[test]
fn an_idle_connection_costs_at_most_4_kb_whatever_it_sent_before() {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    rlimit::increase_nofile_limit(8192).unwrap();
    let data = Data::sample();
    let options = ["--keep-alive-secs", "600", "--head-timeout-ms", "600000"];
    let service = start(&data, &options);
    let body = "x".repeat(8000);
    let requests = [
        String::new(),
        get(BOARD, "If-None-Match: *\r\n"),
        get("/health/live", ""),
        get("/health/live", "Content-Length: 8000\r\n") + &body,
        get(
            BOARD,
            &format!("If-None-Match: *\r\nX: {}\r\n", "y".repeat(20_000)),
        ),
    ];
    let open = |request: &str| {
        let mut client = Client::connect(&service.address);
        if !request.is_empty() {
            assert!(client.ask(request).status < 400);
        }
        client
    };
    for request in &requests {
        // What is taken once for all, and kept.
        drop((0..50).map(|_| open(request)).collect::<Vec<_>>());
        eventually("their end", || connections(&service) == 0);
        let before = memory_bytes(&service);
        let count = 1000;
        let clients: Vec<Client> = (0..count).map(|_| open(request)).collect();
        eventually("all connections", || connections(&service) == count);
        let bytes = memory_bytes(&service).saturating_sub(before) / count;
        assert!(
            bytes <= 4096,
            "{bytes} bytes a connection after {:?}",
            request.get(..80)
        );
        drop(clients);
    }
}

#[test]
fn a_refused_or_unfinished_body_ends_the_connection_within_its_time_limit() {
    let data = Data::sample();
    // Every other limit is so long that only the body's can end the connection in this test's time.
    let others = ["--head-timeout-ms", "600000", "--keep-alive-secs", "600"];
    let service = start(
        &data,
        &[&others[..], &["--body-timeout-ms", "300"]].concat(),
    );
    let unknown = |head: String| head.replacen("/v1/admin/eval-runs", "/nope", 1);
    let anonymous = |head: String| head.replacen("Bearer", "Basic", 1);
    let length = || post("Content-Length: 10\r\n") + "[1,";
    let chunked = || post("Transfer-Encoding: chunked\r\n") + "a\r\n[1,";
    let trailer = || post("Transfer-Encoding: chunked\r\n") + "2\r\n[]\r\n0\r\nX: y\r\n";
    for (request, status) in [
        (length(), 408),
        (chunked(), 408),
        (trailer(), 408),
        (anonymous(length()), 401),
        (anonymous(chunked()), 401),
        (unknown(length()), 404),
        (unknown(chunked()), 404),
        (get(BOARD, "Content-Length: 10\r\n") + "abc", 200),
        (
            get(BOARD, "Transfer-Encoding: chunked\r\n") + "a\r\nabc",
            200,
        ),
    ] {
        let mut client = Client::connect(&service.address);
        let answer = client.ask(&request);
        assert_eq!(answer.status, status, "{request}");
        // Its limit has passed: there is nothing left to wait for.
        assert!(status != 408 || answer.closes(), "{request}");
        client.assert_ends();
    }
    eventually("no connection", || connections(&service) == 0);
}

#[test]
fn a_long_body_that_is_refused_is_not_read() {
    let data = Data::sample();
    let service = start(&data, &[]);
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    for (lines, piece) in [
        ("Content-Length: 1000000000\r\n", chunk.clone()),
        ("Transfer-Encoding: chunked\r\n", chunk),
    ] {
        for token in ["Bearer", "Basic"] {
            let mut client = Client::connect(&service.address);
            client.send(post(lines).replacen("Bearer", token, 1));
            // Far more than the kernel buffers for a reader that does not read.
            let sent = (0..1000).try_for_each(|_| client.socket.write_all(piece.as_bytes()));
            let error = sent.expect_err("64 MB were read");
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ),
                "{error}"
            );
        }
    }
}

#[test]
fn one_flooding_connection_does_not_starve_its_worker() {
    let data = Data::sample();
    let service = start(&data, &[]);
    let request = get(BOARD, "If-None-Match: *\r\n");
    let mut flooder = Client::connect(&service.address);
    let answer_bytes = flooder.ask(&request).head.len() as u64;
    let mut sending = flooder.socket.try_clone().unwrap();
    let (stop, read) = (AtomicBool::new(false), AtomicU64::new(0));
    let asked = 50;
    thread::scope(|scope| {
        scope.spawn(|| {
            let much = request.repeat(2000);
            while sending.write_all(much.as_bytes()).is_ok() {}
        });
        scope.spawn(|| {
            let mut piece = [0; 64 * 1024];
            while let Ok(bytes @ 1..) = flooder.socket.read(&mut piece) {
                read.fetch_add(bytes as u64, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    break;
                }
            }
            flooder.socket.shutdown(std::net::Shutdown::Both).unwrap();
        });
        eventually("the flood", || {
            read.load(Ordering::SeqCst) > 100 * answer_bytes
        });
        let mut other = Client::connect(&service.address);
        let before = read.load(Ordering::SeqCst);
        for _ in 0..asked {
            assert_eq!(other.ask(&request).status, 304);
        }
        let flooded = (read.load(Ordering::SeqCst) - before) / answer_bytes;
        stop.store(true, Ordering::SeqCst);
        // A turn is one read of 8 kB, which holds about a hundred requests.
        assert!(flooded < asked * 5000, "{flooded} answers between {asked}");
    });
}

#[test]
fn the_keep_alive_time_is_what_its_option_says_and_0_closes_after_one_answer() {
    let data = Data::sample();
    let others = ["--head-timeout-ms", "600000", "--keep-alive-secs"];
    let service = start(&data, &[&others[..], &["2"]].concat());
    for lines in ["", "TE: trailers\r\n"] {
        let mut client = Client::connect(&service.address);
        assert!(!client.ask(get(BOARD, lines)).closes());
        let asked = Instant::now();
        assert!(!client.ask(get(BOARD, lines)).closes());
        client.assert_ends();
        assert!(asked.elapsed() > Duration::from_millis(1900));
    }
    let service = start(&data, &[&others[..], &["0"]].concat());
    for lines in ["", "TE: trailers\r\n"] {
        let mut client = Client::connect(&service.address);
        let answer = client.ask(get(BOARD, lines).repeat(3));
        assert_eq!(answer.status, 200);
        assert!(answer.closes());
        client.assert_ends();
    }
}

#[test]
fn the_second_head_is_timed_like_the_first() {
    let data = Data::sample();
    let service = start(
        &data,
        &["--head-timeout-ms", "200", "--keep-alive-secs", "600"],
    );
    for first in [
        String::new(),
        get(BOARD, ""),
        get(BOARD, "TE: trailers\r\n"),
        post("Content-Length: 2\r\n") + "[]",
    ] {
        for part in ["G", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let mut client = Client::connect(&service.address);
            client.send(first.clone() + part);
            if !first.is_empty() {
                assert_eq!(client.answer().status, 200);
            }
            let late = client.answer();
            late.assert_error(408);
            assert!(late.closes());
            client.assert_ends();
        }
    }
}

#[test]
fn a_head_is_timed_from_its_own_first_byte() {
    let data = Data::sample();
    let limit = Duration::from_secs(1);
    let service = start(&data, &["--head-timeout-ms", "1000"]);
    let request = get(BOARD, "If-None-Match: *\r\n");
    let (beginning, end) = request.split_at(20);
    let mut client = Client::connect(&service.address);
    client.send(beginning);
    // The end of each head comes with the beginning of the next one. On a busy machine a head may be late
    // by itself; then it proves nothing.
    let begun = Instant::now();
    let mut sent = Instant::now();
    while begun.elapsed() < 3 * limit {
        thread::sleep(limit / 4);
        let is_late = sent.elapsed() > limit / 2;
        client.send(format!("{end}{beginning}"));
        sent = Instant::now();
        let status = client.answer().status;
        if is_late {
            return;
        }
        assert_eq!(status, 304);
    }
}

#[test]
fn line_ends_do_not_keep_a_connection() {
    let data = Data::sample();
    let service = start(
        &data,
        &["--head-timeout-ms", "500", "--keep-alive-secs", "1"],
    );
    for first in ["", &get(BOARD, "If-None-Match: *\r\n")] {
        let mut client = Client::connect(&service.address);
        if !first.is_empty() {
            assert_eq!(client.ask(first).status, 304);
        }
        // A read that waits for so long is all the time between two line ends.
        let pause = Some(Duration::from_millis(50));
        client.socket.set_read_timeout(pause).unwrap();
        let is_open = |client: &mut Client| {
            let read = client.socket.read(&mut [0; 16]);
            client.socket.write_all(b"\r\n").is_ok()
                && read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        assert!((0..600).any(|_| !is_open(&mut client)), "it stays open");
        // Nor do so many that it is never waited for the next one.
        let mut client = Client::connect(&service.address);
        client.send(first);
        let begun = Instant::now();
        while client.socket.write_all(&b"\r\n".repeat(8000)).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it stays open");
        }
    }
}

#[test]
fn field_names_and_targets_of_any_length_are_answered_with_431_and_414() {
    let data = Data::sample();
    let widest = [
        "--max-target-bytes",
        "200000",
        "--max-header-bytes",
        "131072",
    ];
    for options in [&[][..], &widest] {
        let service = start(&data, options);
        for bytes in [
            9_000, 33_000, 65_533, 65_534, 65_535, 65_536, 70_000, 129_000, 140_000, 300_000,
        ] {
            let long = "x".repeat(bytes);
            for (request, refused) in [
                (get("/health", &format!("{long}: y\r\n")), 431),
                (get(BOARD, &format!("{long}: y\r\n")), 431),
                (get(BOARD, &format!("X: {long}\r\n")), 431),
                (get(&format!("/{long}"), ""), 414),
                (get(&format!("{BOARD}?{long}"), ""), 414),
            ] {
                let mut client = Client::connect(&service.address);
                // The server may refuse, and close, before it has read it all.
                let _ = client.socket.write_all(request.as_bytes());
                let Ok(answer) = client.try_answer(false) else {
                    continue;
                };
                let is_expected = [200, 404, refused].contains(&answer.status);
                assert!(is_expected, "{bytes}: {}", answer.head);
            }
        }
        assert_eq!(
            Client::connect(&service.address).ask(get(BOARD, "")).status,
            200
        );
        service.signal("-TERM");
        let (_, said) = service.ended();
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn parser_errors_are_json_counted_and_not_a_herd_of_lines() {
    let data = Data::sample();
    let service = start(&data, &[]);
    let begun = Instant::now();
    let invalid = [
        "nonsense\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\nX y\r\n\r\n",
        "\x16\x03\x01",
    ];
    for _ in 0..50 {
        for request in invalid {
            let mut client = Client::connect(&service.address);
            let answer = client.ask(request);
            answer.assert_error(400);
            assert!(answer.closes());
        }
    }
    let name = r#"publisher_http_requests_total{route="none",status="400"}"#;
    assert_eq!(metric(&service, name), 200);
    let seconds = begun.elapsed().as_secs() as usize;
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    let lines = said.matches("could not be read").count();
    assert!(
        (1..=10 * (1 + (seconds + 1) / 10)).contains(&lines),
        "{said}"
    );
    assert!(!said.contains("ERROR"), "{said}");
}

#[test]
fn with_few_descriptors_health_feed_and_writes_still_work() {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let data = Data::sample();
    let serve = serve(
        &data.path(),
        &["--workers", "1", "--head-timeout-ms", "600000"],
    );
    let service = Service::start(in_shell(r#"ulimit -n 200; exec "$0" "$@""#, &serve));
    let mut client = Client::connect(&service.address);
    assert_eq!(client.ask(get("/health", "")).status, 200);
    // More than fit: the rest waits in the kernel, for as long as these stay.
    let idle: Vec<Client> = (0..400)
        .map(|_| Client::connect(&service.address))
        .collect();
    for round in 0..20 {
        let row = row(&format!("row-{round}"));
        let request = post(&format!("Content-Length: {}\r\n", row.len())) + &row;
        assert_eq!(client.ask(request).status, 200);
        let page = format!(
            "{FEED}?since_ran_at=2020-01-01T00:00:00Z&limit={}",
            100 + round
        );
        let page = client.ask(get(&page, ""));
        assert_eq!(page.status, 200);
        assert!(String::from_utf8(page.body).unwrap().contains(&row));
        assert_eq!(client.ask(get("/health", "")).status, 200);
        assert_eq!(client.ask(get("/metrics", "")).status, 200);
    }
    drop(idle);
    assert_eq!(
        Client::connect(&service.address).ask(get(BOARD, "")).status,
        200
    );
}

#[test]
fn a_small_limit_of_descriptors_is_shared_and_one_that_is_too_small_is_refused() {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let data = Data::sample();
    data.sample_runs(100, "2026-06-07T00:00:00Z");
    let serve = serve(&data.path(), &["--workers", "1"]);
    let service = Service::start(in_shell(r#"ulimit -n 64; exec "$0" "$@""#, &serve));
    // All of them are open at the same time.
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(&service.address)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get(BOARD, "")).status, 200);
    }
    for (limit, client) in clients.iter_mut().enumerate() {
        let page = format!(
            "{FEED}?since_ran_at=2020-01-01T00:00:00Z&limit={}",
            limit + 1
        );
        client.send(get(&page, "") + &get("/health", "") + &get("/metrics", ""));
    }
    for client in &mut clients {
        for _ in 0..3 {
            assert_eq!(client.answer().status, 200);
        }
    }
    drop(clients);
    let refused = in_shell(r#"ulimit -n 20; exec "$0" "$@""#, &serve)
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let reason = "the limit of 20 file descriptors is too low";
    assert!(said.contains(reason) && said.lines().count() == 1, "{said}");
}

#[test]
fn what_clients_sent_while_the_process_was_stopped_is_read_when_it_goes_on() {
    let data = Data::sample();
    let limits = [
        "--head-timeout-ms",
        "2000",
        "--body-timeout-ms",
        "2000",
        "--keep-alive-secs",
        "2",
    ];
    let service = start(&data, &limits);
    let row = row("late");
    let mut clients = [(); 3].map(|()| Client::connect(&service.address));
    let [idle, head, body] = &mut clients;
    assert_eq!(idle.ask(get("/health/live", "")).status, 200);
    let expects = post(&format!(
        "Expect: 100-continue\r\nContent-Length: {}\r\n",
        row.len()
    ));
    assert_eq!(body.ask(expects).status, 100);
    head.send("GET /health/live HTTP/1.1\r\nHo");
    service.signal("-STOP");
    head.send("st: x\r\n\r\n");
    idle.send(get("/health/live", ""));
    body.send(row);
    // The time that passes for a stopped process is the machine's.
    thread::sleep(Duration::from_secs(4));
    service.signal("-CONT");
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    // The limits hold as before.
    let [_, head, _] = &mut clients;
    head.send("GET /");
    assert_eq!(head.answer().status, 408);
}

#[actix_web::test]
async fn a_panic_in_a_handler_is_answered_with_500_and_only_its_connection_closes() {
    let data = Data::sample();
    let mut settings = settings(&[]);
    settings.workers = Some(1);
    let clock = FragileClock::on_other_threads();
    let running = fragile::start(&data, settings, &clock).await;
    let address = running.addresses[0].to_string();
    let stopper = running.stopper();
    actix_web::rt::spawn(running.serve());
    block(move || {
        let general = get(BOARD, "TE: trailers\r\n");
        let (mut first, mut second) = (Client::connect(&address), Client::connect(&address));
        assert_eq!(first.ask(&general).status, 200);
        assert_eq!(second.ask(&general).status, 200);
        clock.arm(true);
        let answer = first.ask(general.clone() + &general);
        answer.assert_error(500);
        assert!(answer.closes());
        first.assert_ends();
        // Memory answers in the connection's own task: it ends, and nothing else does.
        let mut third = Client::connect(&address);
        third.send(get(BOARD, ""));
        third.assert_ends();
        clock.arm(false);
        for client in [&mut second, &mut Client::connect(&address)] {
            assert_eq!(client.ask(&general).status, 200);
            assert_eq!(client.ask(get(BOARD, "")).status, 200);
        }
        SockRef::from(&second.socket).set_linger(None).unwrap();
    })
    .await
    .unwrap();
    stopper.stop(false).await;
}
