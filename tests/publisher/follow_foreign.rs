//! Following a publisher of another make, which is polled:
//!
//! - board, pages, tags and the epoch are those of the upstream, and change with it; eval runs that come late below the
//!   cursor are copied, too
//! - while nothing changes, polls are answered by 304
//! - an upstream that dies, lies or breaks loses nothing that was copied, and is followed again when it returns
//! - with `--jwks` only eval runs with a valid signature are copied, and the live ones are
//! - the log names the path, the eval run and the challenge that something was wrong with
//! - an eval run with other bytes or invalid content is left out, and the others go on

use std::time::Duration;

use cathedral_publisher::demo::sample::Sample;
use tempfile::TempDir;

use crate::{
    app::{BOARD, FEED, eventually, live_answer},
    follow::row,
    foreign::{Answer, Fault, Foreign, board},
    process::{Service, get, run, serve},
};

const PAGES: [&str; 5] = [
    "?since_ran_at=2000-01-01T00:00:00Z&since_id=&limit=1000",
    "?since_ran_at=2000-01-01T00:00:00Z&since_id=",
    "?since_ran_at=2000-01-01T00:00:00Z&since_id=&limit=100",
    "?since_ran_at=2026-06-07T00:00:03.000Z&since_id=r3&limit=3",
    "?since=2026-06-07T00:00:05.000Z",
];

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn tag(answer: &str) -> &str {
    let etag = answer
        .lines()
        .find(|line| line.to_lowercase().starts_with("etag: "));
    &etag.unwrap()["etag: ".len()..]
}

fn metric(address: &str, name: &str) -> u64 {
    let metrics = get(address, "/metrics", "");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value
        .unwrap_or_else(|| panic!("{name} is missing"))
        .trim()
        .parse()
        .unwrap()
}

fn follow(folder: &TempDir, upstream: &Foreign) -> Service {
    let options = ["--follow", &upstream.url, "--follow-poll-ms", "20"];
    Service::start(serve(&folder.path().join("copy.db"), &options))
}

fn is_same(upstream: &str, follower: &str, target: &str) -> bool {
    let (theirs, ours) = (get(upstream, target, ""), get(follower, target, ""));
    ours.starts_with("HTTP/1.1 200") && body(&theirs) == body(&ours) && tag(&theirs) == tag(&ours)
}

fn until_same(upstream: &Foreign, follower: &Service) {
    let address = upstream.url.strip_prefix("http://").unwrap();
    let targets = PAGES
        .map(|page| format!("{FEED}{page}"))
        .into_iter()
        .chain([BOARD.to_owned()]);
    for target in targets {
        eventually(&target, || is_same(address, &follower.address, &target));
    }
}

