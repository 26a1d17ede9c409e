//! Several replicas write at the same time:
//!
//! - with contended ids, what is acknowledged is stored, and what is refused left nothing
//! - their numbers are in the order in which they become visible

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use cathedral_publisher::store::operation::Operation;

use super::{run, writer};
use crate::{cluster::shared, store::open};

const REPLICAS: u32 = 3;
const GROUPS: u32 = 60;

#[test]
fn with_contended_ids_what_is_acknowledged_is_stored_and_what_is_refused_left_nothing() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    open(&database.url());
    let is_over = AtomicBool::new(false);
    let (acknowledged, order) = thread::scope(|scope| {
        let writers: Vec<_> = (0..REPLICAS)
            .map(|replica| {
                let database = &database;
                scope.spawn(move || write(&database.url(), replica))
            })
            .collect();
        let reader = scope.spawn(|| {
            // What a client of since_seq would see.
            let (mut last, mut seen) = (0, Vec::new());
            loop {
                let was_over = is_over.load(Ordering::Acquire);
                let rows = database.sql(&format!(
                    "SELECT seq, id FROM eval_runs WHERE seq > {last} ORDER BY seq"
                ));
                for row in rows.lines() {
                    let (seq, id) = row.split_once('|').unwrap();
                    last = seq.parse::<i64>().unwrap();
                    seen.push(id.to_owned());
                }
                if was_over {
                    return seen;
                }
            }
        });
        let acknowledged: Vec<_> = writers.into_iter().map(|it| it.join().unwrap()).collect();
        is_over.store(true, Ordering::Release);
        (acknowledged, reader.join().unwrap())
    });
    let stored = database.sql("SELECT id, body FROM eval_runs ORDER BY seq");
    let stored: Vec<_> = stored
        .lines()
        .map(|line| line.split_once('|').unwrap())
        .collect();
    assert_eq!(order, stored.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let stored: BTreeMap<_, _> = stored.into_iter().collect();
    let (mut refused, mut accepted) = (0, BTreeMap::new());
    for (id, body, is_accepted) in acknowledged.into_iter().flatten() {
        if is_accepted {
            assert_eq!(stored.get(id.as_str()), Some(&body.as_str()));
            accepted.insert(id, body);
        } else {
            refused += 1;
        }
    }
    assert_eq!(accepted.len(), stored.len());
    assert!(refused > 0);
}

/// Returns each item, and whether its operation was acknowledged. Each id comes from all replicas, with other bytes.
fn write(url: &str, replica: u32) -> Vec<(String, String, bool)> {
    let store = open(url);
    let mut writer = writer(&store);
    let mut told = Vec::new();
    for group in 0..GROUPS {
        let item = |number: u32| run(&format!("{} {number}", group * 7 / 10), replica);
        let operations = [
            Operation::InsertEvalRuns(vec![item(0), item(1)]),
            Operation::InsertEvalRuns(vec![item(2 + replica), item(1)]),
        ];
        let results = loop {
            match writer.commit(&operations) {
                Ok(committed) => break committed.results,
                Err(error) => assert!(error.to_string().contains("several attempts"), "{error}"),
            }
        };
        for (operation, result) in operations.iter().zip(results) {
            let Operation::InsertEvalRuns(runs) = operation else {
                unreachable!()
            };
            told.extend(
                runs.iter()
                    .map(|run| (run.id.clone(), run.body.clone(), result.is_ok())),
            );
        }
    }
    told
}
