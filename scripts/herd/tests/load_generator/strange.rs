//! Strange servers: what each sends, byte by byte, and what the results say of it. With `-- --nocapture` the table is
//! printed.
//!
//! - a response counts as answered if and only if it is whole, by RFC 9112 §6.3, and its status is 2xx or 304
//! - everything else has its reason
//! - attempts = answered + failed by reason + sent again + in flight at the end

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use herd::{
    failures::Reason,
    run::{Role, Run},
};

use super::{EMPTY, herd_of, skipped};

/// What a server does after its bytes.
#[derive(Clone, Copy)]
pub enum Then {
    /// Waits for the next request.
    Stay,
    /// Closes the connection.
    Close,
    /// Closes the connection after a while.
    CloseLater,
    /// Closes the connection when the next request has come.
    CloseNext,
    /// Resets the connection.
    Reset,
    /// Waits, and ignores further requests.
    Hang,
}
use Then::{Close, CloseLater, CloseNext, Hang, Reset, Stay};

/// A server that sends the same to every request.
struct Strange {
    name: &'static str,
    bytes: &'static [u8],
    then: Then,
    /// What the results say.
    says: &'static str,
}

const fn strange(
    name: &'static str,
    bytes: &'static [u8],
    then: Then,
    says: &'static str,
) -> Strange {
    Strange {
        name,
        bytes,
        then,
        says,
    }
}

