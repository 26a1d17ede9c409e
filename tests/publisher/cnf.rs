//! active-cnf, the formulas of challenges:
//!
//! - a formula is served whole, with the tag of its SHA-256, and caches may keep it for ever
//! - a client that has the formula gets 304, from memory if the file was looked at just before
//! - a range is served as 206, also of the coding that the client has a part of
//! - codings are made beside the formula, and each decodes to it
//! - codings are deleted with their challenge, and wrong ones are replaced
//! - codings have a bound in bytes
//! - what is not active, not stored or wrong gets 404 with the reason
//! - a formula that is repaired is served
//! - a file that changes while it is sent is cut off, and no wrong byte is sent
//! - 500 clients cause one read of each chunk
//! - slow clients keep nobody else out
//! - without a folder, and for submissions, the answer says that they are not served here
//! - the formula of a published challenge cannot change
//! - a slash at the end and challenge-broadcast are other names of the same answers

use std::{fs, io::Read as _, slice};

use awc::http::Method;
use cathedral_publisher::domain::challenge::Status;
use futures_util::future::join_all;

use crate::{
    app::{App, BOARD, CURRENT, Data, FEED, wait_until},
    cnf_files::{CNF, Folder, challenge, formula, path, tag},
    waiting::CHANGES,
    wire::{self, Client},
};

const PREFIX: &str = "/api/cathedral";

#[actix_web::test]
async fn a_formula_is_served_whole_and_caches_may_keep_it() {
    let folder = Folder::new();
    let body = formula(1, 460_000);
    let challenge = folder.store(Status::Active, &body);
    let app = folder.serve(slice::from_ref(&challenge), &[]).await;
    // The link of the board leads here.
    let board = app.get(BOARD).await.json();
    let link = board["items"][0]["active_cnf_path"].as_str().unwrap();
    for path in [link, &path(&challenge)] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body == body, "{path}");
        for (name, value) in [
            ("etag", tag(&challenge).as_str()),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", "460000"),
            ("accept-ranges", "bytes"),
            ("vary", "accept-encoding"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        let head = app.send(Method::HEAD, path, &[]).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        for name in [
            "etag",
            "cache-control",
            "content-type",
            "content-length",
            "accept-ranges",
        ] {
            assert_eq!(head.header(name), answer.header(name), "{name}");
        }
    }
    let post = app.send(Method::POST, link, &[]).await;
    assert_eq!(
        (post.status.as_u16(), post.header("allow")),
        (405, "GET, HEAD")
    );
    app.stop().await;
}

#[actix_web::test]
async fn an_empty_formula_has_no_range() {
    let folder = Folder::new();
    let challenge = folder.store(Status::Active, b"");
    let app = folder.serve(slice::from_ref(&challenge), &[]).await;
    let answer = app.get(&path(&challenge)).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    let answer = app
        .get_with(&path(&challenge), &[("range", "bytes=0-")])
        .await;
    assert_eq!(answer.status, 416);
    // No coding of it is ever made.
    let answer = app
        .get_with(
            &path(&challenge),
            &[("accept-encoding", "gzip, identity;q=0")],
        )
        .await;
    assert_eq!(answer.status, 406);
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_has_the_formula_gets_304() {
    let folder = Folder::new();
    let challenge = folder.store(Status::Active, &formula(1, 10_000));
    let app = folder.serve(slice::from_ref(&challenge), &[]).await;
    let (path, tag) = (path(&challenge), tag(&challenge));
    for field in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        // A precondition stands above a range (RFC 9110 §13.2.2).
        let headers = [("if-none-match", field.as_str()), ("range", "bytes=0-1")];
        for method in [Method::GET, Method::HEAD] {
            let answer = app.send(method, &path, &headers).await;
            assert_eq!(
                (answer.status.as_u16(), answer.body.len()),
                (304, 0),
                "{field}"
            );
            assert_eq!(answer.header("etag"), tag);
            assert_eq!(answer.header("vary"), "accept-encoding");
            assert_eq!(
                answer.header("cache-control"),
                "public, max-age=31536000, immutable"
            );
        }
    }
    for field in [&*tag, "*", "\"x\""] {
        let from_memory = async || {
            let fast = async || app.metric("publisher_http_fast_path_requests_total").await;
            let before = fast().await;
            let memory = app.get_with(&path, &[("if-none-match", field)]).await;
            let is_fast = fast().await > before;
            // This field is one for the application.
            let headers = [("if-none-match", field), ("te", "x")];
            let application = app.get_with(&path, &headers).await;
            assert_eq!(memory.status, application.status, "{field}");
            for name in [
                "etag",
                "vary",
                "cache-control",
                "content-type",
                "content-length",
            ] {
                assert_eq!(
                    memory.header(name),
                    application.header(name),
                    "{field}: {name}"
                );
            }
            assert!(memory.body == application.body);
            is_fast
        };
        if field == "\"x\"" {
            assert!(!from_memory().await, "the application sends files");
        } else {
            // Once a second the application looks at the file.
            wait_until("an answer from memory", from_memory).await;
        }
    }
    let refused = app.get_with(&path, &[("if-match", "\"x\"")]).await;
    refused.assert_error(412, "precondition failed");
    let matched = app
        .get_with(&path, &[("if-match", &tag), ("range", "bytes=5-6")])
        .await;
    assert_eq!(matched.status, 206);
    app.stop().await;
}

