//! `serve`.

use std::sync::Arc;

use cathedral_publisher::{
    cache::build::SqliteBuilder,
    config::{Admin, Serve},
    domain::clock::SystemClock,
    http::AdminTokens,
    server::{self, Listen, Parts, Running, Settings},
    store::{self, file::DatabaseFile, kept_open::KeptOpen, pool::ReadPool},
};
use listenfd::ListenFd;

pub(crate) fn serve(options: Serve) -> anyhow::Result<()> {
    let path = &options.database.database;
    let busy_timeout = options.settings.store.busy_timeout;
    let tokens = admin_tokens(&options.admin)?;
    let database = KeptOpen::open(path, options.read_only, busy_timeout)?;
    actix_web::rt::System::new().block_on(async {
        let parts = parts(
            database.file(),
            options.settings.store,
            tokens,
            !options.read_only,
        );
        let running = listen(&options.address.address, options.settings, parts).await?;
        for address in &running.addresses {
            log::info!("serving {} on http://{address}", path.display());
        }
        for address in &running.admin_addresses {
            log::info!("admin routes, metrics and health on http://{address}");
        }
        anyhow::Ok(running.serve_until_signal().await?)
    })?;
    database.close();
    Ok(())
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
) -> Parts {
    let pool = ReadPool::new(file.clone(), settings, !writable);
    Parts {
        builder: Arc::new(SqliteBuilder { pool: pool.clone() }),
        pool,
        clock: Arc::new(SystemClock),
        writable,
        tokens,
    }
}

pub(crate) async fn listen(
    address: &str,
    settings: Settings,
    parts: Parts,
) -> anyhow::Result<Running> {
    // A service manager may pass a socket that listens already, and keep it for the next process.
    let inherited = ListenFd::from_env().take_tcp_listener(0)?;
    let listen = match inherited {
        Some(listener) => Listen::On(listener),
        None => Listen::At(address.to_owned()),
    };
    Ok(server::start(listen, settings, parts).await?)
}
