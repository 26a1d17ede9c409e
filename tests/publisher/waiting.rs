//! Requests that are answered when something changes (WIRE.md, "Waiting"): active-challenges/changes, and pages of
//! `since_seq` at the end of the feed:
//!
//! - an answer is that of active-challenges, with a link to the next one
//! - a request that names no slot, or one that is over, is answered at once
//! - a request waits until the board changes: one change, one build, an answer for each of 500 clients
//! - at the end of its slot a request is answered without a change
//! - a write that leaves the board as it is wakes nobody
//! - a HEAD waits like a GET, also with a precondition that memory does not decide
//! - a request behind one that waits is answered after it
//! - a client that sends much behind a request that waits is answered at once
//! - polls are answered while requests wait
//! - beyond the limits a request is answered at once, with Retry-After
//! - clients that wait leave connections to polls and health checks, and the log says how many may wait
//! - clients behind a trusted proxy are counted one by one, by their /64 in IPv6
//! - a client that goes gives its place back
//! - a client between two servers whose slots differ is not answered in a loop
//! - a client that has a board of another lineage, or a newer one, is not answered in a loop
//! - after a stop has begun all that wait are answered, and their connections close
//! - invalid parameters are errors
//! - a page at the end of the feed waits for eval runs: one read for 500 clients
//! - a page that has eval runs already is answered at once, with a link that does not wait if it is full
//! - at the end of its slot a page is answered empty, with the same cursor
//! - a row that is not published, an old cursor and a page without a slot end or begin no wait
//! - a client that has eval runs which were deleted is not answered in a loop
//! - a client that follows the links gets every row once, in the order of commits

use std::time::Duration;

use awc::http::Method;
use futures_util::future::{join, join_all};

use crate::{
    admin::challenge,
    app::{Answer, App, BOARD, Data, FEED, TOKENS, eventually, wait_until},
    process::{Service, in_shell, publisher, serve},
    wire::{Client, get, row},
};

pub const CHANGES: &str = "/v1/synthetic-boolean/active-challenges/changes";

/// Returns the URL that an answer of active-challenges/changes links to.
fn next(answer: &Answer) -> String {
    next_of(CHANGES, answer)
}

/// Returns the URL that an answer of a path links to.
fn next_of(path: &str, answer: &Answer) -> String {
    let link = answer.header("link");
    let target = link
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    format!("{path}{}", target.unwrap_or_else(|| panic!("{link}")))
}

impl App {
    async fn put(&self, id: &str, status: &str) {
        let path = format!("/v1/admin/challenges/{id}");
        let put = self
            .admin(Method::PUT, &path, challenge(id, status).to_string())
            .await;
        assert_eq!(put.status, 200, "{}", put.text());
    }

    async fn waiters(&self) -> u64 {
        self.metric("publisher_waiters ").await
    }

    async fn until_waiting(&self, count: u64) {
        let waits = async || self.waiters().await == count;
        wait_until(&format!("{count} waiters"), waits).await;
    }

    async fn waits(&self, outcome: &str) -> u64 {
        let name = format!("publisher_waits_total{{outcome=\"{outcome}\"}} ");
        self.metric(&name).await
    }

    /// Waits until so many waits had this outcome: each is counted when its answer has been sent.
    async fn expect_waits(&self, outcome: &str, expected: u64) {
        let what = format!("{expected} waits that ended as {outcome}");
        wait_until(&what, async || self.waits(outcome).await == expected).await;
    }
}

