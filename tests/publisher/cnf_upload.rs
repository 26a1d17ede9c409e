//! PUT /v1/admin/challenges/{id}/cnf:
//!
//! - the formula of a challenge is stored, and served at once
//! - a formula that is not the challenge's leaves nothing behind
//! - a longer body is refused as soon as it is too long
//! - a body that breaks off or is too slow leaves nothing behind
//! - few are taken in at once
//! - uploads that stall give way to another one
//! - a challenge that was retired or changed during the upload gets 409, and nothing is kept
//! - a part of a formula is not taken for the whole
//! - something else that has the name of the file is named in the log
//! - what a killed process was writing is deleted at the next start
//! - a disk that takes no more gives 503, and nothing is kept
//! - samples and their formulas fit together

use std::{fs, process::Command, slice};

use awc::http::Method;
use cathedral_publisher::domain::challenge::{Challenge, Status};

use crate::{
    app::{App, BOARD, Data, TOKENS, eventually, wait_until},
    cnf_files::{Folder, challenge, formula, path},
    process::{Service, get, in_shell, publisher, run, serve},
    wire::Client,
};

/// Of four uploads at once, a quarter is left for other tokens.
const ONE_TOKENS_UPLOADS: usize = 3;

fn upload(challenge: &Challenge) -> String {
    format!("/v1/admin/challenges/{}/cnf", challenge.challenge_id)
}

