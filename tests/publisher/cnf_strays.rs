//! Things in `--cnf-dir` that are not what their names say:
//!
//! - a stray folder or pipe in place of one coding keeps back that coding alone, and is tried again
//! - a pipe in place of a formula that was served blocks nothing

use std::{fs, path::Path, process::Command, time::Duration};

use awc::http::Method;
use cathedral_publisher::domain::challenge::{Challenge, Status};

use crate::{
    app::{App, Data, Mode, settings, wait_until},
    cnf_files::{Folder, formula, path},
    wire::{self, Client},
};

async fn coding_of(app: &App, challenge: &Challenge, accepted: &str) -> String {
    let fields = [("accept-encoding", accepted)];
    let answer = app.send(Method::HEAD, &path(challenge), &fields).await;
    answer.header("content-encoding").to_owned()
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[actix_web::test]
async fn a_stray_folder_or_pipe_keeps_back_one_coding_alone_and_is_tried_again() {
    let folder = Folder::new();
    let challenges = [1, 2, 3].map(|seed| folder.store(Status::Active, &formula(seed, 20_000)));
    let [first, second, third] = &challenges;
    fs::create_dir(folder.path(first, ".zst")).unwrap();
    make_pipe(&folder.path(second, ".gz"));
    // A link to nothing is replaced.
    std::os::unix::fs::symlink("nothing", folder.path(third, ".zst")).unwrap();
    // Of a formula that no active challenge has.
    let stray = folder.0.path().join(format!("{}.cnf.br", "7".repeat(64)));
    fs::create_dir(&stray).unwrap();
    let data = Data::empty();
    data.put(&challenges);
    let mut settings = settings(&["--cnf-dir", folder.0.path().to_str().unwrap()]);
    settings.cnf.retry_codings_after = Duration::from_millis(20);
    let app = App::start_with(data, Mode::Pass, settings).await;
    for (challenge, coding) in [
        (first, "gzip"),
        (first, "br"),
        (second, "zstd"),
        (second, "br"),
        (third, "zstd"),
        (third, "gzip"),
        (third, "br"),
    ] {
        let is_coded = async || coding_of(&app, challenge, coding).await == coding;
        wait_until(coding, is_coded).await;
    }
    assert_eq!(coding_of(&app, first, "zstd").await, "");
    assert_eq!(coding_of(&app, second, "gzip").await, "");
    // Somebody takes them away.
    fs::remove_dir(folder.path(first, ".zst")).unwrap();
    fs::remove_file(folder.path(second, ".gz")).unwrap();
    for (challenge, coding) in [(first, "zstd"), (second, "gzip")] {
        let is_coded = async || coding_of(&app, challenge, coding).await == coding;
        wait_until(coding, is_coded).await;
    }
    assert!(stray.exists());
    app.stop().await;
}

#[actix_web::test]
async fn a_pipe_in_place_of_a_formula_that_was_served_blocks_nothing() {
    let folder = Folder::new();
    let formulas = [1, 2].map(|seed| formula(seed, 3_000_000));
    let [piped, other] = [0, 1].map(|at| folder.store(Status::Active, &formulas[at]));
    let options = ["--cnf-cache-mib", "0", "--cnf-codings-mib", "0"];
    let app = folder
        .serve(&[piped.clone(), other.clone()], &options)
        .await;
    assert!(app.get(&path(&piped)).await.body == formulas[0]);
    fs::remove_file(folder.path(&piped, "")).unwrap();
    make_pipe(&folder.path(&piped, ""));
    let (address, piped) = (app.address(), path(&piped));
    let asked = actix_web::web::block(move || {
        // More reads than may run at once.
        let ask = |at: u32| {
            let range = format!("Range: bytes={}-\r\n", at * 300_000);
            let mut client = Client::connect(&address);
            client.send(wire::get(&piped, &range));
            client
        };
        let mut asked: Vec<Client> = (0..8).map(ask).collect();
        // Each is cut off, or refused.
        let is_served = |client: &mut Client| {
            let answer = client.try_answer(false);
            answer.is_ok_and(|answer| [200, 206].contains(&answer.status))
        };
        asked
            .iter_mut()
            .filter_map(|client| is_served(client).then_some(()))
            .count()
    });
    assert_eq!(asked.await.unwrap(), 0);
    assert!(app.get(&path(&other)).await.body == formulas[1]);
    app.stop().await;
}