#[actix_rt::test]
async fn an_answer_is_that_of_active_challenges_with_a_link_to_the_next_one() {
    let app = App::start(Data::sample()).await;
    for path in [CHANGES.to_owned(), format!("/api/cathedral{CHANGES}")] {
        for coding in ["identity", "gzip", "zstd"] {
            let headers = [("accept-encoding", coding)];
            let (board, changes) = (
                app.get_with(BOARD, &headers).await,
                app.get_with(&path, &headers).await,
            );
            assert_eq!(changes.status, 200);
            assert_eq!(changes.body, board.body);
            for name in ["etag", "vary", "content-encoding", "content-type"] {
                assert_eq!(changes.header(name), board.header(name), "{name}");
            }
            assert_eq!(changes.header("cache-control"), "public, max-age=1");
            assert!(next(&changes).contains("?after="));
            let tag = board.header("etag");
            let held = [("accept-encoding", coding), ("if-none-match", tag)];
            let unchanged = app.get_with(&path, &held).await;
            assert_eq!(unchanged.status, 304);
            assert_eq!(unchanged.header("etag"), tag);
            assert_eq!(unchanged.header("link"), changes.header("link"));
        }
        let refused = app
            .get_with(&path, &[("accept-encoding", "identity;q=0, x")])
            .await;
        assert_eq!(refused.status, 406);
    }
    assert_eq!(app.send(Method::PUT, CHANGES, &[]).await.status, 405);
    app.stop().await;
}

#[actix_rt::test]
async fn a_request_that_names_no_slot_or_one_that_is_over_is_answered_at_once() {
    let app = App::start_with_options(Data::sample(), &["--wait-slot-secs", "25"]).await;
    let url = next(&app.get(CHANGES).await);
    let (without_slot, slot) = url.split_once("&slot=").unwrap();
    let slot: u64 = slot.parse().unwrap();
    for url in [
        CHANGES.to_owned(),
        format!("{CHANGES}?slot={slot}"),
        without_slot.to_owned(),
        format!("{without_slot}&slot={}", slot - 2),
        format!("{without_slot}&slot=0"),
    ] {
        let answer = app.get(&url).await;
        assert_eq!(answer.status, 200, "{url}");
        assert_eq!(answer.header("cache-control"), "public, max-age=1", "{url}");
    }
    // The slot ends while its link is on its way to the client.
    app.clock.advance(Duration::from_secs(60));
    assert_ne!(next(&app.get(&url).await), url);
    app.expect_waits("unchanged", 0).await;
    app.stop().await;
}

#[actix_rt::test]
async fn one_change_is_one_build_and_an_answer_for_each_of_500_clients() {
    let app = App::start_with_options(Data::sample(), &["--max-waits-per-address", "500"]).await;
    let first = app.get(CHANGES).await;
    let url = next(&first);
    let builds = app.gate.builds();
    let tag = first.header("etag");
    let held = [("if-none-match", tag)];
    let clients = join_all((0..500).map(|_| app.get_with(&url, &held)));
    let change = async {
        app.until_waiting(500).await;
        app.put("new", "active").await;
    };
    let (answers, ()) = join(clients, change).await;
    assert_eq!(app.gate.builds(), builds + 1);
    let board = app.get(BOARD).await;
    for answer in &answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("etag"), board.header("etag"));
        assert_eq!(answer.header("cache-control"), "public, max-age=15");
        assert_ne!(next(answer), url);
        assert_eq!(next(answer), next(&answers[0]));
    }
    assert_eq!(app.waiters().await, 0);
    app.expect_waits("changed", 500).await;
    assert_eq!(app.metric("publisher_wake_seconds_count ").await, 500);
    // The URL of what is out of date is answered at once.
    let late = app.get_with(&url, &held).await;
    assert_eq!(
        (late.status.as_u16(), late.header("etag")),
        (200, board.header("etag"))
    );
    app.stop().await;
}

