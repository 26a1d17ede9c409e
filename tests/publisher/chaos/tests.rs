//! A few rounds of everything.

use std::path::Path;

use crate::chaos::{
    outside,
    report::Report,
    rounds::{KINDS, Kind, Rounds},
    scenario,
};

fn publisher() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"))
}

#[test]
fn rounds_of_kill_9_beside_backups_restores_deletions_and_other_processes_lose_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut report = Report::default();
    let mut rounds = Rounds::begin(publisher(), folder.path(), 16);
    for (number, kind) in (1..).zip(KINDS) {
        rounds.round(number, kind, &mut report);
    }
    assert!(report.is_clean() && report.acknowledged() > 0, "\n{report}");
}

#[test]
fn kill_9_of_two_servers_and_an_import_clients_of_since_seq_get_every_eval_run_exactly_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut report = Report::default();
    let mut rounds = Rounds::begin(publisher(), folder.path(), 12);
    for number in 1..=5 {
        rounds.round(number, Kind::SecondAndImport, &mut report);
    }
    assert!(report.is_clean() && report.acknowledged() > 0, "\n{report}");
}

#[test]
fn whatever_call_on_the_database_files_fails_nothing_is_lost_and_the_server_recovers() {
    let mut report = Report::default();
    scenario::one_by_one(publisher(), 13, &mut report);
    assert!(report.is_clean(), "\n{report}");
}

#[test]
fn a_disk_that_fails_fills_or_hangs_for_a_while_costs_writes_503_and_nothing_in_memory() {
    let mut report = Report::default();
    scenario::for_a_while(publisher(), 1, &mut report);
    assert!(report.is_clean(), "\n{report}");
}

#[test]
fn a_paused_process_a_lock_of_another_one_and_a_clock_that_jumps_lose_nothing() {
    let mut report = Report::default();
    outside::all(publisher(), 1, &mut report);
    assert!(report.is_clean(), "\n{report}");
}
