//! First steps, and habits of other load generators:
//!
//! - an option of hey, wrk, oha or ab is refused with the name of that of herd
//! - a key of a plan that is no option is called a key, with the one that is similar
//! - an empty plan is refused: the output may have gone to the same file
//! - the line at the beginning says what the run will do, and that `-n` alone keeps the default interval
//! - SIGHUP ends a run with results, unless it is ignored

use std::{
    fs::{self, File},
    process::{Command, Output, Stdio},
    time::Duration,
};

use herd::{
    outline::outline,
    run::{Ended, Run},
};
use tempfile::TempDir;

use crate::{lab, plan, program};

const HERE: &str = "http://127.0.0.1:9/x";

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let lines = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    lines
}

#[test]
fn an_option_of_another_program_is_refused_with_the_name_of_that_of_herd() {
    for (option, meant) in [
        ("-c", "--clients"),
        ("-z", "--duration-secs"),
        ("-d", "--duration-secs"),
        ("-q", "--rate"),
        ("-t", "--threads"),
        ("-k", "--insecure"),
        ("-m", "--method"),
        ("-R", "--rate"),
    ] {
        for arguments in [
            &[option, "5", HERE][..],
            &[HERE, option],
            &[HERE, &format!("{option}5")],
        ] {
            let line = refused(&program(arguments));
            assert!(
                line.contains(&format!("'{option}'")) && line.contains(meant),
                "{line}"
            );
            assert!(!line.contains("as a value"), "{line}");
        }
    }
}

#[test]
fn a_key_of_a_plan_that_is_no_option_is_called_a_key() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("plan.toml");
    let path_text = path.to_str().unwrap();
    for (key, said) in [
        ("unknown", "plan.toml: there is no option 'unknown'\n"),
        (
            "clientz",
            "plan.toml: there is no option 'clientz'; a similar one is 'clients'\n",
        ),
    ] {
        fs::write(&path, format!("url = \"{HERE}\"\n{key} = 1\n")).unwrap();
        let line = refused(&program(&["--plan", path_text]));
        assert!(line.ends_with(said), "{line}");
        assert!(!line.contains("--"), "{line}");
    }
}

#[test]
fn an_empty_plan_is_refused_as_the_output_may_have_gone_to_the_same_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.json");
    fs::write(&path, "{\"format\": 3, \"plan\": {}}").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.arg("--plan").arg(&path).arg("--json");
    // As a shell does it.
    let command = command.stdout(File::create(&path).unwrap());
    let line = refused(&command.stderr(Stdio::piped()).output().unwrap());
    assert!(line.contains("a.json: the file is empty"), "{line}");
    assert!(line.contains("the output goes to the same file"), "{line}");
}

#[test]
fn the_line_at_the_beginning_says_what_the_run_will_do() {
    for (options, said, hint) in [
        (
            "-n 1000 --clients 10",
            "1,000 polls of 10 clients, 10 per second, for at most 1 min 44 s; each client polls once per second",
            true,
        ),
        (
            "-n 1000 --rate 500",
            "1,000 polls of 64 clients, 500 per second, for at most 5",
            false,
        ),
        (
            "--clients 1 --interval-ms 0",
            "polls of 1 client, as fast as the server answers, for at most 30 s",
            false,
        ),
        (
            "--clients 3",
            "polls of 3 clients, 3 per second, for at most 30 s",
            false,
        ),
    ] {
        let arguments: Vec<&str> = std::iter::once(HERE).chain(options.split(' ')).collect();
        let line = outline(&plan(&arguments).unwrap());
        assert!(line.starts_with(said), "{line}");
        assert_eq!(line.contains("--rate or --interval-ms"), hint, "{line}");
    }
    let line = outline(&plan(&[HERE, "--stage", "hold 5s at 9/s"]).unwrap());
    assert!(line.contains("in stages, for at most 5 s"), "{line}");
}

#[cfg(unix)]
#[test]
fn sighup_ends_a_run_with_results_unless_it_is_ignored() {
    for ignored in [false, true] {
        let (url, asked) = super::outside::answering();
        let mut command = match ignored {
            true => {
                let mut command = Command::new("nohup");
                command.arg(env!("CARGO_BIN_EXE_herd"));
                command
            }
            false => Command::new(env!("CARGO_BIN_EXE_herd")),
        };
        let options = [
            "--clients=1",
            "--interval-ms=50",
            "--duration-secs=600",
            "--json",
        ];
        let command = command.arg(&url).args(options).stdin(Stdio::null());
        let process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let wait = || {
            for _ in 0..3 {
                asked.recv_timeout(Duration::from_secs(60)).unwrap();
            }
        };
        wait();
        lab::signal(process.id(), "-HUP");
        if ignored {
            if cfg!(target_os = "linux") {
                for _ in 0..3 {
                    wait();
                }
            }
            lab::signal(process.id(), "-TERM");
        }
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let run: Run = serde_json::from_slice(&output.stdout).unwrap();
        assert!(run.ended == Ended::Interrupted && run.pollers.answered > 0);
    }
}