#[actix_rt::test]
async fn at_the_end_of_its_slot_a_request_is_answered_without_a_change() {
    let app = App::start_with_options(Data::sample(), &["--wait-slot-secs", "1"]).await;
    let first = app.get(CHANGES).await;
    let url = next(&first);
    let held = [("if-none-match", first.header("etag"))];
    let (unchanged, whole) = join(app.get_with(&url, &held), app.get(&url)).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    assert_eq!((whole.status.as_u16(), &whole.body), (200, &first.body));
    for answer in [&unchanged, &whole] {
        assert_eq!(answer.header("cache-control"), "public, max-age=15");
    }
    app.expect_waits("unchanged", 2).await;
    app.clock.advance(Duration::from_secs(2));
    assert_ne!(next(&app.get(CHANGES).await), url, "the next slot");
    app.stop().await;
}

#[actix_rt::test]
async fn a_write_that_leaves_the_board_as_it_is_wakes_nobody() {
    let app = App::start_with_options(Data::sample(), &["--wait-slot-secs", "5"]).await;
    let first = app.get(CHANGES).await;
    let url = next(&first);
    let held = [("if-none-match", first.header("etag"))];
    let write = async {
        app.until_waiting(1).await;
        app.put("later", "pending").await;
    };
    let (answer, ()) = join(app.get_with(&url, &held), write).await;
    assert_eq!(answer.status, 304);
    app.expect_waits("unchanged", 1).await;
    app.expect_waits("changed", 0).await;
    app.stop().await;
}

#[actix_rt::test]
async fn a_head_waits_like_a_get_also_with_a_precondition_that_memory_does_not_decide() {
    let app = App::start(Data::sample()).await;
    let url = next(&app.get(CHANGES).await);
    let head = app.send(Method::HEAD, &url, &[]);
    let conditional = app.get_with(&url, &[("if-match", "*")]);
    let failing = app.get_with(&url, &[("if-match", "\"0000000000000000\"")]);
    let change = async {
        app.until_waiting(3).await;
        app.put("new", "active").await;
    };
    let ((head, conditional), (failing, ())) =
        join(join(head, conditional), join(failing, change)).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let board = app.get(BOARD).await;
    assert_eq!(head.header("etag"), board.header("etag"));
    assert_eq!(conditional.status, 200);
    assert_eq!(conditional.body, board.body);
    assert_ne!(next(&conditional), url);
    assert_eq!(failing.status, 412);
    app.stop().await;
}

#[actix_rt::test]
async fn polls_are_answered_while_requests_wait() {
    let app = App::start_with_options(Data::sample(), &["--max-waits-per-address", "1000"]).await;
    let url = next(&app.get(CHANGES).await);
    let waiting = join_all((0..1000).map(|_| app.get(&url)));
    let polls = async {
        app.until_waiting(1000).await;
        for _ in 0..100 {
            assert_eq!(app.get(BOARD).await.status, 200);
        }
        assert_eq!(app.waiters().await, 1000);
        app.put("new", "active").await;
    };
    let (answers, ()) = join(waiting, polls).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    app.stop().await;
}

#[actix_rt::test]
async fn beyond_the_limits_a_request_is_answered_at_once_with_retry_after() {
    for (options, admitted) in [
        (["--max-waits", "2"], 2),
        (["--max-waits-per-address", "3"], 3),
        (["--max-waits", "0"], 0),
    ] {
        let app = App::start_with_options(Data::sample(), &options).await;
        let first = app.get(CHANGES).await;
        let url = next(&first);
        let waiting = join_all((0..admitted).map(|_| app.get(&url)));
        let others = async {
            app.until_waiting(admitted).await;
            let refused = app.get(&url).await;
            assert_eq!(refused.status, 200);
            assert_eq!(refused.body, first.body);
            assert_eq!(refused.header("retry-after"), "5");
            assert_eq!(refused.header("cache-control"), "no-store");
            app.expect_waits("refused", 1).await;
            app.put("new", "active").await;
        };
        join(waiting, others).await;
        app.stop().await;
    }
    // A long head may not wait: it would have to be kept.
    let app = App::start(Data::sample()).await;
    let url = next(&app.get(CHANGES).await);
    let long = app.get_with(&url, &[("x-long", &"a".repeat(1300))]).await;
    assert_eq!(
        (long.status.as_u16(), long.header("retry-after")),
        (200, "5")
    );
    app.stop().await;
}

