//! What operators and their programs do to the database of a publisher that runs:
//!
//! - a write that the database refuses fails alone
//! - without triggers nothing is acknowledged
//! - a seq that would leave no number is refused
//! - rows that are hidden are an error and no empty board
//! - a process keeps to its schema, and a start does not guess
//! - a process that runs makes no tables in an empty database, nor does `prune`
//! - a listen URL that cannot be reached costs notices and no changes

use awc::http::Method;
use cathedral_publisher::store::{
    CommitError,
    postgres::{Options, PostgresStore},
};
use futures_util::future::join_all;

use crate::{
    app::{App, Data, FEED},
    cluster::{ROLE, shared},
    ports::free_port,
    process::publisher,
    store::{eventually, insert, open, options, put, soon, url},
    wire::row,
    writing::{runs, writer},
};

#[actix_web::test]
async fn a_write_that_the_database_refuses_fails_alone() {
    if shared().is_none() {
        return;
    }
    let app = App::start(Data::empty()).await;
    app.data.database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN IF NEW.id LIKE 'bad%' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END$$;
         CREATE TRIGGER refuse BEFORE INSERT ON eval_runs FOR EACH ROW EXECUTE FUNCTION refuse();
         ALTER TABLE eval_runs ADD CHECK (id <> 'checked')",
    );
    let ids: Vec<String> = (0..20)
        .map(|number| match number {
            7 => "bad".to_owned(),
            13 => "checked".to_owned(),
            _ => format!("good-{number}"),
        })
        .collect();
    let lock = app.data.database.lock();
    let writes = join_all(
        ids.iter()
            .map(|id| app.admin(Method::POST, "/v1/admin/eval-runs", row(id))),
    );
    let release = async {
        app.until("all writes admitted", |app| app.writer.in_flight() == 20)
            .await;
        drop(lock);
    };
    let (answers, ()) = futures_util::future::join(writes, release).await;
    for (id, answer) in ids.iter().zip(&answers) {
        let expected = if id.starts_with("good") { 200 } else { 422 };
        assert_eq!(answer.status, expected, "{id}: {}", answer.text());
    }
    let page = app.get(&format!("{FEED}?since_seq=0")).await;
    assert_eq!(page.json()["items"].as_array().unwrap().len(), 18);
    app.stop().await;
}

#[test]
fn without_triggers_nothing_is_acknowledged() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let name = &database.name;
    database.sql_as_superuser(&format!(
        "ALTER ROLE {ROLE} IN DATABASE \"{name}\" SET session_replication_role = replica"
    ));
    let refused = writer(&store).commit(&[runs(&["a"])]);
    let Err(CommitError::NotStored(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("session_replication_role"), "{reason}");
    database.sql_as_superuser(&format!(
        "ALTER ROLE {ROLE} IN DATABASE \"{name}\" RESET session_replication_role"
    ));
    assert!(writer(&store).commit(&[runs(&["a"])]).is_ok());
}

#[test]
fn a_seq_that_would_leave_no_number_is_refused() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let huge = "INSERT INTO eval_runs (seq, id, ran_at, schema_version, body)
                VALUES (9223372036854775807, 'x', '2026-06-07T00:00:00.000Z', 5, '{}')";
    let refused = cluster.try_sql(ROLE, &database.name, huge).unwrap_err();
    assert!(refused.contains("no number would be left"), "{refused}");
    assert!(writer(&store).commit(&[runs(&["a"])]).is_ok());
}

#[test]
fn rows_that_are_hidden_are_an_error_and_no_empty_board() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&put("a", 1));
    assert_eq!(store.board(soon()).unwrap().challenges.len(), 1);
    database.sql(
        "ALTER TABLE challenges ENABLE ROW LEVEL SECURITY;
         ALTER TABLE challenges FORCE ROW LEVEL SECURITY",
    );
    let hidden = store.board(soon()).unwrap_err().to_string();
    assert!(hidden.contains("row-level security"), "{hidden}");
}

#[test]
fn a_process_keeps_to_its_schema_and_a_start_does_not_guess() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&put("a", 1));
    // It comes before `public` in the search_path that all roles have.
    database.sql_as_superuser(&format!("CREATE SCHEMA {ROLE} AUTHORIZATION {ROLE}"));
    let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.sql_as_superuser(ends);
    eventually(|| store.board(soon()).is_ok());
    assert_eq!(store.board(soon()).unwrap().challenges.len(), 1);
    assert!(writer(&store).commit(&[runs(&["a"])]).is_ok());
    assert_eq!(database.sql("SELECT count(*) FROM public.eval_runs"), "1");
    let start = PostgresStore::open(options(&database.url()), soon()).unwrap_err();
    assert!(
        start.to_string().contains("name only one of them"),
        "{start}"
    );
}

#[test]
fn a_process_that_runs_makes_no_tables_in_an_empty_database_nor_does_prune() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut watcher = store.watcher();
    let _news = watcher.news();
    watcher.poll().unwrap();
    database.sql_as_superuser(&format!(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {ROLE};
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ));
    for _ in 0..5 {
        assert!(watcher.poll().is_err());
        assert!(writer(&store).commit(&[runs(&["a"])]).is_err());
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(database.sql(tables), "0");
    // Nor does one that has a board.
    let expecting = PostgresStore::new(options(&database.url())).unwrap();
    expecting.expect_tables();
    let empty = expecting.prepare(soon()).unwrap_err().to_string();
    assert!(empty.contains("the database is empty"), "{empty}");
    let mut prune = publisher(&["prune", "rows", "--before", "2026-06-01", "--database"]);
    let output = prune.arg(database.url()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the database is empty"), "{said}");
    assert_eq!(database.sql(tables), "0");
}

#[test]
fn a_listen_url_that_cannot_be_reached_costs_notices_and_no_changes() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let away = format!("postgres://{ROLE}@127.0.0.1:{}/x", free_port());
    let store = PostgresStore::open(
        Options {
            listen_url: Some(url(&away)),
            ..options(&database.url())
        },
        soon(),
    );
    let store = store.unwrap();
    let mut watcher = store.watcher();
    let _news = watcher.news();
    let before = watcher.poll().unwrap().unwrap();
    assert!(!watcher.hears());
    database.sql(&insert(&["a"], 1));
    let after = watcher.poll().unwrap().unwrap();
    assert!(after.feed.last_seq > before.feed.last_seq);
}
