//! Three publishers of one database, and eight writers for each:
//!
//! - clients of `since_seq` at three publishers and a standby get every row exactly once
//! - without the lock they do not: the test can see

use std::{sync::Arc, thread, time::Instant};

use super::{
    fleet::{Fleet, stored},
    load, promise, seconds, size,
};
use crate::{
    chaos::model::{Faults, Stored},
    cluster::{Cluster, Database, Replication, shared},
};

/// Takes out the lock, and the check that finds a number below the last one.
const WITHOUT_LOCK: &str = r"
    DO $do$
    DECLARE
        one record;
        text text;
        locks int := 0;
    BEGIN
        FOR one IN SELECT pg_get_functiondef(oid) AS body FROM pg_proc
                   WHERE pronamespace = 'public'::regnamespace AND prosrc ~ 'pg_advisory_xact_lock|least <='
        LOOP
            text := regexp_replace(one.body, 'PERFORM pg_advisory_xact_lock[^;]*;', '', 'g');
            text := replace(text, 'IF least <=', 'IF false AND least <=');
            locks := locks + (text <> one.body)::int;
            EXECUTE text;
        END LOOP;
        IF locks = 0 THEN
            RAISE EXCEPTION 'there is no lock to take out';
        END IF;
    END $do$";

/// Lets writers and pullers run, and returns what was found and how much was written.
fn run(fleet: &Fleet, database: &Database, pullers: usize, until: impl FnOnce()) -> (Faults, u64) {
    let model = load::model(1, &Stored::default());
    let mut pullers = load::pullers(pullers);
    load::during(fleet, &model, 24, &mut pullers, until);
    let stored = stored(database, &database.cluster);
    let faults = load::compare(fleet, &model, &stored, &mut pullers);
    (faults, model.acknowledgements())
}

#[test]
fn clients_of_since_seq_at_three_publishers_and_a_standby_get_every_row_exactly_once() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let cluster = Arc::new(cluster);
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 3, &[]);
    let standby = cluster.standby(Replication::Asynchronous);
    cluster.wait_for(&standby);
    let behind = Fleet::start(
        database.url_at(&standby),
        1,
        &["--read-only", "--change-poll-ms", "50"],
    );
    fleet.readable.lock().unwrap().extend([behind.address(0)]);
    let (faults, writes) = run(&fleet, &database, 4, || {
        thread::sleep(seconds(4, 60));
    });
    let (found, is_clean) = load::verdict(&faults);
    let found = format!("{writes} acknowledged writes: {found}");
    promise(
        "2",
        "3 publishers x 8 writers, rows in no order, repeats, conflicts; 4 clients of since_seq, a standby too",
        &found,
        is_clean && writes > size(100, 10_000),
    );
}

#[test]
fn without_the_lock_they_do_not() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let mut missed = 0;
    let begun = Instant::now();
    let fleet = Fleet::start(database.url(), 3, &[]);
    database.sql(WITHOUT_LOCK);
    // In a few seconds it is seen a hundred times, but it is chance.
    while missed == 0 && begun.elapsed() < seconds(60, 120) {
        let wait = || thread::sleep(seconds(3, 20));
        let (faults, _) = run(&fleet, &database, 3, wait);
        missed = faults
            .lost
            .iter()
            .filter(|fault| fault.contains("has missed"))
            .count();
        database.sql("DELETE FROM eval_runs; DELETE FROM challenges; DELETE FROM merkle_epochs");
    }
    promise(
        "3",
        "the same without the lock: clients miss rows, so the test can see",
        &format!("{missed} clients missed rows"),
        missed > 0,
    );
}