#[test]
fn clients_that_wait_leave_connections_to_polls_and_health_checks() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let data = Data::sample();
    let many = ["--workers", "1", "--max-waits-per-address", "1000"];
    let few = [&many[..], &["--max-connections", "100"]].concat();
    for (script, options) in [
        (r#"ulimit -n 256; exec "$0" "$@""#, &many[..]),
        (r#"exec "$0" "$@""#, &few[..]),
    ] {
        let service = Service::start(in_shell(script, &serve(&data.location(), options)));
        let first = Client::connect(&service.address).ask(get(CHANGES, ""));
        let link = first.head.split_once("link: <").unwrap().1;
        let url = format!("{CHANGES}{}", link.split_once('>').unwrap().0);
        let events = get("/v1/events", "");
        // More than there are connections. Each one that is refused lingers for up to a second.
        let _clients: Vec<Client> = (0..200)
            .map(|number| {
                let mut client = Client::connect(&service.address);
                client.send(if number % 3 == 0 {
                    events.clone()
                } else {
                    get(&url, "")
                });
                client
            })
            .collect();
        for path in [BOARD, "/health/ready", "/metrics"] {
            let answer = Client::connect(&service.address).ask(get(path, ""));
            assert_eq!(answer.status, 200, "{path}");
        }
        let metrics = Client::connect(&service.address).ask(get("/metrics", ""));
        let metrics = String::from_utf8(metrics.body).unwrap();
        let metric = |name: &str| {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().trim().parse::<usize>().unwrap()
        };
        let connections = metric("publisher_http_connections_max ");
        let left = connections.div_ceil(4);
        assert_eq!(metric("publisher_waiters "), connections - left);
    }
}

#[test]
fn the_log_says_how_many_requests_may_wait_and_how_many_connections_few_descriptors_allow() {
    let data = Data::sample();
    // The server ends when it cannot listen.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (limit, options, expected) in [
        (20_000, &[][..], ["", ""]),
        (
            256,
            &[],
            ["instead of 10000 (--max-waits)", "the public address: "],
        ),
        (256, &["--max-waits", "5"], ["", "the public address: "]),
        (
            20_000,
            &["--max-connections", "25000"],
            ["", "instead of 25000 (--max-connections"],
        ),
        (
            20_000,
            &["--max-connections", "100"],
            ["at most 75 requests may wait for a change", ""],
        ),
    ] {
        let mut serve = publisher(&["serve", "--workers", "1", "--address", &address]);
        serve.arg("--database").arg(data.location()).args(options);
        let script = format!(r#"ulimit -n {limit}; exec "$0" "$@""#);
        let output = in_shell(&script, &serve).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let [waits, connections] = expected;
        for (text, expected) in [
            ("requests may wait for a change", waits),
            ("file descriptors", connections),
        ] {
            let lines: Vec<&str> = said.lines().filter(|line| line.contains(text)).collect();
            assert_eq!(lines.len(), usize::from(!expected.is_empty()), "{said}");
            assert!(lines.iter().all(|line| line.contains(expected)), "{said}");
        }
    }
}

#[actix_rt::test]
async fn clients_behind_a_trusted_proxy_are_counted_one_by_one_by_their_64_in_ipv6() {
    let options = [
        "--max-waits-per-address",
        "1",
        "--trusted-proxies",
        "127.0.0.1",
    ];
    let app = App::start_with_options(Data::sample(), &options).await;
    let url = next(&app.get(CHANGES).await);
    let clients = [
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8:1:1::1",
        "2001:db8:1:2::1",
    ]
    .map(|client| [("x-forwarded-for", client)]);
    let waiting = join_all(clients.iter().map(|client| app.get_with(&url, client)));
    let others = async {
        app.until_waiting(4).await;
        for client in ["192.0.2.1", "2001:db8:1:1::2"] {
            let refused = app.get_with(&url, &[("x-forwarded-for", client)]).await;
            assert_eq!(refused.header("retry-after"), "5", "{client}");
        }
        app.put("new", "active").await;
    };
    join(waiting, others).await;
    app.stop().await;
}

#[actix_rt::test]
async fn a_client_that_has_a_board_of_another_lineage_or_a_newer_one_is_not_answered_in_a_loop() {
    let app = App::start_with_options(Data::sample(), &["--wait-slot-secs", "1"]).await;
    let url = next(&app.get(CHANGES).await);
    let (position, slot) = url.split_once("&slot=").unwrap();
    let (lineage, version) = position.rsplit_once('.').unwrap();
    // One request more, and then it waits.
    let (head, _) = lineage.split_at(lineage.len() - 16);
    let other = format!("{head}0123456789abcdef");
    let other = app.get(&format!("{other}.{version}&slot={slot}")).await;
    assert_eq!(next(&other), url);
    app.expect_waits("unchanged", 0).await;
    // As of a replica that is ahead of this one.
    let ahead = app.get(&format!("{lineage}.999999&slot={slot}")).await;
    assert_eq!(ahead.status, 200);
    assert_eq!(ahead.header("cache-control"), "public, max-age=1");
    app.expect_waits("unchanged", 1).await;
    app.stop().await;
}

#[actix_rt::test]
async fn a_client_between_two_servers_whose_slots_differ_is_not_answered_in_a_loop() {
    // As with other values of --wait-slot-secs, and with clocks that differ by ten days.
    let servers = [
        App::start_with_options(Data::sample(), &["--wait-slot-secs", "1"]).await,
        App::start_with_options(Data::sample(), &["--wait-slot-secs", "2"]).await,
        App::start_with_options(Data::sample(), &["--wait-slot-secs", "1"]).await,
    ];
    servers[2].clock.advance(Duration::from_secs(864_000));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let at_once = |app: usize, url: String| {
            let app = &servers[app];
            async move {
                let before = app.waits("unchanged").await;
                // The same board: only the slot is that of the other server.
                let slot = url.rsplit_once("&slot=").unwrap().1.to_owned();
                let own = next(&app.get(CHANGES).await);
                let own = own.rsplit_once("&slot=").unwrap().0.to_owned();
                let answer = app.get(&format!("{own}&slot={slot}")).await;
                (app.waits("unchanged").await == before, next(&answer))
            }
        };
        let url = next(&servers[other].get(CHANGES).await);
        let (first, url) = at_once(one, url).await;
        let (second, _) = at_once(other, url).await;
        assert!(!(first && second), "{one} {other}");
    }
    for server in servers {
        server.stop().await;
    }
}