#[actix_web::test]
async fn a_range_is_served_as_206() {
    let folder = Folder::new();
    // Three chunks and a bit.
    let body = formula(2, 400_000);
    let challenge = folder.store(Status::Active, &body);
    let app = folder
        .serve(slice::from_ref(&challenge), &["--cnf-codings-mib", "0"])
        .await;
    let (path, tag) = (path(&challenge), tag(&challenge));
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=131071-131072", 131_071, 131_073),
        ("bytes=100000-399999", 100_000, 400_000),
        ("bytes=393216-", 393_216, 400_000),
        ("bytes=-1", 399_999, 400_000),
        ("bytes=5-99999999999999999999", 5, 400_000),
    ] {
        let answer = app.get_with(&path, &[("range", range)]).await;
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == body[from..to], "{range}");
        let expected = format!("bytes {from}-{}/400000", to - 1);
        assert_eq!(answer.header("content-range"), expected);
        assert_eq!(answer.header("content-length"), (to - from).to_string());
        assert_eq!(answer.header("etag"), tag);
        assert_eq!(answer.header("accept-ranges"), "bytes");
    }
    for range in ["bytes=400000-", "bytes=-0"] {
        let answer = app.get_with(&path, &[("range", range)]).await;
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!(answer.header("content-range"), "bytes */400000");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    // Several ranges, other units and malformed fields are ignored.
    for range in ["bytes=0-1,5-6", "lines=0-1", "bytes=2-1", "bytes=x"] {
        let answer = app.get_with(&path, &[("range", range)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.len()),
            (200, 400_000),
            "{range}"
        );
    }
    let weak = format!("W/{tag}");
    let date = "Tue, 09 Jun 2026 00:00:00 GMT";
    for (condition, status) in [
        (tag.as_str(), 206),
        (&weak, 200),
        ("\"x\"", 200),
        (date, 200),
        ("*", 200),
    ] {
        let headers = [("range", "bytes=0-9"), ("if-range", condition)];
        assert_eq!(
            app.get_with(&path, &headers).await.status,
            status,
            "{condition}"
        );
    }
    let head = app
        .send(Method::HEAD, &path, &[("range", "bytes=0-9")])
        .await;
    assert_eq!(
        (head.status.as_u16(), head.header("content-length")),
        (200, "400000")
    );
    app.stop().await;
}

fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(body)
            .read_to_end(&mut decoded)
            .unwrap(),
        "zstd" => zstd::stream::read::Decoder::new(body)
            .unwrap()
            .read_to_end(&mut decoded)
            .unwrap(),
        "br" => brotli::Decompressor::new(body, 4096)
            .read_to_end(&mut decoded)
            .unwrap(),
        other => panic!("{other}"),
    };
    decoded
}

async fn until_coded(app: &App, path: &str, coding: &str) {
    let is_coded = async || {
        let answer = app
            .send(Method::HEAD, path, &[("accept-encoding", coding)])
            .await;
        answer.header("content-encoding") == coding
    };
    wait_until(coding, is_coded).await;
}

