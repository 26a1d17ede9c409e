//! Plans in files and on the command line, what they send, and conditions under which a run has failed:
//!
//! - a file has all options of the command line, which win; a run is repeated from its results
//! - secrets are in neither the results nor an error
//! - requests have the method, the header fields and the body of the plan, at each target by its weight
//! - no cache has the URL of a request with a cache buster
//! - a run ends after its number of requests, in an open loop and in a closed one
//! - a run that fails its conditions says each of them in a line, and exits with 1
//! - options that make no sense, or contradict each other, are refused with one line and 2

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use herd::run::Run;
use tempfile::TempDir;

use crate::{herd_of, plan, program, silent};

/// A server that answers 200 with a tag, 404 below `/missing`, and 503 below `/busy`; it keeps what it was sent.
struct Recorder {
    url: String,
    requests: Arc<Mutex<Vec<Received>>>,
}

#[derive(Debug, Clone)]
pub struct Received {
    pub line: String,
    /// With lower-case names.
    fields: Vec<String>,
    body: String,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                thread::spawn(move || answer_all(&socket, &seen));
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        let path = |request: Received| request.line.split(' ').nth(1).unwrap().to_owned();
        self.requests().into_iter().map(path).collect()
    }
}

/// Answers until the client closes the connection.
fn answer_all(socket: &TcpStream, seen: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(socket);
    while let Some(request) = receive(&mut reader) {
        let status = match &request.line {
            line if line.contains("/missing") => "404 Not Found",
            line if line.contains("/busy") => "503 Service Unavailable",
            _ => "200 OK",
        };
        let is_head = request.line.starts_with("HEAD");
        seen.lock().unwrap().push(request);
        let body = if is_head { "" } else { "{}" };
        let answer = format!("HTTP/1.1 {status}\r\nETag: \"1\"\r\nContent-Length: 2\r\n\r\n{body}");
        let mut socket = socket;
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

pub fn receive(reader: &mut impl BufRead) -> Option<Received> {
    let mut line = || {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut fields = Vec::new();
    loop {
        let field = line()?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').unwrap();
        fields.push(format!("{}:{value}", name.to_ascii_lowercase()));
    }
    let length = fields
        .iter()
        .find_map(|field| field.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        line: first,
        fields,
        body: String::from_utf8(body).unwrap(),
    })
}

/// A folder for plans, and the program with an environment.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn herd_with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.args(arguments).stdin(Stdio::null());
    command.env_remove("TOKEN").env_remove("COOKIE");
    command.envs(variables.iter().copied());
    command.output().unwrap()
}

fn results(output: &Output) -> Run {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the only line of an error, without the name of the program.
pub fn line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().strip_prefix("herd: ").unwrap().to_owned()
}

#[test]
fn a_file_has_the_options_of_the_command_line_which_win_and_a_run_is_repeated_from_its_results() {
    let (server, files) = (Recorder::start(), Files::new());
    let url = &server.url;
    let plan = files.write(
        "plan.toml",
        format!(
            r#"
            target = ["3 {url}/a", "1 {url}/b"]
            name = "from a file"
            clients = 4
            rate = 40.0
            duration-secs = 20
            requests = 40
            jitter-percent = 20
            unconditional = true
            header = ["X-One: 1", "X-Two: 2", "Authorization: Bearer ${{TOKEN}}", "Cookie: sid=very-secret"]
            fail-if = ["p99>10s", "errors>0"]
            arrival = "loop"
            "#
        ),
    );
    let token = [("TOKEN", "topsecret")];
    let output = herd_with(
        &token,
        &[
            "--plan",
            &plan,
            "--rate=80",
            "--json",
            "--header",
            "X-One: 3",
        ],
    );
    let first = results(&output);
    assert_eq!(
        (first.name.as_str(), first.pollers.clients),
        ("from a file", 4)
    );
    // Half as long as with the rate of the file, and no longer than the requests take.
    assert!(first.seconds < 15.0, "{}", first.seconds);
    // On a busy machine a client that waits skips polls.
    let polls = &first.pollers;
    assert_eq!((polls.due, polls.answered + polls.missed), (40, 40));
    let paths = server.paths();
    let a = paths.iter().filter(|path| *path == "/a").count();
    assert!(
        (paths.len() * 6..=paths.len() * 9).contains(&(a * 10)),
        "{a}"
    );
    // The list of the command line is in place of that of the file.
    let request = server.requests().pop().unwrap();
    assert!(
        request.fields.contains(&"x-one: 3".to_owned()),
        "{request:?}"
    );
    assert!(
        !request
            .fields
            .iter()
            .any(|field| field.contains("authorization"))
    );

    let output = herd_with(
        &token,
        &["--plan", &plan, "--json", "--unconditional=false", "-n40"],
    );
    let json = String::from_utf8(output.stdout.clone()).unwrap();
    let run = results(&output);
    let request = server.requests().pop().unwrap();
    assert!(
        request
            .fields
            .contains(&"authorization: Bearer topsecret".to_owned())
    );
    assert!(
        request
            .fields
            .contains(&"cookie: sid=very-secret".to_owned())
    );
    assert!(run.pollers.statuses.contains_key(&200));
    assert!(
        !json.contains("topsecret") && !json.contains("very-secret"),
        "{json}"
    );
    assert_eq!(run.plan["rate"], 40.0);
    assert_eq!(run.plan["timeout-ms"], 3000, "a default");

    // The value of the cookie is asked for; then the same requests are sent again.
    let saved = files.write("run.json", &json);
    let refused = herd_with(&token, &["--plan", &saved]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(line(&refused).contains("variable COOKIE, for the value of cookie, is not set"));
    let before = server.requests().len();
    let variables = [("TOKEN", "topsecret"), ("COOKIE", "sid=other")];
    let again = results(&herd_with(&variables, &["--plan", &saved, "--json"]));
    assert_eq!(
        (&again.plan, again.pollers.due),
        (&run.plan, run.pollers.due)
    );
    let sent = server.requests().split_off(before);
    assert!(
        sent.iter()
            .all(|request| request.fields.contains(&"cookie: sid=other".to_owned()))
    );
}

#[actix_web::test]
async fn requests_have_the_method_the_fields_and_the_body_of_the_plan() {
    let (server, files) = (Recorder::start(), Files::new());
    let body = files.write("body.json", "{\"from\": \"a file\"}");
    let options = "--clients 2 --interval-ms 60000 --duration-secs 1 --ramp-ms 0";
    let posted = herd_of(
        &server.url,
        &format!("{options} --body-file {body} -H Content-Type:application/json"),
    )
    .await;
    assert_eq!(posted.pollers.answered, 2);
    herd_of(
        &server.url,
        &format!("{options} -X PUT --body text -H Host:example.org"),
    )
    .await;
    let head = herd_of(&server.url, &format!("{options} -X HEAD")).await;
    assert_eq!(head.pollers.answered, 2, "{head:?}");
    let requests = server.requests();
    let of = |method: &str| -> Vec<&Received> {
        let of_method = requests
            .iter()
            .filter(|request| request.line.starts_with(method));
        of_method.collect()
    };
    for request in of("POST") {
        assert_eq!(request.body, "{\"from\": \"a file\"}");
        assert!(
            request
                .fields
                .contains(&"content-type: application/json".to_owned())
        );
    }
    for request in of("PUT") {
        assert_eq!(request.body, "text");
        let hosts: Vec<_> = request
            .fields
            .iter()
            .filter(|field| field.starts_with("host:"))
            .collect();
        assert_eq!(hosts, ["host: example.org"]);
    }
    assert_eq!(
        (of("POST").len(), of("PUT").len(), of("HEAD").len()),
        (2, 2, 2)
    );
}

#[actix_web::test]
async fn each_target_has_its_own_tag_and_a_method_that_changes_something_has_none() {
    let server = Recorder::start();
    let url = &server.url;
    let plan = [
        "--target",
        &format!("1 {url}/a"),
        "--target",
        &format!("1 {url}/b"),
    ];
    let options = [
        "--clients",
        "1",
        "--interval-ms",
        "50",
        "--jitter-percent",
        "0",
        // No poll is sent before the tag of the last one is known.
        "--arrival",
        "loop",
        "-n",
        "10",
    ];
    crate::run(&[&plan[..], &options].concat()).await;
    for path in ["/a", "/b"] {
        let requests = server.requests();
        let mut of_path = requests
            .iter()
            .filter(|request| request.line.contains(path));
        let tag = |request: &Received| request.fields.contains(&"if-none-match: \"1\"".to_owned());
        assert!(!tag(of_path.next().unwrap()), "the first one");
        assert!(of_path.all(tag), "{requests:?}");
    }
    let before = server.requests().len();
    herd_of(url, "-X DELETE --clients 1 --interval-ms 50 -n 4").await;
    herd_of(url, "--cache-buster _ --clients 1 --interval-ms 50 -n 4").await;
    let sent = server.requests().split_off(before);
    assert_eq!(sent.len(), 8);
    for request in sent {
        assert!(
            !request
                .fields
                .iter()
                .any(|field| field.starts_with("if-none-match"))
        );
    }
}

#[actix_web::test]
async fn a_cache_buster_makes_every_url_another_one_also_in_a_run_that_is_repeated() {
    let server = Recorder::start();
    let url = format!("{}/x?y=1", server.url);
    for _ in 0..2 {
        herd_of(&url, "--cache-buster cb --clients 3 --interval-ms 20 -n 30").await;
    }
    let mut paths = server.paths();
    assert_eq!(paths.len(), 60);
    assert!(
        paths.iter().all(|path| path.starts_with("/x?y=1&cb=")),
        "{paths:?}"
    );
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 60);
}

#[actix_web::test]
async fn a_run_ends_after_its_number_of_requests_in_an_open_loop_and_in_a_closed_one() {
    let server = Recorder::start();
    for options in ["--rate 100", "--interval-ms 0"] {
        let before = server.requests().len();
        let run = herd_of(&server.url, &format!("{options} --clients 7 -n 50")).await;
        assert_eq!(
            (run.pollers.due, run.pollers.answered),
            (50, 50),
            "{options}"
        );
        assert_eq!(server.requests().len() - before, 50);
        assert!(run.slices.iter().all(|slice| slice.at < run.seconds));
    }
    // A server that never answers: the last poll has its time out, and the run an end.
    let run = herd_of(
        &silent(),
        "--clients 2 --rate 20 -n 4 --timeout-ms 200 --on-failure give-up",
    )
    .await;
    assert_eq!((run.pollers.due, run.pollers.failed), (4, 4));
}

#[test]
fn a_run_that_fails_its_conditions_says_each_of_them_in_a_line() {
    let server = Recorder::start();
    let missing = format!("{}/missing", server.url);
    let ok = format!("{}/ok", server.url);
    let with = |url: &str, conditions: &[&str]| {
        let mut arguments = vec![
            url,
            "--clients",
            "2",
            "--rate",
            "50",
            "-n",
            "20",
            "--on-failure",
            "give-up",
        ];
        for condition in conditions {
            arguments.extend(["--fail-if", condition]);
        }
        let output = program(&arguments);
        let lines = String::from_utf8(output.stderr).unwrap();
        // The table is there, whatever the conditions say.
        assert!(!output.stdout.is_empty(), "{lines}");
        (output.status.code(), lines)
    };
    let held = [
        "p50>5s",
        "p99.9 >= 5s",
        "max>10000ms",
        "errors>0%",
        "timeouts>0",
        "lost>0",
        "5xx>0",
        "rate<1/s",
        "lateness>5s",
    ];
    assert_eq!(with(&ok, &held), (Some(0), String::new()));
    let (code, lines) = with(
        &missing,
        &[
            "p99>1h",
            "p50<1h",
            "errors>99.9%",
            "404>1000",
            "404>19",
            "4xx<=100%",
            "5xx>0",
        ],
    );
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].contains("p99>1h: never"), "{lines:?}");
    assert_eq!(lines[1], "herd: failed: errors>99.9%: 100.000 %");
    assert_eq!(lines[2], "herd: failed: 404>19: 20");
}

