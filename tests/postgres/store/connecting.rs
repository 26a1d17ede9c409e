//! Connections:
//!
//! - a server of which name or chain is wrong is refused, and the right one accepted
//! - a password is sent, also one from the URL, and appears in no error
//! - the file of the password is read again for each connection
//! - a Unix socket needs no encryption
//! - calls may be made from blocking threads of another runtime
//! - of several hosts the primary is taken, also if another one hangs
//! - a database of another encoding is refused
//! - the server knows the program by its name
//! - a commit is synchronous even if the role says off, and no session keeps a lock without a limit

use std::{fs, process::Command, time::Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use cathedral_publisher::store::{
    Store, WriterSettings, operation::Operation, postgres::PostgresStore,
};
use tempfile::TempDir;

use super::{LONG, open, options, soon, url};
use crate::cluster::{Cluster, ROLE, Replication, shared};

/// Makes a certificate authority, and a certificate for `name` that it signed.
fn certificates(folder: &TempDir, name: &str) {
    let script = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=ca \
           -keyout ca.key -out ca.pem &&
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server \
           -keyout server.key -out server.csr &&
         printf 'subjectAltName={name}' > extensions &&
         openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
           -extfile extensions -out server.pem"
    );
    let made = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

fn refusal(options: super::Options) -> String {
    PostgresStore::open(options, soon())
        .expect_err("refused")
        .to_string()
}

#[test]
fn a_server_of_which_name_or_chain_is_wrong_is_refused_and_the_right_one_accepted() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let (right, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    certificates(&right, "DNS:localhost");
    certificates(&other, "DNS:localhost");
    let file = |name| fs::read_to_string(right.path().join(name)).unwrap();
    for name in ["server.pem", "server.key"] {
        // The server writes them, so that they are its own.
        let text = STANDARD.encode(file(name));
        let program = format!("umask 077; base64 -d > {name}");
        cluster.sql(
            "postgres",
            &format!("COPY (SELECT '{text}') TO PROGRAM '{program}'"),
        );
    }
    for (name, value) in [
        ("ssl_cert_file", "server.pem"),
        ("ssl_key_file", "server.key"),
        ("ssl", "on"),
    ] {
        cluster.set(name, value);
    }
    let database = std::sync::Arc::new(cluster).database();
    let (port, name) = (database.cluster.port(), &database.name);
    let at = |host: &str, folder: &TempDir| {
        let mut options = options(&format!(
            "postgres://{ROLE}@{host}:{port}/{name}?sslmode=verify-full"
        ));
        options.ca_file = Some(folder.path().join("ca.pem"));
        options
    };
    PostgresStore::open(at("localhost", &right), soon()).unwrap();
    let encrypted =
        "SELECT count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl";
    let store = PostgresStore::open(at("localhost", &right), soon()).unwrap();
    store.probe(soon()).unwrap();
    assert_eq!(database.sql_as_superuser(encrypted), "t");
    for (options, expected) in [
        (at("localhost", &other), "invalid peer certificate"),
        (at("127.0.0.1", &right), "not valid for name"),
    ] {
        let error = refusal(options);
        assert!(error.contains(expected), "{error}");
    }
    // Without a file: the system does not know the authority.
    let mut unknown = at("localhost", &right);
    unknown.ca_file = None;
    let error = refusal(unknown);
    assert!(
        error.contains("invalid peer certificate") || error.contains("--database-ca-file"),
        "{error}"
    );
    database.cluster.set("ssl", "off");
    let error = refusal(at("localhost", &right));
    assert!(error.contains("does not support TLS"), "{error}");
}

#[test]
fn a_password_is_sent_also_one_from_the_url_and_appears_in_no_error() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let role = format!("with_password_{}", std::process::id());
    database.sql_as_superuser(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'hunt@r2' IN ROLE passwords, {ROLE}"
    ));
    let (port, name) = (cluster.port(), &database.name);
    database.sql_as_superuser(&format!("GRANT CREATE ON SCHEMA public TO {role}"));
    let bare = format!("postgres://{role}@127.0.0.1:{port}/{name}");
    let mut with_password = options(&bare);
    with_password.url = with_password.url.with_password("hunt@r2");
    PostgresStore::open(with_password, soon())
        .unwrap()
        .probe(soon())
        .unwrap();
    open(&format!(
        "postgres://{role}:hunt%40r2@127.0.0.1:{port}/{name}"
    ));
    for (password, expected) in [
        ("", "password missing"),
        (":wr0ng", "password authentication failed"),
    ] {
        let refused = format!("postgres://{role}{password}@127.0.0.1:{port}/{name}");
        let mut options = options(&refused);
        let error = refusal(options.clone());
        assert!(
            error.contains(expected) && !error.contains("wr0ng"),
            "{error}"
        );
        assert!(!format!("{options:?}").contains("wr0ng"));
        options.url = url(&refused);
        let store = PostgresStore::new(options).unwrap();
        let shown = format!("{store:?} {:?}", store.prepare(soon()));
        assert!(!shown.contains("wr0ng"), "{shown}");
    }
    database.sql_as_superuser(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

#[test]
fn the_file_of_the_password_is_read_again_for_each_connection() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    open(&database.url());
    let role = format!("with_file_{}", std::process::id());
    let changed = |password| format!("ALTER ROLE {role} PASSWORD '{password}'");
    database.sql_as_superuser(&format!(
        "CREATE ROLE {role} LOGIN IN ROLE passwords, {ROLE}"
    ));
    database.sql_as_superuser(&changed("one"));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    let mut options = options(&database.url().replace(ROLE, &role));
    options.password_file = Some(file.clone());
    assert!(refusal(options.clone()).contains("--database-password-file"));
    fs::write(&file, "one\n").unwrap();
    let store = PostgresStore::open(options, soon()).unwrap();
    database.sql_as_superuser(&changed("two"));
    let error = store.prepare(soon()).unwrap_err().to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    fs::write(&file, "two\n").unwrap();
    store.prepare(soon()).unwrap();
    database.sql_as_superuser(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn calls_may_be_made_from_blocking_threads_of_another_runtime() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = database.url();
        let opened = tokio::task::spawn_blocking(move || {
            let store = open(&url);
            store.probe(soon()).unwrap();
            store
        });
        // Dropped on an async thread.
        drop(opened.await.unwrap());
    });
}

