//! `serve`.

use std::sync::Arc;

use cathedral_publisher::{
    cache::{build::StoreBuilder, snapshot_file::SnapshotFile},
    config::{self, Admin, Keys, Serve},
    domain::clock::SystemClock,
    follow::Follow,
    http::AdminTokens,
    keys::{JwkSet, JwkSetHandle},
    metrics::DroppedLines,
    server::{self, Addresses, Inherited, Listen, Parts, Reload, Running, Settings, Signals},
    store::Store,
};

use super::database::{Opened, expect_file};

pub(crate) fn serve(mut options: Serve, dropped: DroppedLines) -> anyhow::Result<()> {
    // Before there are threads: it changes the environment.
    let inherited = Inherited::take()?;
    let address = options.address.listen()?;
    options.settings.fit_descriptors()?;
    let database = actix_web::rt::System::new().block_on(async {
        let signals = Signals::new()?;
        run(options, address, inherited, signals, dropped).await
    })?;
    database.close();
    Ok(())
}

/// Serves until a signal to stop. Returns the database, which is closed after everything else.
async fn run(
    options: Serve,
    address: Listen,
    inherited: Inherited,
    mut signals: Signals,
    dropped: DroppedLines,
) -> anyhow::Result<Opened> {
    let tokens = admin_tokens(&options.admin)?;
    let follow = Follow::new(options.follow)?;
    anyhow::ensure!(
        follow.is_none() || options.database.database.path().is_some(),
        "--follow needs an SQLite file as --database: a copy is not shared by replicas"
    );
    if options.promote {
        anyhow::ensure!(
            follow.is_none(),
            "--promote ends following: it cannot be used with --follow"
        );
        anyhow::ensure!(
            !options.read_only,
            "--promote writes to the database: it cannot be used with --read-only"
        );
        expect_file(&options.database.database)?;
    }
    let jwk_set = JwkSetHandle::default();
    // Not by clap, for which a variable that says no is given as well.
    anyhow::ensure!(
        options.keys.jwks.is_some() || !options.keys.verify_rows,
        "--verify-rows needs --jwks"
    );
    if let Some(path) = &options.keys.jwks {
        jwk_set.replace(JwkSet::read(path)?);
    }
    let name = options.database.database.to_string();
    let upstream = follow.as_ref().map(|follow| follow.upstream().to_string());
    let opening = {
        let (database, read_only) = (options.database, options.read_only);
        let promote = options.promote;
        let store = options.settings.store;
        let snapshot_file = options
            .settings
            .snapshot_file
            .clone()
            .map(SnapshotFile::new);
        actix_web::rt::task::spawn_blocking(move || {
            let mut opened =
                Opened::for_serving(&database, read_only, store, snapshot_file.as_ref())?;
            if let Some(upstream) = upstream {
                opened.claim(&upstream, store.busy_timeout)?;
            } else if !read_only {
                opened.expect_own(promote, store.busy_timeout)?;
            }
            Ok::<_, anyhow::Error>(opened)
        })
    };
    let database = tokio::select! {
        opened = opening => opened??,
        name = signals.stop_at_start() => {
            log::info!("{name}: stopping before the database was open");
            // A thread still waits for it: nothing was written.
            log::logger().flush();
            std::process::exit(0);
        }
    };
    let store = database.store(options.settings.store, options.read_only);
    let is_following = follow.is_some();
    if let Some(follow) = &follow {
        log::info!("following {}", follow.upstream());
        if tokens.count() > 0 {
            log::warn!(
                "the admin token is ignored: nobody writes to a follower, and its admin routes answer 404"
            );
        }
    }
    let parts = Parts {
        jwk_set: jwk_set.clone(),
        verifies_rows: options.keys.verify_rows,
        follow,
        ..parts(store, tokens.clone(), !options.read_only, dropped)
    };
    let listening = listen(address, inherited, options.settings, parts);
    let running = tokio::select! {
        running = listening => running?,
        name = signals.stop_at_start() => {
            log::info!("{name}: stopping before the server was ready");
            return Ok(database);
        }
    };
    for address in &running.addresses {
        log::info!("serving {name} on http://{address}");
    }
    for address in &running.admin_addresses {
        log::info!("admin routes, metrics and all public paths on http://{address}");
    }
    if tokens.count() == 0 && !options.read_only && !is_following {
        log::info!("no admin token is configured: the admin routes answer 404");
    }
    let reloads = reloads(options.admin, tokens, options.keys, jwk_set);
    running.serve_until_signal(signals, Some(reloads)).await?;
    Ok(database)
}

/// Returns what reads the token file and the JWK set again. If that fails the old ones stay.
fn reloads(admin: Admin, tokens: AdminTokens, keys: Keys, jwk_set: JwkSetHandle) -> Vec<Reload> {
    let mut reloads = Vec::new();
    if let Some(path) = admin.admin_token_file.clone() {
        reloads.push(Reload::new(
            "--admin-token-file",
            move || match admin_tokens(&admin) {
                Ok(read) => {
                    tokens.replace(&read);
                    let (count, path) = (tokens.count(), path.display());
                    log::info!("SIGHUP: reloaded {path}: {count} admin tokens are accepted");
                }
                Err(error) => log::error!("SIGHUP: the admin tokens stay as they were: {error}"),
            },
        ));
    }
    if let Some(path) = keys.jwks {
        reloads.push(Reload::new("--jwks", move || match JwkSet::read(&path) {
            Ok(read) => {
                let (count, path) = (read.keys.count(), path.display());
                jwk_set.replace(read);
                log::info!("SIGHUP: reloaded {path}: {count} keys verify eval runs");
            }
            Err(error) => log::error!("SIGHUP: the JWK set stays as it was: {error}"),
        }));
    }
    if reloads.is_empty() {
        reloads.push(Reload::new("nothing", || {
            log::info!(
                "SIGHUP: nothing to reload, because there is no --admin-token-file and no --jwks"
            );
        }));
    }
    reloads
}

pub(crate) fn admin_tokens(options: &Admin) -> anyhow::Result<AdminTokens> {
    let variables = ["PUBLISHER_ADMIN_TOKEN", "PUBLISHER_ADMIN_TOKEN_NEXT"];
    let given = variables.iter().filter_map(|name| config::variable(name));
    Ok(AdminTokens::load(
        options.admin_token_file.as_deref(),
        given,
    )?)
}

pub(crate) fn parts(
    store: Store,
    tokens: AdminTokens,
    writable: bool,
    dropped_log_lines: DroppedLines,
) -> Parts {
    Parts {
        builder: Arc::new(StoreBuilder {
            store: store.clone(),
        }),
        store,
        clock: Arc::new(SystemClock),
        writable,
        follow: None,
        tokens,
        jwk_set: JwkSetHandle::default(),
        verifies_rows: false,
        dropped_log_lines,
    }
}

pub(crate) async fn listen(
    address: Listen,
    inherited: Inherited,
    settings: Settings,
    parts: Parts,
) -> anyhow::Result<Running> {
    let passed = |sockets: Vec<_>| (!sockets.is_empty()).then_some(Listen::On(sockets));
    let addresses = Addresses {
        public: passed(inherited.public).unwrap_or(address),
        admin: passed(inherited.admin),
    };
    Ok(server::start(addresses, settings, parts).await?)
}
