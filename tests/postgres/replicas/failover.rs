//! Processes are killed and standbys promoted, under writers and clients of `since_seq`:
//!
//! - kill -9 of publishers loses nothing
//! - kill -9 of PostgreSQL loses nothing
//! - the promotion of a synchronous standby loses nothing, and writes are accepted within two seconds
//! - after the promotion of an asynchronous standby that is behind, every row that is stored reaches every client

use std::{sync::Arc, thread, time::Duration};

use super::{
    fleet::{Fleet, stored},
    load, ms, promise, size, within,
};
use crate::{
    chaos::model::Stored,
    cluster::{Cluster, Replication, shared},
};

/// Returns how many writes a test must see acknowledged to prove something.
fn enough() -> u64 {
    size(20, 100)
}

/// Pauses at random, in real time: the moment of a kill is random.
fn pause(limit_ms: u64) {
    thread::sleep(Duration::from_millis(fastrand::u64(0..limit_ms)));
}

#[test]
fn kill_9_of_publishers_loses_nothing() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 3, &[]);
    let model = load::model(1, &Stored::default());
    let mut pullers = load::pullers(3);
    let kills = size(6, 100);
    load::during(&fleet, &model, 24, &mut pullers, || {
        for number in 0..kills {
            pause(300);
            fleet.kill(number % 3);
            pause(100);
            fleet.restart(number % 3);
        }
    });
    let stored = stored(&database, &cluster);
    let faults = load::compare(&fleet, &model, &stored, &mut pullers);
    let (found, is_clean) = load::verdict(&faults);
    let writes = model.acknowledgements();
    promise(
        "4",
        &format!("{kills} x kill -9 of a publisher"),
        &format!("{writes} acknowledged writes: {found}"),
        is_clean && writes > enough(),
    );
}

#[test]
fn kill_9_of_postgresql_loses_nothing() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let cluster = Arc::new(cluster);
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 3, &[]);
    let model = load::model(1, &Stored::default());
    let mut pullers = load::pullers(3);
    let kills = size(2, 20);
    let mut slowest = Duration::ZERO;
    let again = load::during(&fleet, &model, 24, &mut pullers, || {
        for number in 0..kills {
            thread::sleep(Duration::from_millis(500));
            pause(500);
            cluster.kill();
            pause(300);
            cluster.restart();
            let again = fleet.writes_again(&model, number);
            slowest = slowest.max(again?);
        }
        // By then all publishers have noticed what the others wrote.
        thread::sleep(Duration::from_secs(2));
        Some(())
    });
    let stored = stored(&database, &cluster);
    let faults = load::compare(&fleet, &model, &stored, &mut pullers);
    let (found, is_clean) = load::verdict(&faults);
    let writes = model.acknowledgements();
    promise(
        "4",
        &format!("{kills} x kill -9 of all of PostgreSQL, and a restart"),
        &format!(
            "{writes} acknowledged writes: {found}; writes again after {} at most",
            ms(slowest)
        ),
        is_clean && again.is_some() && writes > enough(),
    );
}

#[test]
fn the_promotion_of_a_synchronous_standby_loses_nothing() {
    let Some(first) = Cluster::start(&[]) else {
        return;
    };
    let first = Arc::new(first);
    let database = first.database();
    let mut standby = Arc::new(first.standby(Replication::Synchronous));
    let fleet = Fleet::start(database.url_of(&[&first, &standby]), 3, &[]);
    let mut primary = first;
    let model = load::model(1, &Stored::default());
    let mut pullers = load::pullers(3);
    let promotions = size(2, 10);
    let mut slowest = Some(Duration::ZERO);
    load::during(&fleet, &model, 24, &mut pullers, || {
        for number in 0..promotions {
            thread::sleep(Duration::from_millis(700));
            pause(500);
            primary.kill();
            standby.promote();
            let again = fleet.writes_again(&model, number);
            slowest = slowest.max(again).filter(|_| again.is_some());
            let port = primary.port();
            primary = Arc::clone(&standby);
            if number + 1 < promotions {
                standby = Arc::new(primary.standby_at(port, Replication::Synchronous));
            }
        }
    });
    let stored = stored(&database, &primary);
    let faults = load::compare(&fleet, &model, &stored, &mut pullers);
    let (found, is_clean) = load::verdict(&faults);
    let writes = model.acknowledgements();
    let slowest = slowest.unwrap_or(Duration::MAX);
    promise(
        "4",
        &format!("{promotions} x kill -9 of the primary, promotion of its synchronous standby"),
        &format!(
            "{writes} acknowledged writes: {found}; all write again {} after the promotion at most",
            ms(slowest.min(Duration::from_secs(999)))
        ),
        is_clean && writes > enough() && slowest <= within(Duration::from_secs(2)),
    );
}

#[test]
fn after_the_promotion_of_an_asynchronous_standby_that_is_behind_every_stored_row_reaches_every_client()
 {
    let Some(primary) = Cluster::start(&[]) else {
        return;
    };
    let primary = Arc::new(primary);
    let database = primary.database();
    let standby = primary.standby(Replication::Asynchronous);
    let fleet = Fleet::start(database.url_of(&[&primary, &standby]), 3, &[]);
    let mut pullers = load::pullers(3);
    // What the standby has.
    let model = load::model(1, &Stored::default());
    load::during(&fleet, &model, 8, &mut pullers, || {
        thread::sleep(Duration::from_millis(700));
    });
    let shared = stored(&database, &primary);
    let mut faults = load::compare(&fleet, &model, &shared, &mut pullers);
    primary.wait_for(&standby);
    standby.stop_following();
    // What it lacks, and clients have.
    let ids: Vec<String> = (0..200).map(|at| format!("1-99-{at}")).collect();
    let model = load::model(1, &shared);
    let posted = fleet.insist(&model, 0, &ids, Duration::from_secs(20));
    assert!(posted.is_some());
    let with_lost = stored(&database, &primary);
    faults
        .others
        .extend(load::compare(&fleet, &model, &with_lost, &mut pullers).others);
    primary.kill();
    standby.promote();
    let left = stored(&database, &standby);
    let lost = with_lost.rows.len() - left.rows.len();
    for puller in &mut pullers {
        puller.forget(&left);
    }
    // Some are sent again, and others are written.
    let model = load::model(2, &left);
    load::during(&fleet, &model, 24, &mut pullers, || {
        let limit = Duration::from_secs(20);
        assert!(fleet.writes_again(&model, 0).is_some());
        assert!(fleet.insist(&model, 1, &ids[..50], limit).is_some());
        thread::sleep(Duration::from_millis(size(1000, 10_000)));
    });
    let now = stored(&database, &standby);
    let last = load::compare(&fleet, &model, &now, &mut pullers);
    let (found, is_clean) = load::verdict(&last);
    let (before, was_clean) = load::verdict(&faults);
    promise(
        "5",
        "promotion of an asynchronous standby that is 200 rows behind",
        &format!(
            "{lost} rows lost by the promotion, 50 of them sent again; since then {found}; before {before}"
        ),
        is_clean && was_clean && lost == 200,
    );
}