#[actix_rt::test]
async fn invalid_parameters_are_errors() {
    let app = App::start(Data::sample()).await;
    let after = "after must be a position, as the Link of an answer gives it";
    let slot = "slot must be a number, as the Link of an answer gives it";
    for (query, detail) in [
        ("after=", after),
        ("after=x", after),
        ("after=1-0123456789abcdef.%31%32x", after),
        ("after=%FF", after),
        ("slot=", slot),
        ("slot=-1", slot),
        ("slot=99999999999999999999", slot),
        ("after=x&slot=1", after),
    ] {
        let answer = app.get(&format!("{CHANGES}?{query}")).await;
        answer.assert_error(400, detail);
        assert_eq!(answer.header("cache-control"), "public, max-age=1");
    }
    let ignored = app.get(&format!("{CHANGES}?_=1718&x")).await;
    assert_eq!(ignored.status, 200);
    app.stop().await;
}

fn ids(page: &Answer) -> Vec<String> {
    let page = page.json();
    let items = page["items"].as_array().unwrap();
    let id = |item: &serde_json::Value| item["id"].as_str().unwrap().to_owned();
    items.iter().map(id).collect()
}

impl App {
    async fn post(&self, rows: &[String]) {
        let body = format!("[{}]", rows.join(","));
        let posted = self.admin(Method::POST, "/v1/admin/eval-runs", body).await;
        assert_eq!(posted.status, 200, "{}", posted.text());
    }
}