fn files(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.0.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn lengths(folder: &Folder) -> Vec<u64> {
    let entries = fs::read_dir(folder.0.path()).unwrap();
    let lengths = entries.map(|entry| entry.unwrap().metadata().unwrap().len());
    lengths.collect()
}

/// The head of an upload, with the framing of its body.
fn head(challenge: &Challenge, framing: &str) -> String {
    format!(
        "PUT {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{framing}\r\n\r\n",
        upload(challenge),
        TOKENS[0]
    )
}

#[actix_web::test]
async fn the_formula_of_a_challenge_is_stored_and_served_at_once() {
    let folder = Folder::new();
    let body = formula(1, 1_000_000);
    let active = challenge(Status::Active, &body);
    let pending = challenge(Status::Pending, b"p cnf 0 0\n");
    let app = folder
        .serve(
            &[active.clone(), pending.clone()],
            &["--cnf-codings-mib", "0"],
        )
        .await;
    assert_eq!(app.get(&path(&active)).await.status, 404);
    for stored in [true, false] {
        let answer = app.admin(Method::PUT, &upload(&active), body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.text(), format!("{{\"stored\":{stored}}}"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(app.get(&path(&active)).await.body == body);
    }
    // Before it becomes active.
    let answer = app
        .admin(Method::PUT, &upload(&pending), "p cnf 0 0\n")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(files(&folder).len(), 2);
    // One that was damaged is replaced.
    fs::write(folder.path(&active, ""), b"damaged").unwrap();
    let answer = app.admin(Method::PUT, &upload(&active), body.clone()).await;
    assert_eq!(answer.text(), "{\"stored\":true}");
    assert!(app.get(&path(&active)).await.body == body);
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let answer = app.admin(method, &upload(&active), "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, "PUT")
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_formula_that_is_not_the_challenges_leaves_nothing_behind() {
    let folder = Folder::new();
    let active = challenge(Status::Active, &formula(1, 50_000));
    let retired = challenge(Status::Retired, b"old");
    let app = folder.serve(&[active.clone(), retired.clone()], &[]).await;
    let put = async |path: &str, body: Vec<u8>| app.admin(Method::PUT, path, body).await;
    let short = put(&upload(&active), formula(1, 49_999)).await;
    short.assert_error(
        409,
        "the body has 49999 bytes, the challenge announces 50000",
    );
    let empty = put(&upload(&active), Vec::new()).await;
    empty.assert_error(409, "the body has 0 bytes, the challenge announces 50000");
    let other = put(&upload(&active), formula(2, 50_000)).await;
    assert_eq!(other.status, 409);
    let detail = other.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&active.cnf_sha256), "{detail}");
    let long = put(&upload(&active), formula(1, 50_001)).await;
    long.assert_error(413, "a body may have at most 50000 bytes");
    put(&upload(&retired), b"old".to_vec())
        .await
        .assert_error(409, "the challenge is retired");
    put("/v1/admin/challenges/unknown/cnf", b"x".to_vec())
        .await
        .assert_error(404, "no such challenge");
    assert_eq!(
        put("/v1/admin/challenges/%ff/cnf", b"x".to_vec())
            .await
            .status,
        422
    );
    let anonymous = app
        .send_body(Method::PUT, &upload(&active), &[], formula(1, 50_000))
        .await;
    anonymous.assert_error(401, "a valid bearer token is required");
    assert_eq!(files(&folder), Vec::<String>::new());
    app.stop().await;
    let app = App::start(Data::sample()).await;
    put_without_folder(&app).await;
    app.stop().await;
}

async fn put_without_folder(app: &App) {
    let id = app.get(BOARD).await.json()["items"][0]["challenge_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = app
        .admin(Method::PUT, &format!("/v1/admin/challenges/{id}/cnf"), "x")
        .await;
    answer.assert_error(404, "not served here: this server has no formulas");
}

#[actix_web::test]
async fn a_longer_body_is_refused_as_soon_as_it_is_too_long() {
    let folder = Folder::new();
    let mut open = challenge(Status::Active, b"unknown size");
    open.cnf_bytes = None;
    let small = challenge(Status::Active, &formula(1, 300_000));
    let app = folder
        .serve(&[open.clone(), small.clone()], &["--max-cnf-mib", "1"])
        .await;
    let address = app.address();
    let refused = actix_web::web::block(move || {
        for (challenge, sent) in [(&open, 1_200_000), (&small, 400_000)] {
            // By the length that it announces, without any of it.
            let mut client = Client::connect(&address);
            let answer = client.ask(head(challenge, "Content-Length: 1048577"));
            answer.assert_error(413);
            // By what comes.
            let mut client = Client::connect(&address);
            client.send(head(challenge, "Transfer-Encoding: chunked"));
            let piece = [&b"2710\r\n"[..], &[b'1'; 10_000], b"\r\n"].concat();
            for _ in 0..sent / 10_000 {
                // It may have been refused meanwhile.
                if std::io::Write::write_all(&mut client.socket, &piece).is_err() {
                    break;
                }
            }
            if let Ok(answer) = client.try_answer(false) {
                answer.assert_error(413);
            }
        }
    });
    refused.await.unwrap();
    app.until("nothing kept", |_| files(&folder).is_empty())
        .await;
    app.stop().await;
}

#[actix_web::test]
async fn a_body_that_breaks_off_or_is_too_slow_leaves_nothing_behind() {
    let folder = Folder::new();
    let active = challenge(Status::Active, &formula(1, 600_000));
    let app = folder
        .serve(slice::from_ref(&active), &["--body-timeout-ms", "300"])
        .await;
    let address = app.address();
    let head = head(&active, "Content-Length: 600000");
    let answers = actix_web::web::block(move || {
        let mut broken = Client::connect(&address);
        broken.send(&head);
        broken.send(&formula(1, 600_000)[..300_000]);
        broken.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut slow = Client::connect(&address);
        slow.send(&head);
        slow.send("p cnf");
        (broken.answer(), slow.answer())
    });
    let (broken, slow) = answers.await.unwrap();
    broken.assert_error(400);
    slow.assert_error(408);
    app.until("nothing kept", |_| files(&folder).is_empty())
        .await;
    app.stop().await;
}

#[actix_web::test]
async fn few_are_taken_in_at_once() {
    let folder = Folder::new();
    let body = formula(1, 600_000);
    let active = challenge(Status::Active, &body);
    let app = folder.serve(slice::from_ref(&active), &[]).await;
    let (address, request) = (app.address(), head(&active, "Content-Length: 600000"));
    let open = actix_web::web::block(move || {
        let begin = |_| {
            let mut client = Client::connect(&address);
            client.send(&request);
            client
        };
        (0..ONE_TOKENS_UPLOADS).map(begin).collect::<Vec<Client>>()
    });
    let mut open = open.await.unwrap();
    app.until("temporary files", |_| {
        files(&folder).len() == ONE_TOKENS_UPLOADS
    })
    .await;
    let refused = app.admin(Method::PUT, &upload(&active), body.clone()).await;
    refused.assert_error(503, "temporarily unavailable, try again");
    assert_eq!(refused.header("retry-after"), "5");
    let sent = body.clone();
    let first = actix_web::web::block(move || {
        let first = open[0].ask(&sent);
        (first, open)
    });
    let (first, open) = first.await.unwrap();
    assert_eq!(
        first.status,
        200,
        "{}",
        String::from_utf8_lossy(&first.body)
    );
    drop(open);
    let is_admitted = async || {
        let answer = app.admin(Method::PUT, &upload(&active), body.clone()).await;
        answer.status == 200
    };
    wait_until("a free place", is_admitted).await;
    app.until("one file", |_| {
        files(&folder)
            .iter()
            .all(|name| !name.starts_with(".publisher-"))
    })
    .await;
    app.stop().await;
}

/// Sends the head of an upload and the first bytes of its body.
async fn begin(app: &App, challenge: &Challenge, body: &[u8], sent: usize) -> Client {
    let head = head(challenge, &format!("Content-Length: {}", body.len()));
    let (address, first) = (app.address(), body[..sent].to_vec());
    let begun = actix_web::web::block(move || {
        let mut client = Client::connect(&address);
        client.send(head);
        client.send(first);
        client
    });
    begun.await.unwrap()
}

#[actix_web::test]
async fn uploads_that_stall_give_way_to_another_one() {
    let folder = Folder::new();
    let body = formula(1, 600_000);
    let active = challenge(Status::Active, &body);
    let app = folder.serve(slice::from_ref(&active), &[]).await;
    // The first one's bytes have all been counted when they are written; whenever those of the others are, it is slower.
    let written = 256 * 1024;
    let mut stalled = vec![begin(&app, &active, &body, written).await];
    app.until("the first one's bytes", |_| {
        lengths(&folder) == [written as u64]
    })
    .await;
    app.clock.advance(std::time::Duration::from_secs(2));
    for _ in 1..ONE_TOKENS_UPLOADS {
        stalled.push(begin(&app, &active, &body, 100_000).await);
    }
    app.until("temporary files", |_| {
        files(&folder).len() == ONE_TOKENS_UPLOADS
    })
    .await;
    app.clock.advance(std::time::Duration::from_secs(3));
    let answer = app.admin(Method::PUT, &upload(&active), body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The slowest one only; the others go on.
    let answers = actix_web::web::block(move || {
        let mut slowest = stalled.remove(0);
        let slow = slowest.answer();
        let others = stalled
            .iter_mut()
            .map(|client| client.ask(&body[100_000..]));
        (slow, others.collect::<Vec<_>>())
    });
    let (slow, others) = answers.await.unwrap();
    slow.assert_error(408);
    for other in others {
        assert_eq!(other.status, 200);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_challenge_that_was_retired_or_changed_during_the_upload_gets_409() {
    let folder = Folder::new();
    let bodies = [1, 2, 3].map(|seed| formula(seed, 600_000));
    let retired = challenge(Status::Active, &bodies[0]);
    let changed = challenge(Status::Pending, &bodies[1]);
    let both = [retired.clone(), changed.clone()];
    let app = folder.serve(&both, &[]).await;
    let begun = [
        begin(&app, &retired, &bodies[0], 100_000).await,
        begin(&app, &changed, &bodies[1], 100_000).await,
    ];
    app.until("two temporary files", |_| files(&folder).len() == 2)
        .await;
    let now_retired = Challenge {
        status: Status::Retired,
        ..retired.clone()
    };
    let now_other = Challenge {
        cnf_sha256: challenge(Status::Pending, &bodies[2]).cnf_sha256,
        ..changed.clone()
    };
    app.data.put(&[now_retired, now_other]);
    let rests = [bodies[0][100_000..].to_vec(), bodies[1][100_000..].to_vec()];
    let answers = actix_web::web::block(move || {
        let asked = begun.into_iter().zip(rests);
        let answers = asked.map(|(mut client, rest)| client.ask(&rest));
        answers.collect::<Vec<_>>()
    });
    for (answer, detail) in answers.await.unwrap().iter().zip([
        "the challenge is retired",
        "the challenge was changed during the upload",
    ]) {
        answer.assert_error(409);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains(detail), "{text}");
    }
    app.until("nothing kept", |_| files(&folder).is_empty())
        .await;
    app.stop().await;
}

#[actix_web::test]
async fn a_part_of_a_formula_is_not_taken_for_the_whole() {
    let folder = Folder::new();
    let body = formula(1, 50_000);
    let active = challenge(Status::Active, &body);
    let app = folder.serve(slice::from_ref(&active), &[]).await;
    let bearer = format!("Bearer {}", TOKENS[0]);
    let fields = [
        ("authorization", bearer.as_str()),
        ("content-range", "bytes 0-49999/50000"),
    ];
    let answer = app
        .send_body(Method::PUT, &upload(&active), &fields, body)
        .await;
    let detail = "malformed request: a formula is stored as a whole, not as a Content-Range";
    answer.assert_error(400, detail);
    assert_eq!(files(&folder), Vec::<String>::new());
    app.stop().await;
}

#[test]
fn something_else_that_has_the_name_of_the_file_is_named_in_the_log() {
    let folder = Folder::new();
    let body = formula(1, 50_000);
    let active = challenge(Status::Active, &body);
    let running = Service::start(service(&folder, &active));
    let name = format!("{}.cnf", active.cnf_sha256);
    let formulas = folder.0.path().join("formulas");
    let put = || {
        let mut client = Client::connect(&running.address);
        client.send(head(&active, "Content-Length: 50000"));
        client.ask(&body)
    };
    fs::create_dir(formulas.join(&name)).unwrap();
    put().assert_error(503);
    fs::remove_dir(formulas.join(&name)).unwrap();
    // A pipe is replaced, and so is a link to nothing.
    let pipe = formulas.join(&name);
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(put().body, b"{\"stored\":true}");
    fs::remove_file(&pipe).unwrap();
    std::os::unix::fs::symlink("nothing", &pipe).unwrap();
    assert_eq!(put().body, b"{\"stored\":true}");
    // A link to the file is served, as mounted volumes have them. The file has its name at every moment.
    fs::hard_link(&pipe, formulas.join("content")).unwrap();
    std::os::unix::fs::symlink("content", formulas.join("link")).unwrap();
    fs::rename(formulas.join("link"), &pipe).unwrap();
    let answer = get(&running.address, &path(&active), "");
    assert!(
        answer.starts_with("HTTP/1.1 200 "),
        "{}",
        &answer[..900.min(answer.len())]
    );
    // Not removed: the codings may be written into it at this moment.
    fs::rename(&formulas, folder.0.path().join("away")).unwrap();
    put().assert_error(503);
    running.signal("-TERM");
    let (_, said) = running.ended();
    for path in [formulas.join(&name), formulas] {
        let line = format!("a formula cannot be stored in {}: ", path.display());
        assert!(said.contains(&line), "{said}");
    }
}

/// Puts a challenge into a new database in the folder, and returns a command that serves both.
fn service(folder: &Folder, challenge: &Challenge) -> Command {
    let database = folder.0.path().join("a.db");
    let mut item = Vec::new();
    challenge.write_item(&mut item).unwrap();
    let items = folder.0.path().join("items");
    fs::write(&items, item).unwrap();
    let import = ["import", "board", items.to_str().unwrap(), "--database"];
    assert!(
        publisher(&import)
            .arg(&database)
            .status()
            .unwrap()
            .success()
    );
    let formulas = folder.0.path().join("formulas");
    fs::create_dir_all(&formulas).unwrap();
    serve(&database, &["--cnf-dir", formulas.to_str().unwrap()])
}

#[test]
fn what_a_killed_process_was_writing_is_deleted_at_the_next_start() {
    let folder = Folder::new();
    let active = challenge(Status::Active, &formula(1, 600_000));
    let service_of = || Service::start(service(&folder, &active));
    let formulas = Folder(tempfile::tempdir_in(folder.0.path()).unwrap());
    drop(formulas);
    let running = service_of();
    let mut client = Client::connect(&running.address);
    client.send(head(&active, "Content-Length: 600000"));
    client.send(&formula(1, 600_000)[..300_000]);
    let left = || {
        fs::read_dir(folder.0.path().join("formulas"))
            .unwrap()
            .count()
    };
    eventually("a temporary file", || left() == 1);
    // Another process that starts meanwhile does not touch it.
    let other = service_of();
    assert_eq!(left(), 1);
    drop(other);
    running.signal("-KILL");
    drop(running);
    assert_eq!(left(), 1);
    let _next = service_of();
    assert_eq!(left(), 0);
}

#[test]
fn a_disk_that_takes_no_more_gives_503_and_nothing_is_kept() {
    let folder = Folder::new();
    let body = formula(1, 3_000_000);
    let active = challenge(Status::Active, &body);
    // No file may have more than 1 MiB.
    let limited = in_shell(
        r#"ulimit -f 2048; exec "$0" "$@""#,
        &service(&folder, &active),
    );
    let running = Service::start(limited);
    let mut client = Client::connect(&running.address);
    client.send(head(&active, "Content-Length: 3000000"));
    let _ = std::io::Write::write_all(&mut client.socket, &body);
    if let Ok(answer) = client.try_answer(false) {
        answer.assert_error(503);
    }
    eventually("nothing kept", || {
        fs::read_dir(folder.0.path().join("formulas"))
            .unwrap()
            .count()
            == 0
    });
    assert!(get(&running.address, BOARD, "").starts_with("HTTP/1.1 200 "));
    running.signal("-TERM");
    let (_, said) = running.ended();
    assert!(said.contains("a formula cannot be stored"), "{said}");
}

#[test]
fn samples_and_their_formulas_fit_together() {
    let folder = Folder::new();
    let formulas = folder.0.path().to_str().unwrap();
    let sample = |more: &[&str]| {
        let arguments = [
            &["sample", "board", "--count", "2", "--seed", "7"][..],
            more,
        ]
        .concat();
        String::from_utf8(run(&arguments).stdout).unwrap()
    };
    let items = sample(&["--cnf-dir", formulas]);
    assert_eq!(items, sample(&["--cnf-dir", formulas]));
    let challenges: Vec<Challenge> = items
        .lines()
        .map(|item| Challenge::from_item(item).unwrap())
        .collect();
    let names: Vec<&str> = challenges
        .iter()
        .map(|it| it.challenge_id.as_str())
        .collect();
    assert_eq!(files(&folder).len(), 2);
    for challenge in &challenges {
        let body = fs::read(folder.path(challenge, "")).unwrap();
        assert_eq!(
            crate::cnf_files::challenge(Status::Active, &body).cnf_sha256,
            challenge.cnf_sha256
        );
        assert_eq!(challenge.cnf_bytes, Some(body.len() as u64));
        let head = format!("p cnf {} {}\n", challenge.num_vars, challenge.num_clauses);
        assert!(body.starts_with(head.as_bytes()));
    }
    // The same challenges otherwise.
    let without = sample(&[]);
    assert!(names.iter().all(|name| without.contains(name)), "{without}");
}