#[test]
fn a_unix_socket_needs_no_encryption() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let folder = cluster.socket_folder().display().to_string();
    let (port, name) = (cluster.port(), &database.name);
    let store = open(&format!(
        "postgres:///{name}?host={folder}&port={port}&user={ROLE}&sslmode=require"
    ));
    store.probe(soon()).unwrap();
}

#[test]
fn of_several_hosts_the_primary_is_taken_also_if_another_one_hangs() {
    let Some(primary) = Cluster::start(&[]) else {
        return;
    };
    let database = std::sync::Arc::new(primary).database();
    let standby = database.cluster.standby(Replication::Asynchronous);
    let hangs = Cluster::start(&[]).unwrap();
    hangs.pause();
    let url = database.url_of(&[&hangs, &standby, &database.cluster]);
    // The host that hangs is left after this time.
    let hanging = LONG / 4;
    let store = open(&format!("{url}&connect_timeout={}", hanging.as_secs()));
    store.probe(soon()).unwrap();
    // Who accepted is asked first from now on.
    let begun = Instant::now();
    store.prepare(soon()).unwrap();
    assert!(begun.elapsed() < hanging, "{:?}", begun.elapsed());
    let only_standby = refusal(options(&database.url_at(&standby)));
    assert!(
        only_standby.contains("does not allow writes"),
        "{only_standby}"
    );
    hangs.resume();
}

#[test]
fn a_database_of_another_encoding_is_refused() {
    let Some(cluster) = shared() else { return };
    let name = format!("latin_{}", std::process::id());
    let create = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    cluster.sql(
        "postgres",
        &format!("CREATE DATABASE {name} OWNER {ROLE} {create}"),
    );
    let error = refusal(options(&format!(
        "postgres://{ROLE}@127.0.0.1:{}/{name}",
        cluster.port()
    )));
    cluster.sql("postgres", &format!("DROP DATABASE {name}"));
    assert!(error.contains("LATIN1"), "{error}");
}

#[test]
fn the_server_knows_the_program_by_its_name() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    store.probe(soon()).unwrap();
    let names = "SELECT DISTINCT application_name FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(database.sql(names), "cathedral-publisher");
    assert_eq!(store.usage().connections, 1);
    assert_eq!(store.usage().idle, 1);
    assert_eq!(store.max_readers(), 3);
}

#[test]
fn a_commit_is_synchronous_even_if_the_role_says_off_and_no_session_keeps_a_lock_without_a_limit() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let name = &database.name;
    database.sql_as_superuser(&format!(
        "ALTER ROLE {ROLE} IN DATABASE {name} SET synchronous_commit = off;
         ALTER ROLE {ROLE} IN DATABASE {name} SET client_min_messages = error;
         ALTER ROLE {ROLE} IN DATABASE {name} SET default_transaction_isolation = serializable"
    ));
    let names = [
        "synchronous_commit",
        "client_min_messages",
        "default_transaction_isolation",
        "idle_in_transaction_session_timeout",
        "lock_timeout",
    ];
    let settings: Vec<String> = names
        .iter()
        .map(|name| format!("current_setting('{name}')"))
        .collect();
    let store = Store::Postgres(open(&database.url()));
    database.sql(&format!(
        "CREATE TABLE found (settings text);
         CREATE FUNCTION find() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO found SELECT concat_ws(' ', {}); RETURN NULL; END $$;
         CREATE TRIGGER find AFTER INSERT ON merkle_epochs FOR EACH STATEMENT EXECUTE FUNCTION find()",
        settings.join(", ")
    ));
    let mut writer = store.writer(WriterSettings {
        busy_timeout: LONG,
        wal_soft_bytes: 0,
        wal_hard_bytes: 0,
        long_wait: LONG,
    });
    let epoch = Operation::PutMerkleEpoch {
        epoch: 1,
        body: "{}".to_owned(),
    };
    assert!(writer.commit(&[epoch]).unwrap().results[0].is_ok());
    let found = database.sql("SELECT settings FROM found");
    let found: Vec<&str> = found.split(' ').collect();
    assert_eq!(found[0], "on");
    // A warning that a commit did not wait for the standby arrives.
    assert!(["notice", "warning"].contains(&found[1]), "{found:?}");
    assert_eq!(found[2..5], ["read", "committed", "5s"]);
    assert_ne!(found[5], "0");
}