#[rustfmt::skip]
const SERVERS: &[Strange] = &[
    // Whole responses, by each of the ways in which a body is framed.
    strange("Content-Length", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("an empty body", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stay, "0 bytes"),
    strange("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", Stay, "2 bytes"),
    strange("chunks with extensions", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d;e\"\r\n{}\r\n0;last\r\n\r\n", Stay, "2 bytes"),
    strange("chunks with trailers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nDigest: a\r\nServer-Timing: b\r\n\r\n", Stay, "2 bytes"),
    strange("a chunk's size in upper case with zeros", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n000A\r\n0123456789\r\n000\r\n\r\n", Stay, "10 bytes"),
    strange("CHUNKED", b"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Stay, "2 bytes"),
    strange("gzip, chunked as Transfer-Encoding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Stay, "2 bytes"),
    strange("chunked and a Content-Length", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Stay, "2 bytes"),
    strange("a body up to the end of the connection", b"HTTP/1.1 200 OK\r\n\r\n{}", Close, "2 bytes"),
    strange("the same of HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n{}", Close, "2 bytes"),
    strange("a Transfer-Encoding that does not end in chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}", Close, "2 bytes"),
    strange("HTTP/1.0 with a length", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", Close, "2 bytes"),
    strange("HTTP/1.0 keep-alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("the same length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("204", b"HTTP/1.1 204 No Content\r\n\r\n", Stay, "0 bytes"),
    strange("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Stay, "0 bytes"),
    strange("206 without a Range", b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    // Interim responses.
    strange("100 first", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("103 first", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("102 twice, and 103 with a length", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("only 100", b"HTTP/1.1 100 Continue\r\n\r\n", Close, "closed"),
    strange("101, which nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Hang, "101"),
    // Heads.
    strange("line ends of LF alone", b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", Stay, "2 bytes"),
    strange("an empty line first", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("no reason phrase", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("a reason phrase in Latin-1", b"HTTP/1.1 200 \xfcber\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("a field in Latin-1", b"HTTP/1.1 200 OK\r\nServer: \xfc\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("a folded field", b"HTTP/1.1 200 OK\r\nServer: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("an empty field", b"HTTP/1.1 200 OK\r\nServer:\r\nContent-Length: 2\r\n\r\n{}", Stay, "2 bytes"),
    strange("a space before a colon", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}", Stay, "malformed"),
    strange("a field without a colon", b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\n{}", Stay, "malformed"),
    strange("a field with NUL", b"HTTP/1.1 200 OK\r\nServer: \0\r\nContent-Length: 2\r\n\r\n{}", Stay, "malformed"),
    strange("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}", Stay, "malformed"),
    strange("status 999", b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}", Stay, "999"),
    strange("status 000", b"HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\n{}", Stay, "malformed"),
    strange("HTTP/2.0 in text", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", Stay, "malformed"),
    strange("HTTP/0.9", b"<html></html>", Close, "malformed"),
    strange("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n", Hang, "malformed"),
    strange("TLS", b"\x15\x03\x01\x00\x02\x02\x46", Close, "malformed"),
    // Lengths that make no sense.
    strange("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", Stay, "malformed"),
    strange("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", Stay, "malformed"),
    strange("a length that is too large", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}", Stay, "malformed"),
    strange("the largest number as a length", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}", Stay, "too large"),
    strange("a chunk's size that is no number", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n", Stay, "malformed"),
    strange("a chunk's size that is too large", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n", Stay, "malformed"),
    strange("a chunk longer than its size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", Stay, "malformed"),
    // Connections that end too early.
    strange("the end before the head", b"", Close, "closed"),
    strange("the end in the head", b"HTTP/1.1 200 OK\r\nConte", Close, "closed"),
    strange("the end in a body with a length", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Close, "truncated"),
    strange("the end before a body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Close, "truncated"),
    strange("the end in a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}", Close, "truncated"),
    strange("the end instead of the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", Close, "truncated"),
    strange("the end before the last line", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", Close, "truncated"),
    strange("a reset before the head", b"", Reset, "reset"),
    strange("a reset in a body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Reset, "truncated"),
    strange("a truncated 404", b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{}", Close, "truncated"),
    strange("silence", b"", Hang, "timed out"),
    strange("silence in the head", b"HTTP/1.1 200 OK\r\nConte", Hang, "timed out"),
    strange("silence in a body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Hang, "timed out"),
    // Connections that are kept, or not.
    strange("Connection: close", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", Close, "2 bytes"),
    strange("Connection: close, and the server does not", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", Hang, "2 bytes"),
    strange("an idle connection is closed", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", CloseLater, "2 bytes, opened again"),
    strange("it is closed when the next request comes", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", CloseNext, "2 bytes, opened again"),
    strange("bytes after the body", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more", Stay, "2 bytes"),
    strange("a second response that nobody asked for", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", Stay, "2 bytes"),
    strange("a body of 204", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", Stay, "0 bytes"),
    // Statuses.
    strange("301", b"HTTP/1.1 301 Moved Permanently\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", Stay, "301"),
    strange("304 to a request without a condition", b"HTTP/1.1 304 Not Modified\r\n\r\n", Stay, "304"),
    strange("404 without a body", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Stay, "404"),
    strange("503 with an endless Retry-After", b"HTTP/1.1 503 No\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n", Stay, "503"),
    strange("503 with a Retry-After of the year 9999", b"HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n", Stay, "503"),
    strange("429 with a Retry-After of half a second", b"HTTP/1.1 429 No\r\nRetry-After: 0.5\r\nContent-Length: 0\r\n\r\n", Stay, "429"),
];

/// Starts a server, until the test process ends; returns its URL. `answers` are given in turn, the last one for ever.
pub fn serve(answers: Vec<(Vec<u8>, Then)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let answers = answers.clone();
            thread::spawn(move || answer(socket, &answers));
        }
    });
    url
}

fn answer(mut socket: TcpStream, answers: &[(Vec<u8>, Then)]) -> io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    for number in 0.. {
        if !read_head(&mut reader)? {
            return Ok(());
        }
        let (bytes, then) = &answers[number.min(answers.len() - 1)];
        // In two pieces, which may arrive as two: the head is cut.
        let (first, second) = bytes.split_at(bytes.len().min(20));
        socket.write_all(first)?;
        thread::sleep(Duration::from_millis(5));
        socket.write_all(second)?;
        match then {
            Stay => continue,
            CloseLater => {
                thread::sleep(Duration::from_millis(100));
                socket.shutdown(Shutdown::Both)?;
            }
            CloseNext => {
                read_head(&mut reader)?;
                socket.shutdown(Shutdown::Both)?;
            }
            Close => socket.shutdown(Shutdown::Both)?,
            Reset => {
                // The client must have read the rest.
                thread::sleep(Duration::from_millis(50));
                socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
            }
            Hang => drop(reader.read_to_end(&mut Vec::new())),
        }
        return Ok(());
    }
    Ok(())
}

/// Reads up to an empty line; returns whether there was one.
fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<bool> {
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            return Ok(true);
        }
        line.clear();
    }
    Ok(false)
}

/// Two polls of one client. The first one has a second to be over, and one that takes longer takes the place of the second.
pub const TWO_POLLS: &str = "--clients 1 --interval-ms 1000 --ramp-ms 0 --jitter-percent 0 -n 2 \
                         --timeout-ms 10000 --arrival loop --on-failure give-up";

/// Returns what the results say of the requests of these clients.
pub fn says(role: &Role) -> String {
    let failures = role.failures.iter().map(|(reason, _)| reason.to_string());
    let mut text = failures.collect::<Vec<_>>().join(", ");
    if let Some(bytes) = role.body_bytes.checked_div(role.answered) {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{bytes} bytes");
    }
    if role.reopened > 0 {
        text.push_str(", opened again");
    }
    text
}

/// Checks that every request is accounted for.
pub fn assert_sum(run: &Run, name: &str) {
    let roles = [
        Some(&run.pollers),
        run.validators.as_ref(),
        run.writers.as_ref(),
    ];
    for role in roles.into_iter().flatten() {
        let not_sent = [Reason::NotSent, Reason::OutOfResources];
        let failed = role.failures.count(|reason| !not_sent.contains(&reason));
        assert_eq!(
            role.attempts,
            role.answered + failed + role.sent_again + role.in_flight,
            "{name}: {role:?}"
        );
    }
}

#[actix_web::test]
async fn each_strange_server_gets_its_answers_counted_or_its_reason() {
    let runs = SERVERS.iter().map(|server| async move {
        let url = serve(vec![(server.bytes.to_vec(), server.then)]);
        (server, herd_of(&url, TWO_POLLS).await)
    });
    let runs = join_all(runs).await;
    let mut table = format!("{:<50} {:<26} {}\n", "server", "herd says", "first failure");
    let mut wrong = Vec::new();
    for (server, run) in &runs {
        let role = &run.pollers;
        let said = says(role);
        let first = role.failures.iter().next();
        let first = first.map_or("", |(_, failed)| failed.first.as_str());
        let _ = writeln!(table, "{:<50} {said:<26} {first}", server.name);
        if said != server.says {
            wrong.push(format!("{}: {said}, not {}", server.name, server.says));
        }
        assert_sum(run, server.name);
        assert_eq!(
            run.is_clean(),
            role.failures.count(|_| true) == 0,
            "{}",
            server.name
        );
    }
    #[expect(clippy::print_stdout, reason = "the table is for readers")]
    {
        println!("{table}{} servers", runs.len());
    }
    assert!(runs.len() >= 40);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[actix_web::test]
async fn a_304_to_a_conditional_request_has_no_body_whatever_its_length_says() {
    let whole = b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 2\r\n\r\n{}";
    let same = b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 1000\r\n\r\n";
    let url = serve(vec![(whole.to_vec(), Stay), (same.to_vec(), Stay)]);
    let run = herd_of(&url, TWO_POLLS).await;
    let role = &run.pollers;
    assert_eq!((role.answered, role.statuses[&304]), (2, 1), "{role:?}");
    assert_eq!((role.body_bytes, role.saved_bytes), (2, 2));
    assert!(run.is_clean(), "{run:?}");
}

#[actix_web::test]
async fn a_huge_head_is_too_large() {
    let field = format!("HTTP/1.1 200 OK\r\nA: {}\r\n", "a".repeat(1 << 20));
    let fields = format!("HTTP/1.1 200 OK\r\n{}", "A: a\r\n".repeat(1000));
    for head in [field, fields] {
        let bytes = format!("{head}Content-Length: 0\r\n\r\n").into_bytes();
        let run = herd_of(&serve(vec![(bytes, Stay)]), TWO_POLLS).await;
        assert_eq!(says(&run.pollers), "too large", "{run:?}");
    }
}

#[actix_web::test]
async fn a_page_is_decoded_whole_and_an_invalid_one_is_no_answer() {
    let page = b"{\"items\":[{\"ran_at\":\"2026-01-01T00:00:00Z\",\"id\":\"a\"}]}";
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (first, second) = page.split_at(20);
    let members = [gzip(first), gzip(second)].concat();
    let mut damaged = gzip(page);
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    let twice = gzip(&gzip(page));
    for (coding, body, is_page) in [
        ("identity", page.to_vec(), true),
        ("gzip", gzip(page), true),
        ("GZip", gzip(page), true),
        ("x-gzip", gzip(page), true),
        ("gzip", members, true),
        ("gzip, gzip", twice, true),
        ("gzip", damaged, false),
        ("gzip", page.to_vec(), false),
        ("gzip", gzip(page)[..20].to_vec(), false),
        ("compress", page.to_vec(), false),
        ("identity", b"{}".to_vec(), false),
        ("identity", b"<html>".to_vec(), false),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let url = serve(vec![([head.into_bytes(), body].concat(), Stay)]);
        // One page: the next one is due after the run.
        let options =
            format!("{TWO_POLLS} --validators 1 --feed-interval-ms 60000 --feed-url {url}");
        let run = herd_of(&url, &options).await;
        let validators = run.validators.as_ref().unwrap();
        let rows = u64::from(is_page);
        assert_eq!(
            (validators.rows, validators.answered),
            (rows, rows),
            "{coding}: {validators:?}"
        );
        let invalid = validators.failures.of(Reason::InvalidPage);
        assert_eq!(invalid, 1 - rows, "{coding}: {validators:?}");
        assert_eq!(run.is_clean(), is_page);
        assert_sum(&run, coding);
    }
}

#[actix_web::test]
async fn what_fails_before_http_has_its_reason() {
    let web = EMPTY.to_vec();
    // A server that accepts one connection, with which the run looks whether it is there.
    let once = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!("http://{}/", once.local_addr().unwrap());
    thread::spawn(move || once.accept());
    let https = serve(vec![(web.clone(), Stay)]).replace("http:", "https:");
    let closing = serve(vec![(Vec::new(), Close)]);
    let web = serve(vec![(web, Stay)]);
    for (url, options, says_this) in [
        (&refused, "", "refused"),
        (&https, "--insecure", "tls"),
        (&web, "--http2", "malformed"),
        (&closing, "--http2", "reset|closed"),
    ] {
        let run = herd_of(url, &format!("{TWO_POLLS} {options}")).await;
        let said = says(&run.pollers);
        assert!(
            says_this.split('|').any(|one| one == said),
            "{options}: {said}"
        );
        assert_sum(&run, url);
    }
}

#[actix_web::test]
async fn a_name_gets_the_addresses_of_resolve_and_a_literal_of_version_6_is_reached() {
    let web = EMPTY.to_vec();
    let url = serve(vec![(web.clone(), Stay)]);
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    // Nothing listens at the first address.
    let options = format!("{TWO_POLLS} --resolve herd.invalid:{port}:127.0.0.9,127.0.0.1");
    let run = herd_of(&format!("http://herd.invalid:{port}/"), &options).await;
    assert_eq!(says(&run.pollers), "0 bytes", "{run:?}");

    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        skipped("this machine has no IPv6");
        return;
    };
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let web = web.clone();
            thread::spawn(move || answer(socket, &[(web, Stay)]));
        }
    });
    // A name with addresses of both versions, of which only the second one listens.
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    let name = format!("http://herd.invalid:{port}/");
    let resolve = format!("{TWO_POLLS} --resolve herd.invalid:{port}:127.0.0.1,::1");
    for (url, options) in [(url.as_str(), TWO_POLLS), (&name, resolve.as_str())] {
        let run = herd_of(url, options).await;
        assert_eq!(
            says(&run.pollers),
            "0 bytes",
            "{url}: {:?}",
            run.pollers.failures
        );
    }
}

#[actix_web::test]
async fn host_has_the_port_and_the_brackets_of_the_url() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        skipped("this machine has no IPv6");
        return;
    };
    let host = listener.local_addr().unwrap().to_string();
    let (send, heads) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let length = socket.read(&mut head).unwrap_or(0);
            let _ = socket.write_all(EMPTY);
            let _ = send.send(String::from_utf8_lossy(&head[..length]).into_owned());
        }
    });
    for (path, line) in [
        ("", "/"),
        ("/a%20b/ü?x=%2F&y", "/a%20b/%C3%BC?x=%2F&y"),
        ("?x", "/?x"),
    ] {
        herd_of(&format!("http://{host}{path}"), TWO_POLLS).await;
        let head = heads
            .try_iter()
            .filter(|head| !head.is_empty())
            .last()
            .unwrap();
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some(format!("GET {line} HTTP/1.1").as_str()));
        assert_eq!(lines.next(), Some(format!("host: {host}").as_str()));
    }
}
