//! How far a request had come when it timed out:
//!
//! - each has its phase, in the first failure and in a count
//! - bytes of a body that is not whole count as received
//! - a request over HTTP/2 waits for no connection for ever, also if another one is never idle
//! - requests on a new connection wait for the number of streams that the server allows

use std::{convert::Infallible, net::TcpListener, thread, time::Duration};

use bytes::Bytes;
use herd::{course::Phase, failures::Reason};
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{
    herd_of,
    http2::{serve_counting, whole},
    run,
    strange::{Then, assert_sum, serve},
};

/// One poll that waits for a moment.
const ONE_POLL: &str = "--clients 1 --interval-ms 60000 --ramp-ms 0 --jitter-percent 0 -n 1 \
                        --timeout-ms 500 --on-failure give-up";

/// Starts a server that accepts connections and does nothing else; returns its host and port.
fn mute() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    address
}

#[actix_web::test]
async fn a_timeout_says_how_far_the_request_had_come() {
    let hang = |bytes: &[u8]| serve(vec![(bytes.to_vec(), Then::Hang)]);
    // The connection with which the run looks whether the server is there fills its queue.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&address.into()).unwrap();
    full.listen(0).unwrap();
    let full_at = full.local_addr().unwrap().as_socket().unwrap();
    let mute_url = || format!("http://{}/", mute());
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}";
    for (url, options, phase, detail) in [
        #[cfg(target_os = "linux")]
        (
            format!("http://{full_at}/"),
            "",
            Phase::Connection,
            "not connected",
        ),
        (
            format!("https://{}/", mute()),
            "--insecure",
            Phase::Tls,
            "no TLS handshake",
        ),
        (
            mute_url(),
            "",
            Phase::Response,
            "the response has not begun",
        ),
        (
            mute_url(),
            "--http2",
            Phase::Response,
            "the response has not begun",
        ),
        (
            mute_url(),
            "-X POST --body a",
            Phase::Response,
            "the response has not begun",
        ),
        (
            hang(b"HTTP/1.1 200 OK\r\nConte"),
            "",
            Phase::Head,
            "the head of the response is incomplete",
        ),
        (hang(half), "", Phase::Body, "incomplete after 2 bytes"),
    ] {
        let run = herd_of(&url, &format!("{ONE_POLL} {options}")).await;
        let role = &run.pollers;
        let phases: Vec<_> = role.timed_out_with.iter().collect();
        assert_eq!(phases, [(&phase, &1)], "{options}: {role:?}");
        let (reason, failed) = role.failures.iter().next().unwrap();
        assert_eq!(reason, Reason::TimedOut);
        assert!(failed.first.contains(detail), "{failed:?}");
        assert_eq!(role.body_bytes, 2 * u64::from(phase == Phase::Body));
        assert_eq!(role.unsent, u64::from(phase < Phase::Response), "{role:?}");
        assert_sum(&run, detail);
        let table = herd::table::table(&[run]);
        let row = format!("timed out: {phase}");
        assert!(table.lines().any(|line| line.starts_with(&row)), "{table}");
    }
}

#[actix_web::test]
async fn a_request_of_http_2_that_gets_no_stream_says_so() {
    // Answers the first request, and no other one.
    let (url, _) = serve_counting(
        |stream, number| match number {
            0 => whole(stream),
            _ => Vec::new(),
        },
        Then::Stay,
        Some(1),
    );
    let arguments = [
        &url,
        "--http2",
        "--clients=1",
        "--stage=hold 1s at 1/s",
        "--stage=burst 5",
        "--stage=hold 1s at 1/s",
        "--timeout-ms=700",
        "--on-failure=give-up",
    ];
    let run = run(&arguments).await;
    let role = &run.pollers;
    assert_eq!(role.answered, 1, "{role:?}");
    let with = |phase| role.timed_out_with.get(&phase).copied().unwrap_or(0);
    assert!(with(Phase::Stream) > 0, "{role:?}");
    assert!(with(Phase::Response) > 0, "{role:?}");
    assert_eq!(
        with(Phase::Stream) + with(Phase::Response),
        role.timeouts(),
        "{role:?}"
    );
    assert_sum(&run, "streams");
}

#[actix_web::test]
async fn a_connection_of_http_2_that_is_never_idle_makes_room_for_another_one() {
    // Each response takes longer than the time between two requests.
    let [first, second] = [(); 2].map(|()| slow(Duration::from_millis(300), None));
    let arguments = [
        "--target",
        &format!("1 {first}"),
        "--target",
        &format!("1 {second}"),
        "--http2",
        "--clients=1",
        "--max-connections=1",
        "--rate=20",
        "--duration-secs=4",
        "--timeout-ms=20000",
    ];
    let run = run(&arguments).await;
    let role = &run.pollers;
    assert!(run.is_clean(), "{role:?}");
    assert!(role.held_back_by.max_connections > 0, "{role:?}");
    // If one server had to wait for the end of the run, its polls would take seconds.
    assert!(role.latency.p90_ms.unwrap() < 2_000.0, "{role:?}");
}

#[actix_web::test]
async fn a_new_connection_of_http_2_waits_for_the_number_of_streams_before_it_opens_many() {
    let url = slow(Duration::from_millis(50), Some(1));
    let arguments = [
        &url,
        "--http2",
        "--clients=1",
        "--stage=burst 5",
        "--stage=hold 1s at 1/s",
        "--timeout-ms=20000",
        "--on-failure=give-up",
    ];
    let run = run(&arguments).await;
    // The server refuses further streams.
    assert!(run.is_clean(), "{:?}", run.pollers.failures);
}

/// Starts a server of HTTP/2 that answers each request after this time, and so many at once; returns its URL.
fn slow(wait: Duration, streams: Option<u32>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let service = service_fn(move |_| async move {
                    tokio::time::sleep(wait).await;
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                });
                let mut connection = http2::Builder::new(TokioExecutor::new());
                connection.max_concurrent_streams(streams);
                tokio::spawn(connection.serve_connection(TokioIo::new(socket), service));
            }
        });
    });
    url
}
