//! A machine that has too little for the load generator:
//!
//! - descriptors that are missing before the run are an error that names what to change
//! - those that are missing during the run are no fault of the server

use std::process::{Command, Output};

use herd::{failures::Reason, run::Run};

use super::{skipped, strange::assert_sum, stub};

/// Runs the program from bash, after these commands.
fn after(commands: &str, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{commands}; exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_herd")).args(arguments);
    command.output().ok()
}

#[test]
fn too_few_descriptors_for_a_run_are_an_error_that_says_what_to_change() {
    let url = stub(|_| Ok(()));
    let arguments = [&url, "--max-connections=500", "--duration-secs=1"];
    let Some(output) = after("ulimit -n 400", &arguments) else {
        return skipped("there is no bash");
    };
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for cure in ["ulimit -n", "--max-connections"] {
        assert!(text.contains(cure), "{text}");
    }
}

#[test]
fn a_run_without_descriptors_is_the_fault_of_the_load_generator() {
    // No response comes: each of the clients has a connection.
    let url = stub(|_| Ok(()));
    // Open files that are passed on take the place of connections.
    let others =
        "ulimit -n 150; for ((at = 20; at < 110; at++)); do eval \"exec $at</dev/null\"; done";
    let options = "--clients=70 --max-connections=70 --threads=1 --interval-ms=60000 --ramp-ms=0 --duration-secs=1 \
                   --timeout-ms=700 --on-failure=retry --json";
    let arguments: Vec<&str> = [url.as_str()]
        .into_iter()
        .chain(options.split_whitespace())
        .collect();
    let Some(output) = after(others, &arguments) else {
        return skipped("there is no bash");
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let run: Run = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
    let role = &run.pollers;
    let missing = role.failures.of(Reason::OutOfResources);
    assert!((20..=70).contains(&missing), "{role:?}");
    assert_eq!(role.lost(), 0, "{role:?}");
    // They were not sent, and are not retried.
    assert_eq!(role.attempts, role.timeouts() + role.in_flight, "{role:?}");
    assert_sum(&run, "descriptors");
    let table = herd::table::table(&[run]);
    let remark = table
        .lines()
        .find(|line| line.contains("the load generator ran out of resources"));
    let remark = remark.unwrap_or_else(|| panic!("{table}"));
    for part in ["no descriptor", "ulimit -n", "--max-connections"] {
        assert!(remark.contains(part), "{remark}");
    }
}