#[actix_rt::test]
async fn a_page_at_the_end_of_the_feed_waits_for_eval_runs_one_read_for_500_clients() {
    let app = App::start_with_options(Data::sample(), &["--max-waits-per-address", "500"]).await;
    let first = app.get(&format!("{FEED}?since_seq=0")).await;
    assert_eq!(first.header("cache-control"), "public, max-age=1");
    let url = next_of(FEED, &first);
    assert!(url.contains("&slot="), "{url}");
    let reads = app
        .metric("publisher_feed_pages_total{from=\"read\"} ")
        .await;
    let clients = join_all((0..500).map(|_| app.get_with(&url, &[("accept-encoding", "gzip")])));
    let change = async {
        app.until_waiting(500).await;
        // Long enough to be encoded.
        app.post(
            &(0..50)
                .map(|number| row(&format!("r{number}")))
                .collect::<Vec<_>>(),
        )
        .await;
    };
    let (answers, ()) = join(clients, change).await;
    for answer in &answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), "gzip");
        assert_eq!(answer.body, answers[0].body);
        assert_eq!(answer.header("cache-control"), "public, max-age=15");
        assert_ne!(next_of(FEED, answer), url);
    }
    let all_reads = app
        .metric("publisher_feed_pages_total{from=\"read\"} ")
        .await;
    assert_eq!(all_reads, reads + 1);
    app.expect_waits("changed", 500).await;
    assert_eq!(app.metric("publisher_wake_seconds_count ").await, 500);
    // Late, at the same URL.
    assert_eq!(ids(&app.get(&url).await).len(), 50);
    app.stop().await;
}

#[actix_rt::test]
async fn a_page_that_has_eval_runs_already_is_answered_at_once() {
    let app = App::start(Data::sample()).await;
    // The first write of the process begins its lineage.
    app.post(&[row("first")]).await;
    let first = format!("/api/cathedral{FEED}?since_seq=0&limit=2");
    let empty = next_of(FEED, &app.get(&first).await);
    app.post(&["a", "b", "c"].map(row)).await;
    // Read by the application, then from memory.
    for _ in 0..2 {
        let full = app.get(&empty).await;
        assert_eq!(ids(&full), ["a", "b"]);
        let immutable = "public, max-age=31536000, immutable";
        assert_eq!(full.header("cache-control"), immutable);
        let url = next_of(FEED, &full);
        assert!(url.ends_with("&limit=2"), "{url}");
        let short = app.get(&url).await;
        assert_eq!(ids(&short), ["c"]);
        assert_eq!(short.header("cache-control"), "public, max-age=1");
        assert!(
            next_of(FEED, &short).contains("&limit=2&slot="),
            "{short:?}"
        );
    }
    app.stop().await;
}

