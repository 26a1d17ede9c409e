//! `serve`.

use std::sync::Arc;

use cathedral_publisher::{
    cache::build::StoreBuilder,
    config::{Admin, Serve},
    domain::clock::SystemClock,
    http::AdminTokens,
    metrics::DroppedLines,
    server::{self, Addresses, Inherited, Listen, Parts, Reload, Running, Settings, Signals},
    store::{
        self, Store,
        sqlite::{SqliteStore, file::DatabaseFile},
    },
};

use super::opening::Opening;

pub(crate) fn serve(mut options: Serve, dropped: DroppedLines) -> anyhow::Result<()> {
    // Before there are threads: it changes the environment.
    let inherited = Inherited::take()?;
    options.settings.fit_descriptors()?;
    let database = actix_web::rt::System::new().block_on(async {
        let signals = Signals::new()?;
        run(options, inherited, signals, dropped).await
    })?;
    database.close();
    Ok(())
}

/// Serves until a signal to stop. Returns the database, which is closed after everything else.
async fn run(
    options: Serve,
    inherited: Inherited,
    mut signals: Signals,
    dropped: DroppedLines,
) -> anyhow::Result<Opening> {
    let path = &options.database.database;
    let busy_timeout = options.settings.store.busy_timeout;
    let tokens = admin_tokens(&options.admin)?;
    let snapshot_file = options.settings.snapshot_file.as_deref();
    let database = Opening::begin(path, options.read_only, busy_timeout, snapshot_file)?;
    let parts = parts(
        database.file(),
        options.settings.store,
        tokens.clone(),
        !options.read_only,
        dropped,
    );
    let listening = listen(&options.address.address, inherited, options.settings, parts);
    let running = tokio::select! {
        running = listening => running?,
        name = signals.stop() => {
            log::info!("{name}: stopping before the server was ready");
            return Ok(database);
        }
    };
    for address in &running.addresses {
        log::info!("serving {} on http://{address}", path.display());
    }
    for address in &running.admin_addresses {
        log::info!("admin routes, metrics and all public paths on http://{address}");
    }
    if tokens.count() == 0 && !options.read_only {
        log::info!("no admin token is configured: the admin routes answer 404");
    }
    let reload = reload(options.admin, tokens);
    running.serve_until_signal(signals, Some(reload)).await?;
    Ok(database)
}

/// Returns what reads the token file again. If that fails the old tokens stay.
fn reload(options: Admin, tokens: AdminTokens) -> Reload {
    Arc::new(move || match &options.admin_token_file {
        None => log::info!("SIGHUP: nothing to reload, because there is no --admin-token-file"),
        Some(path) => match admin_tokens(&options) {
            Ok(read) => {
                tokens.replace(&read);
                let (count, path) = (tokens.count(), path.display());
                log::info!("SIGHUP: reloaded {path}: {count} admin tokens are accepted");
            }
            Err(error) => log::error!("SIGHUP: the admin tokens stay as they were: {error}"),
        },
    })
}

pub(crate) fn admin_tokens(options: &Admin) -> anyhow::Result<AdminTokens> {
    let variables = ["PUBLISHER_ADMIN_TOKEN", "PUBLISHER_ADMIN_TOKEN_NEXT"];
    let given = variables.iter().filter_map(|name| std::env::var(name).ok());
    Ok(AdminTokens::load(
        options.admin_token_file.as_deref(),
        given,
    )?)
}

pub(crate) fn parts(
    file: &DatabaseFile,
    settings: store::Settings,
    tokens: AdminTokens,
    writable: bool,
    dropped_log_lines: DroppedLines,
) -> Parts {
    let store = Store::Sqlite(SqliteStore::new(file.clone(), settings, writable));
    Parts {
        builder: Arc::new(StoreBuilder {
            store: store.clone(),
        }),
        store,
        clock: Arc::new(SystemClock),
        writable,
        tokens,
        dropped_log_lines,
    }
}

pub(crate) async fn listen(
    address: &str,
    inherited: Inherited,
    settings: Settings,
    parts: Parts,
) -> anyhow::Result<Running> {
    let passed = |sockets: Vec<_>| (!sockets.is_empty()).then_some(Listen::On(sockets));
    let given = || Listen::At(address.to_owned());
    let addresses = Addresses {
        public: passed(inherited.public).unwrap_or_else(given),
        admin: passed(inherited.admin),
    };
    Ok(server::start(addresses, settings, parts).await?)
}
