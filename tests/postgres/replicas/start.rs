//! Many publishers start at once:
//!
//! - eight on an empty database all serve and write, and there is one schema

use std::thread;

use super::{
    fleet::{Fleet, post},
    promise,
};
use crate::{chaos::items, cluster::shared};

const COUNT: usize = 8;

#[test]
fn eight_on_an_empty_database_all_serve_and_write_and_there_is_one_schema() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let url = database.url();
    let wrote: Vec<bool> = thread::scope(|scope| {
        let start = |number: usize| {
            let fleet = Fleet::start(&url, 1, &[]);
            let ready = fleet.server(0).get("/health/ready").0 == 200;
            let row = items::row(&format!("1-0-{number}"));
            ready && matches!(post(&fleet.address(0), &row), Ok((200, _)))
        };
        let all: Vec<_> = (0..COUNT)
            .map(|number| scope.spawn(move || start(number)))
            .collect();
        all.into_iter()
            .map(|it| it.join().unwrap_or(false))
            .collect()
    });
    let served = wrote.iter().filter(|it| **it).count();
    let rows = database.sql("SELECT count(*) FROM eval_runs");
    let schemas =
        database.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'publisher_schema'");
    promise(
        "10",
        "8 publishers start at once on an empty database",
        &format!("{served} of {COUNT} serve and write, {rows} rows, {schemas} schema"),
        served == COUNT && rows == "8" && schemas == "1",
    );
}