#[actix_web::test]
async fn codings_are_made_beside_the_formula_and_each_decodes_to_it() {
    let folder = Folder::new();
    let body = formula(3, 300_000);
    let challenge = folder.store(Status::Active, &body);
    let app = folder.serve(slice::from_ref(&challenge), &[]).await;
    let (path, tag) = (path(&challenge), tag(&challenge));
    let mut tags = vec![tag.clone()];
    for (coding, extension) in [("gzip", ".gz"), ("zstd", ".zst"), ("br", ".br")] {
        until_coded(&app, &path, coding).await;
        let answer = app.get_with(&path, &[("accept-encoding", coding)]).await;
        assert!(
            answer.body.len() < body.len() * 2 / 3,
            "{coding}: {}",
            answer.body.len()
        );
        assert!(decoded(coding, &answer.body) == body, "{coding}");
        assert_eq!(
            fs::read(folder.path(&challenge, extension)).unwrap(),
            answer.body
        );
        let coded_tag = answer.header("etag").to_owned();
        assert!(!tags.contains(&coded_tag), "{tags:?}");
        let headers = [("accept-encoding", coding), ("if-none-match", &coded_tag)];
        assert_eq!(app.get_with(&path, &headers).await.status, 304);
        // A client that has a part of this coding gets the rest of it.
        let headers = [
            ("accept-encoding", "br, gzip, zstd"),
            ("range", "bytes=1000-"),
            ("if-range", &coded_tag),
        ];
        let rest = app.get_with(&path, &headers).await;
        assert_eq!(
            (rest.status.as_u16(), rest.header("content-encoding")),
            (206, coding)
        );
        assert_eq!(rest.body, answer.body[1000..]);
        // It does not accept the coding any more.
        let headers = [("range", "bytes=1000-"), ("if-range", &coded_tag)];
        let whole = app.get_with(&path, &headers).await;
        assert_eq!(
            (whole.status.as_u16(), whole.header("content-encoding")),
            (200, "")
        );
        tags.push(coded_tag);
    }
    let best = app
        .get_with(&path, &[("accept-encoding", "gzip, deflate, br, zstd")])
        .await;
    assert_eq!(best.header("content-encoding"), "br");
    // Parts of different codings do not fit together: without If-Range they are of the formula itself.
    let headers = [("accept-encoding", "gzip, br"), ("range", "bytes=7-8")];
    let part = app.get_with(&path, &headers).await;
    assert_eq!(
        (part.status.as_u16(), part.header("content-encoding")),
        (206, "")
    );
    assert_eq!(
        (part.body.as_slice(), part.header("etag")),
        (&body[7..9], tag.as_str())
    );
    let headers = [
        ("accept-encoding", "gzip, identity;q=0"),
        ("range", "bytes=0-1"),
    ];
    let part = app.get_with(&path, &headers).await;
    assert_eq!(
        (part.status.as_u16(), part.header("content-encoding")),
        (206, "gzip")
    );
    let refused = app
        .get_with(&path, &[("accept-encoding", "identity;q=0, x")])
        .await;
    assert_eq!(refused.status, 406);
    assert!(app.metric("publisher_cnf_coding_bytes").await > 100_000);
    app.stop().await;
}

