//! The schema:
//!
//! - eight replicas that start at once on an empty database all succeed
//! - a schema of a later release is used if it allows this program, and refused if not
//! - two publishers in two schemas of a database know nothing of each other
//! - a role that may not create tables uses a schema that is there
//! - what fails leaves nothing, and names the reason
//! - a read-only program creates nothing

use std::{sync::Barrier, thread};

use cathedral_publisher::store::postgres::PostgresStore;

use super::{insert, open, options, soon};
use crate::cluster::{ROLE, shared};

#[test]
fn eight_replicas_that_start_at_once_on_an_empty_database_all_succeed() {
    let Some(cluster) = shared() else { return };
    for _ in 0..3 {
        let database = cluster.database();
        let (url, barrier) = (database.url(), Barrier::new(8));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    open(&url).board(soon()).unwrap();
                });
            }
        });
        assert_eq!(database.sql("SELECT version FROM publisher_schema"), "1");
        assert_eq!(database.sql("SELECT count(*) FROM lineages"), "1");
    }
}

#[test]
fn a_schema_of_a_later_release_is_used_if_it_allows_this_program_and_refused_if_not() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql("INSERT INTO publisher_schema VALUES (2, 1)");
    open(&database.url()).probe(soon()).unwrap();
    database.sql("INSERT INTO publisher_schema VALUES (3, 2)");
    for read_only in [false, true] {
        let options = super::Options {
            read_only,
            ..options(&database.url())
        };
        let error = PostgresStore::open(options, soon())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("version 3, which needs a program of version 2"),
            "{error}"
        );
    }
    drop(store);
}

#[test]
fn two_publishers_in_two_schemas_of_a_database_know_nothing_of_each_other() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    database.sql("CREATE SCHEMA one; CREATE SCHEMA \"Other one\"");
    let at = |path: &str| {
        open(&format!(
            "{}?options=-csearch_path%3D{path}",
            database.url()
        ))
    };
    let one = at("one");
    let url = |path: &str| format!("{}?options=-csearch_path%3D{path}", database.url());
    // What stands later in the search_path is not taken for its own, and nothing is made beside it.
    let ambiguous = PostgresStore::open(options(&url("%22Other%5C%20one%22,one")), soon());
    let ambiguous = ambiguous.unwrap_err().to_string();
    assert!(ambiguous.contains("name only one of them"), "{ambiguous}");
    let other = at("%22Other%5C%20one%22");
    database.sql(&format!("SET search_path TO one; {}", insert(&["a"], 1)));
    assert_eq!(one.stamp(soon()).unwrap().last_seq, 1);
    assert_eq!(other.stamp(soon()).unwrap().last_seq, 0);
    let schemas = "SELECT count(DISTINCT relnamespace) FROM pg_class WHERE relname = 'eval_runs'";
    assert_eq!(database.sql(schemas), "2");
}

#[test]
fn a_role_that_may_not_create_tables_uses_a_schema_that_is_there() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    open(&database.url());
    let role = format!("reader_{}", std::process::id());
    database.sql_as_superuser(&format!("CREATE ROLE {role} LOGIN"));
    let url = database.url().replace(ROLE, &role);
    let denied = PostgresStore::open(options(&url), soon())
        .unwrap_err()
        .to_string();
    assert!(denied.contains("permission denied"), "{denied}");
    database.sql(&format!(
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let may_not = PostgresStore::open(options(&url), soon())
        .unwrap_err()
        .to_string();
    assert!(may_not.contains("may not write"), "{may_not}");
    let read_only = super::Options {
        read_only: true,
        ..options(&url)
    };
    let reader = PostgresStore::open(read_only, soon()).unwrap();
    reader.board(soon()).unwrap();
    database.sql(&format!(
        "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    open(&url).board(soon()).unwrap();
    database.sql_as_superuser(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn what_fails_leaves_nothing_and_names_the_reason() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    database.sql("CREATE TABLE merkle_epochs (x int)");
    let error = PostgresStore::open(options(&database.url()), soon())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"merkle_epochs\" of another program"),
        "{error}"
    );
    assert_eq!(
        database.sql("SELECT to_regclass('challenges') IS NULL"),
        "t"
    );
    let nowhere = format!("{}?options=-csearch_path%3Dnowhere", database.url());
    let error = PostgresStore::open(options(&nowhere), soon())
        .unwrap_err()
        .to_string();
    assert!(error.contains("search_path"), "{error}");
    let missing = database.url().replace(&database.name, "missing_database");
    let error = PostgresStore::open(options(&missing), soon())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"missing_database\" does not exist"),
        "{error}"
    );
}

#[test]
fn a_read_only_program_creates_nothing() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let options = super::Options {
        read_only: true,
        ..options(&database.url())
    };
    let error = PostgresStore::open(options.clone(), soon())
        .unwrap_err()
        .to_string();
    assert!(error.contains("schema version 0"), "{error}");
    assert_eq!(
        database.sql("SELECT to_regclass('challenges') IS NULL"),
        "t"
    );
    open(&database.url());
    PostgresStore::open(options, soon())
        .unwrap()
        .board(soon())
        .unwrap();
}
