//! Another server than our own, nginx, with TLS and HTTP/2; skipped with a line if it is missing:
//!
//! - over https the server chooses HTTP/2, each client has one connection, and polls that overlap share it
//! - `--http1` and `--http2` choose the version, over http HTTP/2 by prior knowledge
//! - a certificate must be valid for the name, unless `--insecure`
//! - a server that closes connections after some requests costs no answer, in either version

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use herd::{failures::Reason, run::Run};
use tempfile::TempDir;

use super::{
    herd_of,
    lab::{free_port, listens, signal},
    skipped,
};

/// A running nginx.
struct Nginx {
    folder: TempDir,
    process: Child,
    http: u16,
    /// Speaks HTTP/2 by prior knowledge only.
    http2: u16,
    https: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGQUIT and SIGTERM end its workers as well.
        signal(self.process.id(), "-TERM");
        let _ = self.process.wait();
    }
}

fn run_openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let arguments = arguments.split_whitespace();
    let done = command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

impl Nginx {
    /// Starts nginx, which closes a connection after so many requests; `None` if it or openssl is missing.
    fn start(requests: u32) -> Option<Self> {
        let is_there = |program: &str, argument: &str| {
            let mut command = Command::new(program);
            command.arg(argument).output().is_ok()
        };
        if !is_there("nginx", "-v") || !is_there("openssl", "version") {
            skipped("nginx and openssl are needed");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run_openssl(
            path,
            &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=herd-ca -days 2"),
        );
        run_openssl(
            path,
            &format!("req {key} -keyout leaf.key -out leaf.csr -subj /CN=herd.test"),
        );
        fs::write(path.join("ext"), "subjectAltName=DNS:herd.test\n").unwrap();
        run_openssl(
            path,
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out leaf.pem",
        );
        fs::write(path.join("large"), vec![b'a'; 300_000]).unwrap();
        let (http, http2, https) = (free_port(), free_port(), free_port());
        let root = path.display();
        let user = if cfg!(unix) { "user root;" } else { "" };
        let settings = format!(
            "daemon off; {user} worker_processes 1; pid {root}/pid; error_log {root}/error.log; events {{}}\n\
             http {{ log_format connections '$connection $server_protocol $status $http_user_agent $host';\n\
             access_log {root}/access.log connections; keepalive_requests {requests};\n\
             client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c;\n\
             uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;\n\
             server {{ listen 127.0.0.1:{http}; location / {{ return 200 '{{}}'; }} }}\n\
             server {{ listen 127.0.0.1:{http2} HTTP2; listen 127.0.0.1:{https} ssl HTTP2; SWITCH\n\
             ssl_certificate {root}/leaf.pem; ssl_certificate_key {root}/leaf.key;\n\
             location / {{ return 200 '{{}}'; }}\n\
             location /large {{ root {root}; limit_rate 250k; }} }} }}\n"
        );
        // Since 1.25.1 HTTP/2 has a directive of its own.
        let variants = [("", "http2 on;"), ("http2", "")];
        let conf = path.join("nginx.conf");
        let checked = variants.iter().any(|(parameter, directive)| {
            let settings = settings
                .replace("HTTP2", parameter)
                .replace("SWITCH", directive);
            fs::write(&conf, settings).unwrap();
            let mut check = Command::new("nginx");
            let check = check.arg("-t").arg("-c").arg(&conf).arg("-p").arg(path);
            check.output().unwrap().status.success()
        });
        assert!(checked, "nginx accepts neither configuration");
        let mut command = Command::new("nginx");
        let command = command.arg("-c").arg(&conf).arg("-p").arg(path);
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        listens(&format!("127.0.0.1:{https}"));
        Some(Self {
            folder,
            process,
            http,
            http2,
            https,
        })
    }

    /// Runs these options against the path, by the name `herd.test`.
    async fn herd(&self, scheme: &str, path: &str, options: &str) -> Run {
        let port = match scheme {
            "https" => self.https,
            _ if options.contains("--http2") => self.http2,
            _ => self.http,
        };
        let options = format!(
            "{options} --resolve herd.test:{port}:127.0.0.1 --timeout-ms 20000 --on-failure give-up"
        );
        herd_of(&format!("{scheme}://herd.test:{port}{path}"), &options).await
    }

    fn trusted(&self) -> String {
        format!("--ca-file {}", self.folder.path().join("ca.pem").display())
    }

    /// Returns the connections that the requests of a run came on, which were of this version, and forgets them.
    fn connections(&self, version: &str, run: &Run) -> usize {
        let path = self.folder.path().join("access.log");
        let mut log = String::new();
        // nginx writes a line after the response.
        for _ in 0..6000 {
            log = fs::read_to_string(&path).unwrap();
            if log.matches('\n').count() as u64 >= run.pollers.sent() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(log.lines().count() as u64, run.pollers.sent(), "{log}");
        fs::write(&path, "").unwrap();
        let lines = log.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let connections: BTreeSet<String> = lines
            .map(|line| {
                assert_eq!(line[1], version, "{line:?}");
                assert!(
                    line[3].starts_with("herd/") && line[4] == "herd.test",
                    "{line:?}"
                );
                line[0].to_owned()
            })
            .collect();
        connections.len()
    }
}

#[actix_web::test]
async fn over_https_a_client_has_one_connection_of_http_2_that_its_polls_share() {
    let Some(nginx) = Nginx::start(100_000) else {
        return;
    };
    // A response takes about a second: polls overlap.
    let options = format!(
        "--clients 3 --interval-ms 200 --duration-secs 2 --unconditional {}",
        nginx.trusted()
    );
    let run = nginx.herd("https", "/large", &options).await;
    assert!(run.is_clean(), "{:?}", run.pollers.failures);
    assert_eq!(run.pollers.answered, run.pollers.due);
    assert_eq!(run.pollers.body_bytes, 300_000 * run.pollers.due);
    let most = run.slices.iter().map(|slice| slice.in_flight).max();
    assert!(most > Some(3), "{most:?}");
    assert_eq!(nginx.connections("HTTP/2.0", &run), 3);

    let run = nginx
        .herd("https", "/large", &format!("{options} --http1"))
        .await;
    assert!(run.is_clean(), "{:?}", run.pollers.failures);
    assert!(nginx.connections("HTTP/1.1", &run) > 3);
}

#[actix_web::test]
async fn without_tls_http_2_is_spoken_by_prior_knowledge() {
    let Some(nginx) = Nginx::start(100_000) else {
        return;
    };
    let options = "--clients 2 --interval-ms 100 --duration-secs 1";
    let run = nginx.herd("http", "/", &format!("{options} --http2")).await;
    assert!(run.is_clean(), "{:?}", run.pollers.failures);
    assert_eq!(nginx.connections("HTTP/2.0", &run), 2);
    let run = nginx.herd("http", "/", options).await;
    assert!(run.is_clean(), "{:?}", run.pollers.failures);
    assert!(nginx.connections("HTTP/1.1", &run) >= 2);
}

#[actix_web::test]
async fn a_certificate_must_be_valid_for_the_name_unless_any_is_accepted() {
    let Some(nginx) = Nginx::start(100_000) else {
        return;
    };
    let options = "--clients 1 --interval-ms 500 --duration-secs 1";
    let untrusted = nginx.herd("https", "/", options).await;
    let failures = &untrusted.pollers.failures;
    assert_eq!(failures.of(Reason::Tls), 2, "{failures:?}");
    let (_, failed) = failures.iter().next().unwrap();
    assert!(failed.first.contains("UnknownIssuer"), "{failed:?}");
    // The certificate has no such name.
    let url = format!("https://127.0.0.1:{}/", nginx.https);
    let trusted = nginx.trusted();
    let run = herd_of(&url, &format!("{options} {trusted} --on-failure give-up")).await;
    assert_eq!(
        run.pollers.failures.of(Reason::Tls),
        2,
        "{:?}",
        run.pollers.failures
    );
    for trust in [trusted.as_str(), "--insecure"] {
        let run = nginx
            .herd("https", "/", &format!("{options} {trust}"))
            .await;
        assert!(run.is_clean(), "{trust}: {:?}", run.pollers.failures);
    }
    // http to the port of https.
    let url = format!("http://127.0.0.1:{}/", nginx.https);
    let run = herd_of(&url, options).await;
    assert_eq!(
        run.pollers.failures.of(Reason::Status(400)),
        2,
        "{:?}",
        run.pollers.failures
    );
}

#[actix_web::test]
async fn a_server_that_closes_connections_after_some_requests_costs_no_answer() {
    let Some(nginx) = Nginx::start(5) else { return };
    let trusted = nginx.trusted();
    for (scheme, version) in [
        ("http", "--http1"),
        ("http", "--http2"),
        ("https", "--http1"),
        ("https", "--http2"),
    ] {
        let trust = if scheme == "https" { &trusted } else { "" };
        // One after the other: if many overlap, some are refused on several connections in a row.
        let options = format!("--clients 4 --interval-ms 0 -n 200 {version} {trust}");
        let run = nginx.herd(scheme, "/", &options).await;
        assert!(
            run.is_clean(),
            "{scheme} {version}: {:?}",
            run.pollers.failures
        );
        assert_eq!(run.pollers.answered, 200);
    }
    // The same while other streams of the connection are still open (GOAWAY, RFC 9113 §6.8).
    let options = format!(
        "--clients 2 --interval-ms 100 --duration-secs 2 --unconditional {}",
        nginx.trusted()
    );
    let run = nginx.herd("https", "/large", &options).await;
    let role = &run.pollers;
    assert_eq!(
        (role.answered, role.body_bytes),
        (40, 40 * 300_000),
        "{:?}",
        role.failures
    );
    assert!(run.is_clean(), "{:?}", role.failures);
}
