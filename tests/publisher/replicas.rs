//! Two processes that serve one database, between which clients are sent to and fro:
//!
//! - entity-tags and bytes of every coding are equal in two processes
//! - the tag of any coding gets 304 from a process that has not made that coding
//! - clients that hold any tag get nothing but 304 while processes restart

use cathedral_publisher::demo::sample::Sample;
use sha2::{Digest, Sha256};

use crate::{
    app::{BOARD, CURRENT, Data, FEED, eventually},
    process::{Service, serve},
    wire::{self, Answer, Client},
};

const CODINGS: [&str; 4] = ["identity", "gzip", "zstd", "br"];

/// The board, current-challenge in two forms, and pages by both kinds of cursor, short and long ones.
fn paths() -> Vec<String> {
    let by_time = format!("{FEED}?since_ran_at=2026-06-01T00:00:00Z");
    let by_seq = format!("{FEED}?since_seq=0");
    vec![
        BOARD.to_owned(),
        CURRENT.to_owned(),
        format!("{CURRENT}?tier=2"),
        format!("{by_time}&limit=200"),
        format!("{by_time}&limit=1"),
        format!("{by_seq}&limit=50"),
        format!("{by_seq}&limit=200"),
    ]
}

fn data() -> Data {
    let data = Data::sample();
    data.sample_runs(120, "2026-06-07T00:00:00Z");
    data
}

fn ask(service: &Service, path: &str, fields: &str) -> Answer {
    Client::connect(&service.address).ask(wire::get(path, fields))
}

/// Returns the value of a header field, or an empty text.
fn field<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let begin = format!("\r\n{name}: ");
    let value = answer.head.split_once(&begin).map(|(_, rest)| rest);
    value.map_or("", |rest| rest.split("\r\n").next().unwrap())
}

/// What a client gets that excludes all other codings: status, coding, tag, `Vary`, `Cache-Control` and the body.
fn only(service: &Service, path: &str, coding: &str) -> (u16, Vec<String>) {
    let excluding = match coding {
        "identity" => String::new(),
        _ => format!("Accept-Encoding: {coding}, identity;q=0\r\n"),
    };
    let answer = ask(service, path, &excluding);
    let names = ["content-encoding", "etag", "vary", "cache-control"];
    let mut seen = names.map(|name| field(&answer, name).to_owned()).to_vec();
    seen.push(format!("{:x?}", Sha256::digest(&answer.body)));
    (answer.status, seen)
}

fn etag(service: &Service, path: &str, coding: &str) -> Option<String> {
    let (status, seen) = only(service, path, coding);
    (status == 200).then(|| seen[1].clone())
}

fn start(data: &Data) -> Service {
    Service::start(serve(&data.path(), &[]))
}

#[test]
fn entity_tags_and_bytes_of_every_coding_are_equal_in_two_processes() {
    let data = data();
    let [first, second] = [(); 2].map(|()| start(&data));
    for path in paths() {
        for coding in CODINGS {
            let ours = only(&first, &path, coding);
            assert_eq!(ours, only(&second, &path, coding), "{path} {coding}");
            let is_page = path.contains(FEED);
            let expected = if coding == "br" && is_page { 406 } else { 200 };
            assert_eq!(ours.0, expected, "{path} {coding}");
        }
    }
}

#[test]
fn the_tag_of_any_coding_gets_304_from_a_process_that_has_not_made_that_coding() {
    let data = data();
    let maker = start(&data);
    let mut asked = 0;
    for path in paths() {
        for coding in CODINGS {
            let Some(tag) = etag(&maker, &path, coding) else {
                continue;
            };
            // It has just started: gzip and zstd of the board are made, and nothing else.
            let fresh = start(&data);
            for accepted in [coding, "gzip, deflate, br, zstd, identity;q=0.1", "*"] {
                let fields = format!("Accept-Encoding: {accepted}\r\nIf-None-Match: {tag}\r\n");
                let answer = ask(&fresh, &path, &fields);
                assert_eq!(answer.status, 304, "{path} {coding} {accepted}");
                assert_eq!(field(&answer, "etag"), tag, "{path} {accepted}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, (3 * 4 + 4 * 3) * 3);
}

#[test]
fn clients_that_hold_any_tag_get_nothing_but_304_while_processes_restart() {
    let data = data();
    let mut services = [(); 2].map(|()| start(&data));
    let mut tags = Vec::new();
    for path in paths() {
        let known = CODINGS.map(|coding| etag(&services[0], &path, coding));
        tags.extend(known.into_iter().flatten().map(|tag| (path.clone(), tag)));
    }
    for round in 0..6 {
        let restarted = round % 2;
        services[restarted].signal("-TERM");
        services[restarted] = start(&data);
        for (path, tag) in &tags {
            for service in &services {
                let fields = format!("Accept-Encoding: br, zstd, gzip\r\nIf-None-Match: {tag}\r\n");
                let answer = ask(service, path, &fields);
                assert_eq!(answer.status, 304, "{round} {path} {tag}");
            }
        }
    }
    // After a change each of the old tags gets the new board from both.
    data.put(&[Sample::new(99).challenge(1)]);
    tags.retain(|(path, _)| path == BOARD);
    for (path, tag) in &tags {
        let fields = format!("Accept-Encoding: br, zstd, gzip\r\nIf-None-Match: {tag}\r\n");
        for service in &services {
            let is_new = || ask(service, path, &fields).status == 200;
            eventually("the new board", is_new);
        }
    }
}