#[actix_web::test]
async fn codings_are_deleted_with_their_challenge_and_wrong_ones_are_replaced() {
    let folder = Folder::new();
    let mut closing = folder.store(Status::Active, &formula(4, 50_000));
    let staying = folder.store(Status::Active, &formula(5, 50_000));
    // What another program, or a torn disk, has left.
    fs::write(folder.path(&staying, ".gz"), b"no gzip").unwrap();
    fs::write(
        folder.path(&staying, ".zst"),
        fs::read(folder.path(&closing, "")).unwrap(),
    )
    .unwrap();
    fs::write(folder.0.path().join("mine.cnf.gz"), b"of the operator").unwrap();
    fs::write(
        folder.0.path().join(".publisher-0123456789abcdef.partial"),
        b"of a killed process",
    )
    .unwrap();
    let app = folder.serve(&[closing.clone(), staying.clone()], &[]).await;
    let body = fs::read(folder.path(&staying, "")).unwrap();
    for challenge in [&closing, &staying] {
        until_coded(&app, &path(challenge), "br").await;
    }
    for coding in ["gzip", "zstd"] {
        let answer = app
            .get_with(&path(&staying), &[("accept-encoding", coding)])
            .await;
        assert_eq!(answer.header("content-encoding"), coding);
        assert!(decoded(coding, &answer.body) == body);
    }
    closing.status = Status::Locked;
    app.put_challenge(&closing).await;
    let gone = || {
        [".br", ".gz", ".zst"]
            .iter()
            .all(|it| !folder.path(&closing, it).exists())
    };
    app.until("the codings deleted", |_| gone()).await;
    assert!(folder.path(&closing, "").exists() && folder.path(&staying, ".br").exists());
    assert!(folder.0.path().join("mine.cnf.gz").exists());
    assert!(
        !folder
            .0
            .path()
            .join(".publisher-0123456789abcdef.partial")
            .exists()
    );
    app.stop().await;
}

#[actix_web::test]
async fn codings_have_a_bound_in_bytes() {
    let folder = Folder::new();
    let all: Vec<_> = (0..3)
        .map(|seed| folder.store(Status::Active, &formula(seed, 1_500_000)))
        .collect();
    let app = folder.serve(&all, &["--cnf-codings-mib", "1"]).await;
    let is_done = async || {
        let mut answers = Vec::new();
        for challenge in &all {
            let headers = [("accept-encoding", "br, identity;q=0")];
            answers.push(
                app.send(Method::HEAD, &path(challenge), &headers)
                    .await
                    .status
                    .as_u16(),
            );
        }
        // 406 as soon as it is known that there will be none.
        answers == [406, 406, 406]
    };
    wait_until("the decision", is_done).await;
    let bytes = app.metric("publisher_cnf_coding_bytes").await;
    assert!((400_000..=1 << 20).contains(&bytes), "{bytes}");
    app.stop().await;
}