#[actix_rt::test]
async fn at_the_end_of_its_slot_a_page_is_answered_empty_with_the_same_cursor() {
    // Long enough for a busy machine to write while the request waits.
    let app = App::start_with_options(Data::sample(), &["--wait-slot-secs", "5"]).await;
    app.post(&[row("a")]).await;
    let url = next_of(FEED, &app.get(&format!("{FEED}?since_seq=0")).await);
    let unpublished = row("old").replace(":5", ":4");
    let write = async {
        app.until_waiting(1).await;
        app.post(&[unpublished]).await;
    };
    let (answer, ()) = join(app.get(&url), write).await;
    assert_eq!(ids(&answer), [""; 0]);
    assert_eq!(answer.header("cache-control"), "public, max-age=15");
    let next_since_seq = answer.json()["next_since_seq"].as_str().unwrap().to_owned();
    assert!(
        url.contains(&format!("since_seq={next_since_seq}&")),
        "{url}"
    );
    app.expect_waits("unchanged", 1).await;
    let held = [("if-none-match", answer.header("etag"))];
    assert_eq!(app.get_with(&url, &held).await.status, 304);
    app.expect_waits("unchanged", 2).await;
    // None of these waits.
    let (without_slot, slot) = url.split_once("&slot=").unwrap();
    for url in [
        without_slot.to_owned(),
        format!("{without_slot}&slot=0"),
        format!("{FEED}?since_ran_at=2030-01-01T00:00:00Z&slot={slot}"),
        format!("{FEED}?since_ran_at=2030-01-01T00:00:00Z&slot=x"),
    ] {
        let answer = app.get(&url).await;
        assert_eq!(
            (answer.status.as_u16(), ids(&answer).len()),
            (200, 0),
            "{url}"
        );
    }
    let refused = app.get(&format!("{without_slot}&slot=x")).await;
    refused.assert_error(
        400,
        "slot must be a number, as the Link of an answer gives it",
    );
    app.expect_waits("unchanged", 2).await;
    app.stop().await;
}

#[actix_rt::test]
async fn a_client_that_has_eval_runs_which_were_deleted_is_not_answered_in_a_loop() {
    let app = App::start_with_options(Data::sample(), &["--wait-slot-secs", "5"]).await;
    app.post(&["a", "b"].map(row)).await;
    let url = next_of(FEED, &app.get(&format!("{FEED}?since_seq=0")).await);
    app.data
        .database
        .execute("DELETE FROM eval_runs WHERE id = 'b'");
    let is_seen = async || {
        app.clock.advance(Duration::from_millis(500));
        ids(&app.get(&format!("{FEED}?since_seq=0")).await) == ["a"]
    };
    wait_until("the deletion", is_seen).await;
    let now = next_of(FEED, &app.get(&format!("{FEED}?since_seq=0")).await);
    let (_, slot) = now.split_once("&slot=").unwrap();
    let (held, _) = url.split_once("&slot=").unwrap();
    let answer = app.get(&format!("{held}&slot={slot}")).await;
    assert_eq!(ids(&answer), [""; 0]);
    app.expect_waits("unchanged", 1).await;
    let again = next_of(FEED, &answer);
    let (waited, ()) = join(app.get(&again), async {
        app.until_waiting(1).await;
        app.post(&[row("c")]).await;
    })
    .await;
    assert_eq!(ids(&waited), ["c"]);
    app.stop().await;
}

#[actix_rt::test]
async fn a_client_that_follows_the_links_gets_every_row_once_in_the_order_of_commits() {
    let app = App::start(Data::sample()).await;
    let count = 200;
    let names: Vec<String> = (0..count).map(|number| format!("r{number}")).collect();
    let follow = async |limit: usize| {
        let (mut seen, mut url) = (Vec::new(), format!("{FEED}?since_seq=0&limit={limit}"));
        while seen.len() < count {
            let page = app.get(&url).await;
            assert_eq!(page.status, 200);
            seen.extend(ids(&page));
            url = next_of(FEED, &page);
        }
        seen
    };
    let write = async {
        for group in names.chunks(3) {
            // Each earlier than the one before.
            let at = |(at, id): (usize, &String)| {
                row(id).replace("07T00:00:00", &format!("07T00:00:{:02}", 59 - at))
            };
            app.post(&group.iter().enumerate().map(at).collect::<Vec<_>>())
                .await;
        }
    };
    let ((few, many), ()) = join(join(follow(2), follow(200)), write).await;
    assert_eq!(few, names);
    assert_eq!(many, names);
    assert_eq!(app.waiters().await, 0);
    app.stop().await;
}

