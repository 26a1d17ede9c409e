//! The watcher:
//!
//! - a commit is noticed at once, without polling
//! - notices that come during a look are folded into the next one, and nothing is told twice
//! - a server that swallows notices is polled
//! - a standby is polled, and listens when it is promoted
//! - a promotion begins a lineage that continues, a restored copy one that does not
//! - behind a pooler it listens at another URL
//! - a poll of a server that hangs ends with the program
//! - a database that went back gets a new lineage
//! - a watcher that only reads begins none

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cathedral_publisher::store::{
    DatabaseState,
    postgres::{PostgresStore, PostgresWatcher},
};
use tokio::sync::watch;

use super::{LONG, eventually, insert, open, options, put, soon};
use crate::cluster::{Cluster, Replication, shared};

/// A watcher, and what it tells.
struct Watching {
    watcher: PostgresWatcher,
    news: watch::Receiver<u64>,
}

impl Watching {
    fn of(store: &PostgresStore) -> Self {
        let watcher = store.watcher();
        let news = watcher.news();
        Self { watcher, news }
    }

    /// Polls until notices arrive.
    fn heard(store: &PostgresStore) -> Self {
        let mut watching = Self::of(store);
        assert!(watching.watcher.poll().unwrap().is_some());
        eventually(|| {
            watching.watcher.poll().unwrap();
            watching.watcher.hears()
        });
        watching
    }

    /// Polls when it is told, and only then, until there is another state.
    fn told(&mut self) -> DatabaseState {
        let begun = Instant::now();
        loop {
            if self.news.has_changed().unwrap() {
                self.news.borrow_and_update();
                if let Some(state) = self.watcher.poll().unwrap() {
                    return state;
                }
            }
            assert!(begun.elapsed() < LONG, "no notice");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Polls until there is another state.
    fn polled(&mut self) -> DatabaseState {
        let mut state = None;
        eventually(|| {
            state = self.watcher.poll().unwrap();
            state.is_some()
        });
        state.unwrap()
    }
}

#[test]
fn a_commit_is_noticed_at_once_without_polling() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut watching = Watching::heard(&store);
    let begun = Instant::now();
    database.sql(&put("a", 1));
    let board = watching.told();
    database.sql(&insert(&["a"], 1));
    let feed = watching.told();
    assert!(begun.elapsed() < LONG);
    assert_eq!(feed.board, board.board);
    assert_eq!(feed.feed.last_seq, 1);
    assert_eq!(board.board, store.board(soon()).unwrap().stamp);
    assert_eq!(feed.feed, store.stamp(soon()).unwrap());
}

#[test]
fn notices_that_come_during_a_look_are_folded_and_nothing_is_told_twice() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut watching = Watching::heard(&store);
    for n in 0..30 {
        database.sql(&insert(&[&format!("r{n}")], 1));
    }
    let mut told = 0;
    let mut last = 0;
    while last < 30 {
        last = watching.told().feed.last_seq;
        told += 1;
    }
    assert!(told <= 2, "{told}");
    for _ in 0..3 {
        assert_eq!(watching.watcher.poll().unwrap(), None);
    }
}

#[test]
fn a_server_that_swallows_notices_is_polled() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(
        "CREATE OR REPLACE FUNCTION publisher_tell(what text) RETURNS void LANGUAGE sql AS ''",
    );
    let mut watching = Watching::of(&store);
    assert!(watching.watcher.poll().unwrap().is_some());
    database.sql(&put("a", 1));
    assert!(watching.polled().board.version.count > 0);
    assert!(!watching.watcher.hears());
}

#[test]
fn a_standby_is_polled_and_listens_when_it_is_promoted() {
    let Some(primary) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(primary).database();
    open(&database.url());
    database.sql(&insert(&["a"], 1));
    let standby = database.cluster.standby(Replication::Asynchronous);
    database.cluster.wait_for(&standby);
    let read_only = super::Options {
        read_only: true,
        ..options(&database.url_at(&standby))
    };
    let store = PostgresStore::open(read_only, soon()).unwrap();
    let mut watching = Watching::of(&store);
    assert_eq!(watching.polled().feed.last_seq, 1);
    database.sql(&insert(&["b"], 1));
    assert_eq!(watching.polled().feed.last_seq, 2);
    assert_eq!(store.stamp(soon()).unwrap().last_seq, 2);
    assert!(!watching.watcher.hears());
    standby.promote();
    eventually(|| {
        watching.watcher.poll().unwrap();
        watching.watcher.hears()
    });
    // A watcher that only reads begins no lineage, though the timeline is another one.
    let before = store.stamp(soon()).unwrap().lineage;
    let writer = open(&database.url_at(&standby));
    assert_eq!(writer.stamp(soon()).unwrap().lineage, before);
    drop(Watching::heard(&writer));
    assert!(writer.stamp(soon()).unwrap().lineage > before);
}

