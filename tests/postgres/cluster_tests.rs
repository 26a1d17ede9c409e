//! The servers that the other tests use:
//!
//! - tests share a server and have a database of their own
//! - what is committed survives `kill -9` of all processes
//! - a paused server answers when it is resumed
//! - a synchronous standby that is promoted has every commit
//! - a dropped server leaves no process and no file
//! - `kill -9` of the test process ends its servers

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::cluster::{Cluster, ROLE, Replication, shared};

const TABLE: &str = "CREATE TABLE a (b int); INSERT INTO a VALUES (7)";
/// Printed by the test process that is killed.
const RUNNING: &str = "a server runs in ";

#[test]
fn tests_share_a_server_and_have_a_database_of_their_own() {
    let Some(cluster) = shared() else { return };
    let (one, other) = (cluster.database(), cluster.database());
    one.sql(TABLE);
    other.sql(TABLE);
    assert_eq!(one.sql("SELECT * FROM a"), "7");
    let rights = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = ";
    assert_eq!(one.sql(&format!("{rights}'{ROLE}'")), "f|f|f");
    assert!(one.url().ends_with(&one.name) && one.url() != other.url());
}

#[test]
fn what_is_committed_survives_kill_9_of_all_processes() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    database.sql(TABLE);
    for _ in 0..3 {
        database.cluster.kill();
        assert!(
            database
                .cluster
                .try_sql(ROLE, &database.name, "SELECT 1")
                .is_err()
        );
        database.cluster.restart();
        assert_eq!(database.sql("SELECT * FROM a"), "7");
    }
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    database.cluster.pause();
    thread::scope(|scope| {
        let answer = scope.spawn(|| database.sql("SELECT 1"));
        thread::sleep(Duration::from_millis(500));
        assert!(!answer.is_finished());
        database.cluster.resume();
        assert_eq!(answer.join().unwrap(), "1");
    });
}

#[test]
fn a_synchronous_standby_that_is_promoted_has_every_commit() {
    let Some(primary) = Cluster::start(&[]) else {
        return;
    };
    let primary = Arc::new(primary);
    let database = primary.database();
    let standby = primary.standby(Replication::Synchronous);
    database.sql(TABLE);
    primary.kill();
    standby.promote();
    let write = "INSERT INTO a VALUES (8)";
    standby.try_sql(ROLE, &database.name, write).unwrap();
    let rows = standby.sql(&database.name, "SELECT count(*) FROM a");
    assert_eq!(rows, "2");
    // The next standby of the new primary.
    let next = standby.standby(Replication::Asynchronous);
    standby.wait_for(&next);
    assert_eq!(next.sql(&database.name, "SELECT count(*) FROM a"), "2");
}

#[test]
fn a_dropped_server_leaves_no_process_and_no_file() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let folder = cluster.socket_folder().to_path_buf();
    assert!(folder.exists() && running(&folder) > 0);
    cluster.pause();
    drop(cluster);
    assert!(!folder.exists());
    assert_eq!(running(&folder), 0);
}

#[test]
fn kill_9_of_the_test_process_ends_its_servers() {
    if shared().is_none() {
        return;
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["cluster_tests::a_process_that_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let folder = lines.find_map(|line| Some(line.unwrap().split_once(RUNNING)?.1.to_owned()));
    let folder = Path::new(folder.as_deref().unwrap());
    assert!(folder.exists() && running(folder) > 0);
    process.kill().unwrap();
    process.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while folder.exists() || running(folder) > 0 {
        assert!(Instant::now() < deadline, "still there: {folder:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "runs in a process of its own, for the test above"]
#[allow(clippy::print_stdout)]
fn a_process_that_is_killed() {
    let cluster = Cluster::start(&[]).unwrap();
    println!("{RUNNING}{}", cluster.socket_folder().display());
    thread::sleep(Duration::from_secs(60));
}

/// Returns how many processes have this folder in their command line.
fn running(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap().as_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .filter(|line| line.windows(folder.len()).any(|part| part == folder))
        .count()
}