#[test]
fn options_that_make_no_sense_or_contradict_each_other_are_refused_with_one_line() {
    let here = "http://127.0.0.1:9/x";
    let long = "x".repeat(70_000);
    for (arguments, reason) in [
        ("", "arguments were not provided"),
        ("http:///x", "invalid URL"),
        ("http://", "invalid URL"),
        ("127.0.0.1:9/x", "invalid URL"),
        ("http://127.0.0.1:0/x", "'0' is not a port"),
        ("http://127.0.0.1:65536/x", "'65536' is not a port"),
        ("http://127.0.0.1:/x", "'' is not a port"),
        ("http://127.0.0.1:9x/x", "'9x' is not a port"),
        ("http://[::1]:70000/x", "'70000' is not a port"),
        (
            "http://me:hunter2@127.0.0.1:9/x",
            "a user or a password in front of 127.0.0.1:9",
        ),
        ("http://127.0.0.1:9/x#top", "a fragment is never sent"),
        ("URL --target 1_URL", "cannot be used with"),
        ("--target URL", "is not a weight"),
        ("--target 0_URL", "'0' is not a weight"),
        ("--target=-1_URL", "'-1' is not a weight"),
        ("URL --rate 0", "from 0.001 to 1000000"),
        ("URL --rate NaN", "from 0.001 to 1000000"),
        ("URL --rate 1e3", "from 0.001 to 1000000"),
        ("URL --rate 99999999999", "from 0.001 to 1000000"),
        (
            "URL --rate 5001",
            "5001 polls per second are more than --max-rate 5000",
        ),
        (
            "URL --interval-ms 1",
            "64000 polls per second are more than --max-rate 5000",
        ),
        ("URL --interval-ms 99999999999", "--interval-ms"),
        ("URL --interval-ms -1", "-1 is not in 0.."),
        ("URL --rate -1", "from 0.001 to 1000000"),
        ("URL --clients -1", "-1 is not in 1.."),
        ("URL --burst-at -1", "expected a second of the run"),
        ("URL -H Host:a -H host:b", "a request has one Host"),
        (
            "https://127.0.0.1:9/x --ca-file /no/such/ca.pem",
            "--ca-file /no/such/ca.pem",
        ),
        (
            "URL --validators 1 --feed-url URL?x=1",
            "--feed-url: the URL must not have a query",
        ),
        (
            "URL?token=${NOT_THERE}",
            "variable NOT_THERE, for the value of the parameter token, is not set",
        ),
        ("URL --fail-if dead-ends>0", "the run has no such clients"),
        ("URL --rate 5 --interval-ms 100", "cannot be used with"),
        ("URL --rate 5 --stage hold_5s_at_5/s", "cannot be used with"),
        (
            "URL --stage hold_5s_at_5",
            "'5' is not a rate such as 500/s",
        ),
        ("URL --stage hold_5_at_5/s", "'5' is not a duration"),
        ("URL --stage hold_0s_at_5/s", "'0s' is not a duration"),
        ("URL --stage hold_NaNs_at_5/s", "'NaNs' is not a duration"),
        ("URL --stage ramp_5s", "expected 'ramp 10s to 500/s'"),
        (
            "URL --stage hold_24h_at_1/s --stage hold_1s_at_1/s",
            "longer than a day",
        ),
        ("URL --stage burst_0", "a burst has 1 to"),
        ("URL --stage burst_5", "bursts take no time"),
        (
            "URL --stage hold_1s_at_1/s --stage burst_5",
            "at the end of the run",
        ),
        (
            "URL --stage burst_6000 --stage hold_1s_at_1/s",
            "a burst of 6000 polls is more than --max-rate",
        ),
        (
            "URL --stage hold_1s_at_1/s --duration-secs 2",
            "longer than all stages, 1 s",
        ),
        ("URL --stage ramp_1s_to_9000/s", "9000 polls per second"),
        ("URL -n 0", "--requests"),
        ("URL -n 1000000000", "longer than a day"),
        ("URL -H nonsense", "expected 'Name: value'"),
        ("URL -H sp_ace:1", "is not the name of a header field"),
        ("URL -H :1", "is not the name of a header field"),
        (
            "URL -H Authorization:${BROKEN}",
            "the value of authorization has a line break",
        ),
        (
            "URL -H X:${NOT_THERE}",
            "variable NOT_THERE, for the value of x, is not set",
        ),
        ("URL -H X:${", "without a name and a }"),
        ("URL -H Content-Length:5", "content-length cannot be set"),
        (
            "URL -H Transfer-Encoding:chunked",
            "transfer-encoding cannot be set",
        ),
        ("URL -H Expect:100-continue", "expect cannot be set"),
        (
            "URL -H Accept-Encoding:br --accept-encoding gzip",
            "accept-encoding is also set by",
        ),
        ("URL -X get", "in capital letters"),
        ("URL -X CONNECT", "--method CONNECT"),
        ("URL -X GE_T", "not a method"),
        ("URL -X TRACE --body x", "has no body"),
        ("URL --body x --body-file y", "cannot be used with"),
        (
            "URL --body-file /no/such/file",
            "--body-file /no/such/file: No such file",
        ),
        ("URL --body-file /dev/zero", "longer than 16777216 bytes"),
        ("URL --cache-buster a=b", "--cache-buster must be"),
        ("URL --fail-if p99", "expected a figure"),
        ("URL --fail-if p97>5ms", "unknown figure 'p97'"),
        (
            "URL --fail-if p99>50",
            "the limit of p99 is a time such as 50ms",
        ),
        ("URL --fail-if p99>-1ms", "the limit of p99"),
        ("URL --fail-if p99>NaNms", "the limit of p99"),
        (
            "URL --fail-if errors>101%",
            "the limit of errors is a number",
        ),
        ("URL --fail-if errors>5ms", "the limit of errors"),
        ("URL --fail-if 600>5", "unknown figure '600'"),
        ("URL --fail-if 0xx>5", "unknown figure '0xx'"),
        (
            "URL --fail-if writers.p99>5ms",
            "the run has no such clients",
        ),
        ("URL --wait --rate 5", "cannot be used with"),
        ("URL --wait -n 5", "cannot be used with"),
        // Stages say by themselves how many polls there are.
        ("URL -n 5 --stage burst_5", "cannot be used with"),
        ("URL --wait --body x", "cannot be used with"),
        ("URL --server-pid 0", "--server-pid"),
        ("URL --name two\nlines", "expected a name of one line"),
    ] {
        let arguments: Vec<String> = arguments
            .split(' ')
            .filter(|argument| !argument.is_empty())
            .map(|argument| {
                argument
                    .replace('_', " ")
                    .replace("NOT THERE", "NOT_THERE")
                    .replace("URL", here)
            })
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = plan(&arguments).unwrap_err();
        assert!(refused.contains(reason), "{arguments:?}: {refused}");
        assert!(
            !refused.contains('\n') && !refused.contains("hunter2"),
            "{refused}"
        );
    }
    assert!(plan(&[here, "--name", &long]).is_ok());
    for accepted in [
        "http://[::1]:9/x?a=b&c=%20",
        "http://127.0.0.1:65535",
        "http://127.0.0.1/a@b",
    ] {
        assert!(plan(&[accepted]).is_ok(), "{accepted}");
    }
    let refused = program(&[here, "--rate", "0"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(line(&refused).contains("'--rate <POLLS>'"));
}

#[test]
fn a_file_that_makes_no_sense_is_refused_with_its_name_and_the_reason() {
    let files = Files::new();
    for (text, reason) in [
        ("clients = 5", "a URL or a --target is missing"),
        ("url = 5", "expected one URL"),
        ("url = \"--help\"", "expected one URL"),
        ("url = \"compare\"", "expected one URL"),
        ("url = \"\"", "expected one URL"),
        (
            "url = [\"--i-own-this-server\", \"http://192.0.2.1/x\"]",
            "expected one URL",
        ),
        (
            "{\"format\": 3, \"plan\": {\"url\": [\"--i-own-this-server\", \"http://192.0.2.1/x\"]}}",
            "expected one URL",
        ),
        ("url = \"--i-own-this-server://x\"", "expected one URL"),
        ("clients = true", "clients: expected a text or a number"),
        ("clients = false", "clients: expected a text or a number"),
        ("clients = [1, 2]", "clients: expected a text or a number"),
        ("report = true", "report: expected a text or a number"),
        ("report = [true]", "report: expected a text or a number"),
        ("wait = [true]", "wait: expected true or false"),
        ("wait = 1", "wait: expected true or false"),
        ("target = \"--i-own-this-server\"", "is not a weight"),
        ("rate = \"--help\"", "invalid value '--help' for '--rate"),
        ("clients = \"five\"", "invalid value 'five' for '--clients"),
        ("clients = 1.5", "invalid value '1.5' for '--clients"),
        ("clients = nan", "invalid value"),
        ("rate = nan", "from 0.001 to 1000000"),
        ("rate = inf", "from 0.001 to 1000000"),
        ("rate = -1", "from 0.001 to 1000000"),
        (
            "duration_secs = 5",
            "there is no option 'duration_secs'; a similar one is 'duration-secs'",
        ),
        ("colour = \"red\"", "there is no option 'colour'"),
        ("\"rate=5 --clients\" = 5", "is not an option"),
        ("rate = 5\nrate = 6", "line 2: duplicate key"),
        ("rate = ", "line 1:"),
        ("rate = 5\ninterval-ms = 5", "cannot be used with"),
        ("i-own-this-server = true", "for the command line only"),
        (
            "url = \"x\"\nplan = \"other.toml\"",
            "for the command line only",
        ),
        ("stage = \"ramp 5s\"", "plan.toml: invalid value 'ramp 5s'"),
        ("fail-if = [\"p99>5\"]", "plan.toml: invalid value 'p99>5'"),
        ("wait = \"yes\"", "wait: expected true or false"),
        ("header = [true]", "header: expected a text or a number"),
        ("[pollers]\nclients = 5", "a plan has no tables"),
        ("{\"rate\": 5}", "not the results of a run"),
        (
            "{\"format\": 2, \"name\": \"old\"}",
            "another version of herd",
        ),
        ("{\"format\"", "EOF while parsing"),
    ] {
        let plan = files.write("plan.toml", text);
        let output = program(&["--plan", &plan]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let line = line(&output);
        assert!(line.contains(reason), "{text}: {line}");
        // What only the whole plan shows has no file.
        let whole = ["a URL or", "weight"]
            .iter()
            .any(|part| reason.contains(part));
        assert!(line.contains("plan.toml") || whole, "{line}");
    }
    let output = program(&["--plan", "/no/such/plan.toml"]);
    assert!(line(&output).contains("/no/such/plan.toml: No such file"));
    let binary = files.write("plan.bin", [0xff, 0xfe, 0]);
    assert_eq!(program(&["--plan", &binary]).status.code(), Some(2));
    for endless in [
        &["--plan", "/dev/zero"][..],
        &["https://127.0.0.1:9/", "--ca-file", "/dev/zero"],
        &["compare", "/dev/zero"],
    ] {
        let refused = program(endless);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{said}");
        assert!(said.contains("longer than 67108864 bytes"), "{said}");
    }
    // A result that somebody has forged does not reach the terminal as it is.
    let forged = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(forged.path(), r#"{"format": 3, "ended": "\u001b[31m"}"#).unwrap();
    let refused = program(&["compare", forged.path().to_str().unwrap()]);
    assert!(
        !refused.status.success() && !refused.stderr.contains(&0x1b),
        "{refused:?}"
    );
    // Numbers may be texts, as templates write them, and a single one may be in place of a list.
    let texts = files.write(
        "texts.toml",
        "url = \"http://192.0.2.1/f\"\nvalidators = 1\nfeed-url = \"http://192.0.2.1/f\"\nrate = \"5\"\nclients = \"2\"\nburst-at = 3\nfeed-since = 2026-01-01T00:00:00Z",
    );
    let output = program(&["--plan", &texts]);
    assert!(line(&output).contains("192.0.2.1:80 is not this machine"));
    // What the file lacks is on the command line.
    let part = files.write("part.toml", "validators = 2");
    let output = program(&[
        "http://127.0.0.1:9/x",
        "--plan",
        &part,
        "--feed-url",
        "http://192.0.2.1/f",
    ]);
    assert!(line(&output).contains("192.0.2.1:80 is not this machine"));
}

#[test]
fn the_help_is_grouped_and_ends_with_examples() {
    let help = String::from_utf8(program(&["--help"]).stdout).unwrap();
    let at = |text: &str| {
        help.find(text)
            .unwrap_or_else(|| panic!("{text} is missing"))
    };
    let groups = [
        "Schedule:",
        "Requests:",
        "Failures:",
        "Validators:",
        "Writers:",
        "Server:",
        "Output:",
        "Examples:",
    ];
    assert!(groups.map(at).is_sorted(), "{help}");
    assert!(
        help.lines().all(|line| line.chars().count() <= 100),
        "{help}"
    );
    // An example is not broken into lines of its own.
    for option in [
        "--plan <FILE>",
        "-n, --requests <REQUESTS>",
        "[default: 30]",
        "herd --plan run.json",
    ] {
        at(option);
    }
}