#[test]
fn board_pages_tags_and_the_epoch_are_those_of_the_upstream_and_change_with_it() {
    let folder = TempDir::new().unwrap();
    let upstream = Foreign::start();
    let mut sample = Sample::new(7);
    let mut challenges = sample.board();
    upstream.world().board = board(&challenges);
    for number in 0..450 {
        upstream.put_row(&row(
            &format!("r{number}"),
            &format!("00:{:02}:{:02}.{number:03}", number / 60, number % 60),
        ));
    }
    let follower = follow(&folder, &upstream);
    until_same(&upstream, &follower);
    // Late, and at the end; a challenge leaves, and another one comes.
    upstream.put_row(&row("late", "00:06:40.000"));
    upstream.put_row(&row("new", "02:00:00.000"));
    challenges.remove(3);
    challenges.push(sample.challenge(3));
    upstream.world().board = board(&challenges);
    upstream.world().epoch = Some(9);
    until_same(&upstream, &follower);
    upstream.world().epoch = Some(4);
    upstream.world().board = board(&[]);
    until_same(&upstream, &follower);
    eventually("readiness", || {
        let ready = get(&follower.address, "/health/ready", "");
        ready.starts_with("HTTP/1.1 200") && ready.contains(r#""upstream":"ok""#)
    });
    // It gives cursors of its own.
    assert!(
        body(&get(&follower.address, &format!("{FEED}?since_seq=0"), ""))
            .contains("next_since_seq")
    );
}

#[test]
fn while_nothing_changes_polls_are_answered_by_304() {
    let folder = TempDir::new().unwrap();
    let upstream = Foreign::start();
    for number in 0..250 {
        upstream.put_row(&row(
            &format!("r{number}"),
            &format!("00:00:{:02}.{number:03}", number % 60),
        ));
    }
    let follower = follow(&folder, &upstream);
    until_same(&upstream, &follower);
    eventually("a poll from its steady beginning", || {
        let world = upstream.world();
        world
            .asked
            .iter()
            .rev()
            .take(6)
            .all(|(_, is_same)| *is_same)
    });
    upstream.world().asked.clear();
    eventually("many polls", || upstream.world().asked.len() > 30);
    let asked = upstream.world().asked.clone();
    assert!(asked.iter().all(|(_, is_same)| *is_same), "{asked:?}");
    assert!(
        metric(
            &follower.address,
            "publisher_follow_requests_total{outcome=\"not_modified\"}"
        ) > 20
    );
}

#[test]
fn an_upstream_that_dies_lies_or_breaks_loses_nothing_and_is_followed_again() {
    std::thread::scope(|scope| {
        for (name, fault, counter) in faults() {
            scope.spawn(move || survives(name, fault, &format!("publisher_follow_{counter}")));
        }
    });
}

/// What the upstream does, and what is counted then.
fn faults() -> [(&'static str, Fault, &'static str); 14] {
    let now = Duration::ZERO;
    let failed = "requests_total{outcome=\"failed\"}";
    let status = "requests_total{outcome=\"status\"}";
    let (form, coding) = (
        "rejected_total{reason=\"form\"}",
        "rejected_total{reason=\"coding\"}",
    );
    fn length(answer: &Answer) -> usize {
        answer.body.len()
    }
    [
        ("dies", Fault::Bytes("", b"", now), failed),
        (
            "a body ends early",
            Fault::Answer(|_, answer| {
                answer.set("content-length", &(length(answer) + 1).to_string());
                answer.set("connection", "close");
            }),
            failed,
        ),
        (
            "the last chunk is missing",
            Fault::Answer(|_, answer| {
                answer.set("transfer-encoding", "chunked");
                answer.set("connection", "close");
                let chunk = format!("{:x}\r\n", length(answer)).into_bytes();
                answer.body = [&chunk, &*answer.body, b"\r\n"].concat();
            }),
            failed,
        ),
        (
            "a byte is another one, under the same tag",
            Fault::Answer(|_, answer| {
                let text = String::from_utf8(answer.body.clone()).unwrap();
                let text = text.replacen(":1", ":7", 1).replacen(":0", ":7", 1);
                answer.body = text.into_bytes();
            }),
            "rejected_total{reason=\"tag\"}",
        ),
        (
            "the items are in the opposite order",
            Fault::Content(|_, text| {
                let (Some(begin), Some(end)) = (text.find("[{"), text.rfind("}]")) else {
                    return;
                };
                let mut items: Vec<&str> = text[begin + 2..end].split("},{").collect();
                items.reverse();
                let items = items.join("},{");
                text.replace_range(begin + 2..end, &items);
            }),
            "rejected_total{reason=\"order\"}",
        ),
        (
            "the JSON has spaces",
            Fault::Content(|_, text| *text = text.replace("\":", "\": ")),
            form,
        ),
        (
            "the page of a captive portal",
            Fault::Answer(|_, answer| {
                answer.status = 200;
                answer.fields.clear();
                answer.body = b"<html>".to_vec();
            }),
            "rejected_total{reason=\"tag\"}",
        ),
        (
            "no entity-tag",
            Fault::Answer(|_, answer| answer.remove("etag")),
            "rejected_total{reason=\"tag\"}",
        ),
        (
            "a redirect",
            Fault::Answer(|_, answer| {
                answer.status = 302;
                answer.set("location", "http://127.0.0.1:1/");
            }),
            status,
        ),
        (
            "an error",
            Fault::Answer(|_, answer| answer.status = 500),
            status,
        ),
        (
            "a body without end",
            Fault::Bytes("HTTP/1.1 200 x\r\n\r\n", &[b'['; 65_536], now),
            "rejected_total{reason=\"size\"}",
        ),
        (
            "a coding that was not asked for",
            Fault::Answer(|_, answer| answer.set("content-encoding", "deflate")),
            coding,
        ),
        (
            "no gzip",
            Fault::Answer(|_, answer| answer.set("content-encoding", "gzip")),
            coding,
        ),
        (
            "always 304",
            Fault::Answer(|_, answer| answer.status = 304),
            "requests_total{outcome=\"not_modified\"}",
        ),
    ]
}

fn survives(name: &str, fault: Fault, counter: &str) {
    let folder = TempDir::new().unwrap();
    let upstream = Foreign::start();
    let mut sample = Sample::new(3);
    upstream.world().board = board(&sample.board());
    for number in 0..9 {
        upstream.put_row(&row(
            &format!("r{number}"),
            &format!("00:00:{number:02}.000"),
        ));
    }
    let follower = follow(&folder, &upstream);
    until_same(&upstream, &follower);
    let copied = || {
        let targets = PAGES
            .map(|page| format!("{FEED}{page}"))
            .into_iter()
            .chain([BOARD.to_owned()]);
        targets
            .map(|target| body(&get(&follower.address, &target, "")).to_owned())
            .collect::<Vec<_>>()
    };
    let before = copied();
    let counted = metric(&follower.address, counter);
    upstream.world().fault = fault;
    upstream.world().board = board(&sample.board());
    upstream.put_row(&row("new", "00:00:09.000"));
    eventually(name, || metric(&follower.address, counter) > counted + 1);
    assert_eq!(copied(), before, "{name}");
    upstream.world().fault = Fault::None;
    until_same(&upstream, &follower);
}

#[test]
fn an_eval_run_with_other_bytes_or_invalid_content_is_left_out_and_the_others_go_on() {
    let folder = TempDir::new().unwrap();
    let upstream = Foreign::start();
    upstream.put_row(&row("a", "00:00:01.000"));
    upstream.put_row(&row("b", "00:00:02.000").replace("{\"id\"", "{\"x\":1,\"x\":2,\"id\""));
    upstream.put_row(&row("c", "00:00:03.000"));
    let follower = follow(&folder, &upstream);
    let target = format!("{FEED}{}", PAGES[0]);
    let ids = || {
        let page: serde_json::Value =
            serde_json::from_str(body(&get(&follower.address, &target, ""))).unwrap();
        // Before the first copy there is an error in its place.
        let items = page["items"].as_array().into_iter().flatten();
        items
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    eventually("the valid ones", || ids() == ["a", "c"]);
    let rejected = |reason: &str| {
        metric(
            &follower.address,
            &format!("publisher_follow_rejected_total{{reason=\"{reason}\"}}"),
        )
    };
    assert_eq!((rejected("row"), rejected("conflict")), (1, 0));
    upstream.put_row(&row("c", "00:00:03.000").replace("1.0", "2.0"));
    upstream.put_row(&row("d", "00:00:04.000"));
    eventually("the next one", || ids() == ["a", "c", "d"]);
    eventually("the conflict", || rejected("conflict") == 1);
    assert_eq!(rejected("row"), 1, "it is told once");
    assert!(
        body(&get(&follower.address, &target, ""))
            .contains(r#""id":"c","ran_at":"2026-06-07T00:00:03.000Z","weighted_score":1.0"#)
    );
}

#[test]
fn the_log_names_what_was_wrong_and_where() {
    let folder = TempDir::new().unwrap();
    let upstream = Foreign::start();
    let mut challenges = Sample::new(7).board();
    challenges.sort_by_key(|it| (it.tier, it.challenge_id.clone()));
    upstream.world().board = board(&challenges);
    for number in 0..20 {
        upstream.put_row(&row(
            &format!("r{number}"),
            &format!("00:00:{number:02}.000"),
        ));
    }
    let follower = follow(&folder, &upstream);
    until_same(&upstream, &follower);
    let rejected = |reason: &str| {
        let name = format!("publisher_follow_rejected_total{{reason=\"{reason}\"}}");
        metric(&follower.address, &name)
    };
    upstream.put_row(&row("r3", "00:00:03.000").replace("1.0", "2.0"));
    eventually("the conflict", || rejected("conflict") == 1);
    challenges[0].cnf_sha256 = "0".repeat(64);
    upstream.world().board = board(&challenges);
    eventually("the other formula", || {
        is_same(
            upstream.url.strip_prefix("http://").unwrap(),
            &follower.address,
            BOARD,
        )
    });
    let text = board(&challenges).replacen("\"storage\":\"file\"", "\"storage\":\"tape\"", 1);
    upstream.world().board = text;
    eventually("the board", || rejected("form") > 0);
    follower.signal("-TERM");
    let (_, log) = follower.ended();
    for said in [
        "the eval run \"r3\" of the upstream is left out for good: it is stored with other bytes",
        "the upstream has changed the formula of challenge",
        "/v1/synthetic-boolean/active-challenges: its answer is rejected: form: challenge ",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    for not_said in ["item 0", "r4"] {
        assert!(!log.contains(not_said), "{not_said}: {log}");
    }
}

#[test]
fn with_jwks_only_eval_runs_with_a_valid_signature_are_copied() {
    let folder = TempDir::new().unwrap();
    let upstream = Foreign::start();
    let rows = run(&["sample", "rows", "--count", "30", "--seed", "4"]).stdout;
    let rows = String::from_utf8(rows).unwrap();
    for (number, row) in rows.lines().enumerate() {
        let is_forged = number % 10 == 7;
        let forged = row.replace("\"weighted_score\":1.0", "\"weighted_score\":2.0");
        assert_ne!(forged, row);
        upstream.put_row(if is_forged { &forged } else { row });
    }
    let keys = folder.path().join("jwks.json");
    std::fs::write(&keys, run(&["sample", "jwks"]).stdout).unwrap();
    let follower = |name: &str| {
        let options = ["--follow", &upstream.url, "--jwks", keys.to_str().unwrap()];
        let mut command = serve(&folder.path().join(name), &options);
        command.env("PUBLISHER_FOLLOW_POLL_MS", "20");
        Service::start(command)
    };
    let strict = follower("strict.db");
    let all = format!("{FEED}{}", PAGES[0]);
    let rejected = "publisher_follow_rejected_total{reason=\"signature\"}";
    eventually("the signed ones", || {
        let page = get(&strict.address, &all, "");
        page.matches("\"cathedral_signature\"").count() == 27 && !page.contains(":2.0")
    });
    eventually("the others", || metric(&strict.address, rejected) == 3);
    let keys = get(&strict.address, "/.well-known/cathedral-jwks.json", "");
    assert!(keys.starts_with("HTTP/1.1 200"), "{keys}");
}

#[test]
fn the_live_answers_are_copied_with_their_signatures() {
    #[derive(serde::Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        items: Vec<&'a serde_json::value::RawValue>,
    }
    let names = ["board.json", "rows.json", "jwks.json"];
    let [Some(board), Some(rows), Some(keys)] = names.map(live_answer) else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let upstream = Foreign::start();
    upstream.world().board = std::fs::read_to_string(board).unwrap();
    let page = std::fs::read_to_string(rows).unwrap();
    let page: Page<'_> = serde_json::from_str(&page).unwrap();
    for row in page.items {
        upstream.put_row(row.get());
    }
    let options = ["--follow", &upstream.url, "--jwks", keys.to_str().unwrap()];
    let follower = Service::start(serve(&folder.path().join("copy.db"), &options));
    until_same(&upstream, &follower);
}