/// Asks for changes, and returns the path that the answer links to.
fn follow(client: &mut Client) -> String {
    let answer = client.ask(get(CHANGES, ""));
    let link = answer.head.split("\r\nlink: <").nth(1).unwrap();
    format!("{CHANGES}{}", link.split('>').next().unwrap())
}

pub fn metric(address: &str, name: &str) -> String {
    let metrics = Client::connect(address).ask(get("/metrics", ""));
    let metrics = String::from_utf8(metrics.body).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is missing"))
        .trim()
        .to_owned()
}

pub fn put(address: &str, id: &str) {
    let (body, token) = (challenge(id, "active").to_string(), TOKENS[0]);
    let length = body.len();
    let put = Client::connect(address).ask(format!(
        "PUT /v1/admin/challenges/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    assert_eq!(put.status, 200, "{}", put.head);
}

#[test]
fn a_request_behind_one_that_waits_is_answered_after_it() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &[]));
    let mut client = Client::connect(&service.address);
    let url = follow(&mut client);
    client.send(get(&url, "") + &get(BOARD, "If-None-Match: *\r\n"));
    eventually("a waiter", || {
        metric(&service.address, "publisher_waiters ") == "1"
    });
    put(&service.address, "new");
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 304);
}

#[test]
fn a_client_that_sends_much_behind_a_request_that_waits_is_answered_at_once() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &[]));
    let mut client = Client::connect(&service.address);
    let url = follow(&mut client);
    let more = get(BOARD, "If-None-Match: *\r\n");
    client.send(get(&url, "") + &more.repeat(500));
    let refused = client.answer();
    assert!(
        refused.head.contains("\r\nretry-after: 5\r\n"),
        "{}",
        refused.head
    );
    assert!(refused.head.contains("\r\ncache-control: no-store\r\n"));
    for _ in 0..500 {
        assert_eq!(client.answer().status, 304);
    }
    assert_eq!(metric(&service.address, "publisher_waiters "), "0");
}

#[test]
fn a_client_that_goes_gives_its_place_back() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &["--max-waits", "50"]));
    let address = &service.address;
    let mut first = Client::connect(address);
    let url = follow(&mut first);
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send(get(&url, ""));
    }
    eventually("50 waiters", || {
        metric(address, "publisher_waiters ") == "50"
    });
    let refused = first.ask(get(&url, ""));
    assert!(refused.head.contains("\r\nretry-after: 5\r\n"));
    assert!(refused.closes(), "an idle connection would take a place");
    drop(clients);
    eventually("no waiter", || metric(address, "publisher_waiters ") == "0");
    let gone = metric(address, "publisher_waits_total{outcome=\"gone\"} ");
    assert_eq!(gone, "50");
    let mut again = Client::connect(address);
    again.send(get(&url, ""));
    eventually("a waiter", || metric(address, "publisher_waiters ") == "1");
}

#[test]
fn after_a_stop_has_begun_all_that_wait_are_answered_and_their_connections_close() {
    let data = Data::sample();
    let options = [
        "--max-waits-per-address",
        "300",
        "--shutdown-grace-ms",
        "600000",
    ];
    let service = Service::start(serve(&data.location(), &options));
    let url = follow(&mut Client::connect(&service.address));
    let mut clients: Vec<_> = (0..300)
        .map(|_| Client::connect(&service.address))
        .collect();
    for client in &mut clients {
        client.send(get(&url, ""));
    }
    eventually("300 waiters", || {
        metric(&service.address, "publisher_waiters ") == "300"
    });
    service.signal("-TERM");
    // Long before the slot ends or idle connections are closed: the test would run into its time limit.
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.closes(), "{}", answer.head);
        // The slot goes on: a cache must not answer it with this.
        assert!(answer.head.contains("\r\ncache-control: no-store\r\n"));
        assert!(answer.head.contains("\r\nretry-after: 1\r\n"));
        client.assert_ends();
    }
    assert_eq!(service.ended().0, Some(0));
}