#[actix_web::test]
async fn what_is_not_active_not_stored_or_wrong_gets_404_with_the_reason() {
    let folder = Folder::new();
    let pending = folder.store(Status::Pending, &formula(1, 2_000));
    let locked = folder.store(Status::Locked, &formula(2, 2_000));
    let missing = challenge(Status::Active, &formula(3, 2_000));
    let short = folder.store(Status::Active, &formula(4, 2_000));
    let changed = folder.store(Status::Active, &formula(5, 2_000));
    let pipe = challenge(Status::Active, &formula(6, 2_000));
    let mut other_size = folder.store(Status::Active, &formula(7, 2_000));
    other_size.cnf_bytes = Some(7);
    fs::write(folder.path(&short, ""), formula(4, 1_999)).unwrap();
    fs::write(folder.path(&changed, ""), formula(6, 2_000)).unwrap();
    fs::create_dir(folder.path(&pipe, "")).unwrap();
    let all = [
        &pending,
        &locked,
        &missing,
        &short,
        &changed,
        &pipe,
        &other_size,
    ]
    .map(Clone::clone);
    let app = folder.serve(&all, &[]).await;
    let wrong = "the stored formula does not have the SHA-256 of the challenge";
    for (challenge, detail) in [
        (&pending, "no active challenge has this id"),
        (&locked, "no active challenge has this id"),
        (&missing, "the formula of this challenge is not stored here"),
        (&short, "the stored formula has 1999 bytes instead of 2000"),
        (&changed, wrong),
        (&pipe, "the stored formula is not a regular file"),
        (
            &other_size,
            "the stored formula has 2000 bytes instead of 7",
        ),
    ] {
        for headers in [&[][..], &[("if-none-match", "*")]] {
            let answer = app.get_with(&path(challenge), headers).await;
            answer.assert_error(404, detail);
            assert_eq!(answer.header("cache-control"), "public, max-age=1");
        }
    }
    for (reason, count) in [
        ("missing", 2),
        ("wrong_content", 2),
        ("unreadable", 2),
        ("wrong_size", 4),
    ] {
        let name = format!("publisher_cnf_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(app.metric(&name).await, count, "{reason}");
    }
    app.get(&format!("{CNF}?challenge_id=x"))
        .await
        .assert_error(404, "no active challenge has this id");
    app.get(CNF)
        .await
        .assert_error(400, "missing parameter: challenge_id");
    let detail = "challenge_id must be UTF-8 without U+0000, percent-encoded";
    app.get(&format!("{CNF}?challenge_id=%ff"))
        .await
        .assert_error(400, detail);
    // No path out of the folder.
    app.get(&format!("{CNF}?challenge_id=..%2f..%2fetc%2fpasswd"))
        .await
        .assert_error(404, "no active challenge has this id");
    app.stop().await;
}

#[actix_web::test]
async fn a_formula_that_is_repaired_is_served() {
    let folder = Folder::new();
    let body = formula(1, 200_000);
    let challenge = folder.store(Status::Active, &body);
    let file = folder.path(&challenge, "");
    fs::write(&file, b"wrong").unwrap();
    let app = folder.serve(slice::from_ref(&challenge), &[]).await;
    assert_eq!(app.get(&path(&challenge)).await.status, 404);
    for status in [200, 404, 200] {
        match status {
            200 => fs::write(&file, &body).unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        let is_noticed = async || app.get(&path(&challenge)).await.status == status;
        wait_until("the change to be noticed", is_noticed).await;
    }
    assert!(app.get(&path(&challenge)).await.body == body);
    app.stop().await;
}

#[actix_web::test]
async fn a_file_that_changes_while_it_is_sent_is_cut_off() {
    let folder = Folder::new();
    let body = formula(1, 8_000_000);
    let challenge = folder.store(Status::Active, &body);
    let app = folder
        .serve(
            slice::from_ref(&challenge),
            &["--cnf-cache-mib", "0", "--cnf-codings-mib", "0"],
        )
        .await;
    let mut client = Client::connect_narrow(&app.address());
    client.send(wire::get(&path(&challenge), ""));
    let file = folder.path(&challenge, "");
    let received = actix_web::web::block(move || {
        let mut received = Vec::new();
        let mut piece = [0; 1000];
        // The rest is not read yet: it fits into no buffer on the way.
        let read = client.socket.read(&mut piece).unwrap();
        received.extend_from_slice(&piece[..read]);
        let mut changed = formula(1, 8_000_000);
        changed[7_000_000..].fill(b'x');
        fs::write(&file, changed).unwrap();
        // Also by a reset.
        let _ = client.socket.read_to_end(&mut received);
        received
    });
    let received = received.await.unwrap();
    let end = received
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let sent = &received[end..];
    assert!(
        sent.len() < body.len() && body.starts_with(sent),
        "{}",
        sent.len()
    );
    assert_eq!(app.metric("publisher_cnf_cut_off_total").await, 1);
    assert_eq!(app.get(&path(&challenge)).await.status, 404);
    app.stop().await;
}

#[actix_web::test]
async fn five_hundred_clients_cause_one_read_of_each_chunk() {
    let folder = Folder::new();
    let body = formula(1, 460_000);
    let challenge = folder.store(Status::Active, &body);
    let app = folder
        .serve(slice::from_ref(&challenge), &["--cnf-codings-mib", "0"])
        .await;
    let path = path(&challenge);
    let answers = join_all((0..500).map(|_| app.get(&path))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.body == body)
    );
    let read = app
        .metric("publisher_cnf_chunks_total{from=\"read\"}")
        .await;
    assert_eq!(read, 4);
    app.stop().await;
}

#[actix_web::test]
async fn slow_clients_keep_nobody_else_out() {
    let folder = Folder::new();
    let body = formula(1, 30_000_000);
    let challenge = folder.store(Status::Active, &body);
    let data = Data::empty();
    data.put(slice::from_ref(&challenge));
    let path_of_folder = folder.0.path().to_str().unwrap().to_owned();
    let options = [
        "--cnf-dir",
        &path_of_folder,
        "--cnf-cache-mib",
        "0",
        "--cnf-codings-mib",
        "0",
    ];
    let mut settings = crate::app::settings(&options);
    // Room for eight chunks.
    settings.cnf.max_in_flight_bytes = 1 << 20;
    let app = App::start_with(data, crate::app::Mode::Pass, settings).await;
    let path = path(&challenge);
    let slow: Vec<Client> = (0..40)
        .map(|at| {
            let mut client = Client::connect_narrow(&app.address());
            let range = format!("Range: bytes={}-\r\n", at * 700_000);
            client.send(wire::get(&path, &range));
            client
        })
        .collect();
    for at in 0..5 {
        let range = format!("bytes={}-{}", at * 500_000, at * 500_000 + 300_000);
        let answer = app.get_with(&path, &[("range", &range)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (206, 300_001));
    }
    drop(slow);
    app.stop().await;
}

#[actix_web::test]
async fn what_is_not_served_here_says_so() {
    let app = App::start(Data::sample()).await;
    for prefix in ["", PREFIX] {
        let cnf = format!("{prefix}{CNF}?challenge_id=x");
        app.get(&cnf)
            .await
            .assert_error(404, "not served here: this server has no formulas");
        for method in [Method::POST, Method::GET, Method::PUT] {
            let answer = app
                .send_body(
                    method,
                    &format!("{prefix}/v1/agents/submit"),
                    &[],
                    b"{}".to_vec(),
                )
                .await;
            let detail = "not served here: answers are submitted to the subnet's agents service";
            answer.assert_error(404, detail);
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_formula_of_a_published_challenge_cannot_change() {
    let app = App::start(Data::empty()).await;
    let mut item = challenge(Status::Pending, b"first");
    let put = async |challenge: &cathedral_publisher::domain::challenge::Challenge| {
        let mut json = Vec::new();
        challenge.write_item(&mut json).unwrap();
        let path = format!("/v1/admin/challenges/{}", challenge.challenge_id);
        app.admin(Method::PUT, &path, json).await
    };
    assert_eq!(put(&item).await.status, 200);
    item.cnf_sha256 = challenge(Status::Pending, b"second").cnf_sha256;
    item.status = Status::Active;
    assert_eq!(put(&item).await.status, 200);
    item.score_multiplier = 2.0;
    assert_eq!(put(&item).await.status, 200);
    item.cnf_sha256 = challenge(Status::Pending, b"third").cnf_sha256;
    let id = &item.challenge_id;
    let detail = format!("cnf_sha256: challenge {id:?} is active, and its formula cannot change");
    put(&item).await.assert_error(409, &detail);
    app.stop().await;
}

#[actix_web::test]
async fn a_slash_at_the_end_and_challenge_broadcast_are_other_names() {
    let app = App::start(Data::sample()).await;
    let board = app.get(BOARD).await;
    let fast = async || app.metric("publisher_http_fast_path_requests_total").await;
    let broadcast = "/v1/synthetic-boolean/challenge-broadcast";
    for prefix in ["", PREFIX] {
        for name in [
            format!("{BOARD}/"),
            broadcast.to_owned(),
            format!("{broadcast}/?_=1"),
        ] {
            let before = fast().await;
            let same = app.get(&format!("{prefix}{name}")).await;
            assert_eq!(
                (same.status.as_u16(), &same.body),
                (200, &board.body),
                "{name}"
            );
            assert_eq!(same.header("etag"), board.header("etag"));
            assert_eq!(fast().await, before + 1, "{name}");
            let headers = [
                ("if-none-match", board.header("etag")),
                ("range", "bytes=0-1"),
            ];
            let same = app.get_with(&format!("{prefix}{name}"), &headers).await;
            assert_eq!(same.status, 304, "{name}, through actix-web");
        }
        for path in [CURRENT, FEED, CHANGES, "/health", "/health/ready"] {
            let query = "?since_seq=0";
            let one = app.get(&format!("{prefix}{path}{query}")).await;
            let other = app.get(&format!("{prefix}{path}/{query}")).await;
            assert_eq!(
                (one.status, &one.body),
                (other.status, &other.body),
                "{path}"
            );
        }
        for none in [
            format!("{prefix}{BOARD}//"),
            format!("{prefix}//"),
            format!("{prefix}{FEED}/x/"),
        ] {
            assert_eq!(app.get(&none).await.status, 404, "{none}");
        }
    }
    assert_eq!(app.get("/metrics/").await.status, 404);
    assert_eq!(app.get("/openapi.json/").await.status, 404);
    app.stop().await;
}
