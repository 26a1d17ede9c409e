//! A certificate that signs itself, made by the usual command; skipped with a line if openssl is missing:
//!
//! - `--ca-file` with it is enough, although it says that it is an authority
//! - it must be valid for the name, and be the one in the file
//! - without `--ca-file` the failure says what to do

use std::{io::Read as _, net::TcpListener, path::Path, process::Command, sync::Arc, thread};

use herd::{failures::Reason, run::Run};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tempfile::TempDir;

use crate::{EMPTY, herd_of, skipped};

/// Makes a certificate as people do; returns whether openssl is there.
fn openssl(folder: &Path, name: &str) -> bool {
    let arguments = format!(
        "req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 1 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost"
    );
    let mut command = Command::new("openssl");
    let command = command.args(arguments.split(' ')).current_dir(folder);
    command.output().is_ok_and(|output| output.status.success())
}

/// Starts a server with this certificate that answers each request; returns its port.
fn serve(folder: &Path, name: &str) -> u16 {
    let certificate = CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let mut connection = ServerConnection::new(config).unwrap();
                let mut stream = Stream::new(&mut connection, &mut socket);
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).is_ok_and(|read| read > 0) {
                    if std::io::Write::write_all(&mut stream, EMPTY).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

async fn polled(host: &str, port: u16, options: &str) -> Run {
    let options = format!(
        "--clients 1 --interval-ms 200 --duration-secs 1 --timeout-ms 20000 --on-failure give-up {options}"
    );
    herd_of(&format!("https://{host}:{port}/"), &options).await
}

#[actix_web::test]
async fn a_certificate_that_signs_itself_is_trusted_if_it_is_the_one_in_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    if !openssl(path, "c") || !openssl(path, "other") {
        skipped("openssl is needed");
        return;
    }
    let port = serve(path, "c");
    let file = |name: &str| format!("--ca-file {}", path.join(name).display());
    let run = polled("localhost", port, &file("c.pem")).await;
    assert!(run.is_clean() && run.pollers.answered > 0, "{run:?}");
    // Among others.
    let both = ["other.pem", "c.pem"].map(|name| std::fs::read_to_string(path.join(name)).unwrap());
    std::fs::write(path.join("both.pem"), both.concat()).unwrap();
    let run = polled("localhost", port, &file("both.pem")).await;
    assert!(run.is_clean(), "{run:?}");
    // Another name, and another certificate of the same name.
    for (host, file, said) in [
        ("127.0.0.1", "c.pem", "not valid for name"),
        ("localhost", "other.pem", "trust it with --ca-file"),
    ] {
        let run = polled(
            host,
            port,
            &format!("--ca-file {}", path.join(file).display()),
        )
        .await;
        assert_eq!(run.pollers.answered, 0, "{host}");
        let reasons = run.pollers.reasons();
        let (reason, failed) = reasons[0];
        assert_eq!((reason, reasons.len()), (Reason::Tls, 1));
        assert!(failed.first.contains(said), "{failed:?}");
    }
}