#[test]
fn a_promotion_begins_a_lineage_that_continues_and_a_truncated_table_one_that_does_not() {
    let Some(primary) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(primary).database();
    let store = open(&database.url());
    database.sql(&insert(&["a"], 1));
    let standby = database.cluster.standby(Replication::Asynchronous);
    database.cluster.wait_for(&standby);
    let store = {
        drop(store);
        open(&database.url_of(&[&database.cluster, &standby]))
    };
    let mut watching = Watching::of(&store);
    let before = watching.polled();
    // Lost: the standby does not get it.
    standby.pause();
    database.sql(&insert(&["lost"], 1));
    let lost = watching.polled();
    assert_eq!(lost.feed.last_seq, 2);
    database.cluster.kill();
    standby.resume();
    standby.promote();
    let mut after = None;
    eventually(|| {
        after = watching.watcher.poll().ok().flatten();
        after.is_some()
    });
    let after = after.unwrap();
    assert!(after.feed.lineage > before.feed.lineage);
    assert_eq!(after.restored, before.restored);
    // The number of the lost eval run is not given again.
    assert!(after.feed.last_seq >= 2, "{after:?}");
    store.board(soon()).unwrap();
    let name = &database.name;
    standby.sql(name, "TRUNCATE eval_runs");
    eventually(|| {
        watching.watcher.poll().unwrap();
        store.stamp(soon()).unwrap().lineage > after.feed.lineage
    });
    eventually(|| watching.watcher.poll().unwrap().is_none());
    assert_eq!(
        standby.sql(
            name,
            "SELECT is_restore FROM lineages ORDER BY ordinal DESC LIMIT 1"
        ),
        "t"
    );
}

#[test]
fn a_database_that_went_back_gets_a_new_lineage() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut watching = Watching::of(&store);
    database.sql(&insert(&["a", "b"], 1));
    let before = watching.polled();
    // As a snapshot of the volume would have it.
    database.sql("UPDATE feed_version SET last_seq = 1");
    eventually(|| {
        watching.watcher.poll().unwrap();
        store.stamp(soon()).unwrap().lineage > before.feed.lineage
    });
    let after = store.stamp(soon()).unwrap();
    assert!(after.lineage.ordinal > before.feed.lineage.ordinal);
    // And only one.
    for _ in 0..3 {
        watching.watcher.poll().unwrap();
    }
    assert_eq!(store.stamp(soon()).unwrap().lineage, after.lineage);
}

#[test]
fn behind_a_pooler_it_listens_at_another_url() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let socket = format!(
        "postgres:///{}?host={}&port={}&user=publisher",
        database.name,
        cluster.socket_folder().display(),
        cluster.port()
    );
    let options = super::Options {
        listen_url: Some(super::url(&socket)),
        ..options(&database.url())
    };
    let store = PostgresStore::open(options, soon()).unwrap();
    let _watching = Watching::heard(&store);
    let by_socket = "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NULL
        AND application_name = 'cathedral-publisher' AND datname = current_database()";
    assert_eq!(database.sql(by_socket), "1");
}

#[test]
fn a_poll_of_a_server_that_hangs_ends_with_the_program() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    let store = open(&database.url());
    let Watching { mut watcher, .. } = Watching::heard(&store);
    database.cluster.pause();
    let mut takes = || {
        let news = watcher.news();
        thread::scope(|scope| {
            let polling = scope.spawn(|| {
                let begun = Instant::now();
                watcher.poll().unwrap_err();
                begun.elapsed()
            });
            thread::sleep(Duration::from_millis(300));
            drop(news);
            polling.join().unwrap()
        })
    };
    // A poll that nothing ends takes five seconds at least. On a busy machine one may begin after the end, or end late.
    assert!((0..10).any(|_| takes() < Duration::from_secs(5)));
    database.cluster.resume();
}
