//! Following a publisher of PostgreSQL:
//!
//! - after the promotion of a standby that is behind, the follower drops what was lost, also if it is sent again
//! - the backup of a follower is not restored into a server

use std::{sync::Arc, time::Duration};

use cathedral_publisher::store::sqlite::mirror::claim;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    app::{FEED, eventually},
    cluster::{Cluster, Replication, shared},
    process::{Service, get, post, publisher, serve},
    wire::row,
};

/// Returns the ids of all eval runs in the order of commits, and the cursor after them.
fn feed(address: &str) -> Option<(Vec<String>, String)> {
    let answer = get(address, &format!("{FEED}?since_seq=0&limit=1000"), "");
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let page: Value = serde_json::from_str(body).ok()?;
    let items = page["items"].as_array()?.iter();
    let ids = items.map(|item| item["id"].as_str().unwrap().to_owned());
    Some((ids.collect(), page["next_since_seq"].as_str()?.to_owned()))
}

fn write(address: &str, ids: &[String]) {
    let rows: Vec<String> = ids.iter().map(|id| row(id)).collect();
    // While the upstream looks for the new primary it answers 503.
    eventually("a write", || {
        post(address, &rows.join("\n")).starts_with("HTTP/1.1 200")
    });
}

fn ids(name: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{name}-{number}"))
        .collect()
}

fn until_same(upstream: &str, follower: &str, count: usize) {
    eventually(&format!("{count} eval runs at both"), || {
        let theirs = feed(upstream);
        theirs.as_ref().is_some_and(|(ids, _)| ids.len() == count) && theirs == feed(follower)
    });
}

#[test]
fn after_the_promotion_of_a_standby_that_is_behind_the_follower_drops_what_was_lost() {
    let Some(primary) = Cluster::start(&[]) else {
        return;
    };
    let primary = Arc::new(primary);
    let database = primary.database();
    let standby = primary.standby(Replication::Asynchronous);
    let folder = TempDir::new().unwrap();
    let mut serve_upstream = serve(&database.url_of(&[&primary, &standby]), &[]);
    // A promotion alone ends no wait.
    serve_upstream.env("PUBLISHER_WAIT_SLOT_SECS", "2");
    let upstream = Service::start(serve_upstream);
    let theirs = upstream.address.clone();
    let url = format!("http://{theirs}");
    let copy = folder.path().join("copy.db");
    let follower = Service::start(serve(&copy, &["--follow", &url, "--change-poll-ms", "50"]));
    let ours = follower.address.clone();
    write(&theirs, &ids("shared", 41));
    until_same(&theirs, &ours, 41);
    primary.wait_for(&standby);
    standby.stop_following();
    // Fewer than the numbers that the standby's sequence leaves out.
    let lost = ids("lost", 20);
    write(&theirs, &lost);
    until_same(&theirs, &ours, 61);
    primary.kill();
    standby.promote();
    until_same(&theirs, &ours, 41);
    write(&theirs, &ids("new", 5));
    until_same(&theirs, &ours, 46);
    write(&theirs, &lost);
    until_same(&theirs, &ours, 66);
    let metrics = get(&ours, "/metrics", "");
    assert!(
        metrics.contains("publisher_follow_rejected_total{reason=\"numbers\"} 0"),
        "{metrics}"
    );
}

#[test]
fn the_backup_of_a_follower_is_not_restored_into_a_server() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let folder = TempDir::new().unwrap();
    let [copy, backup] = ["copy.db", "backup.db"].map(|name| folder.path().join(name));
    claim::claim(&copy, "http://upstream", Duration::from_secs(20)).unwrap();
    let run = |command: &str, database: &std::ffi::OsStr| {
        let mut command = publisher(&[command]);
        let output = command
            .arg(&backup)
            .arg("--database")
            .arg(database)
            .output();
        output.unwrap()
    };
    assert!(run("backup", copy.as_os_str()).status.success());
    let refused = run("restore", database.url().as_ref());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("restore it into a new file"), "{said}");
}
