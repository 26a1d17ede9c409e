//! Encryption of connections: the roots that are trusted. Name and chain of the server are always verified.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{error::PostgresError, url::PostgresUrl};

/// Reads the roots: those of `ca_file`, or of the system. If no host of `url` is encrypted nothing is read.
///
/// # Errors
/// [`PostgresError::Certificates`] if there is no usable one.
pub(super) fn connector(
    url: &PostgresUrl,
    ca_file: Option<&Path>,
) -> Result<MakeRustlsConnect, PostgresError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => add_file(&mut roots, path).map_err(PostgresError::Certificates)?,
        None if url.needs_tls() => add_native(&mut roots).map_err(PostgresError::Certificates)?,
        None => {}
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| PostgresError::Certificates(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let failed = |cause: String| format!("--database-ca-file {}: {cause}", path.display());
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it has no certificate".to_owned()));
    }
    Ok(())
}

fn add_native(roots: &mut RootCertStore) -> Result<(), String> {
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if !roots.is_empty() {
        return Ok(());
    }
    let cause = native
        .errors
        .first()
        .map(|error| format!(" ({error})"))
        .unwrap_or_default();
    Err(format!(
        "this system has no certificates to verify PostgreSQL's with{cause}: use --database-ca-file"
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::fs;

    use super::*;

    fn refusal(content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, content).unwrap();
        let url = PostgresUrl::parse("db.example/d").unwrap();
        match connector(&url, Some(&path)) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        for content in [
            "",
            "x",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(refusal(content).contains("ca.pem"), "{content}");
        }
    }

    #[test]
    fn a_connection_without_encryption_needs_no_roots() {
        let url = PostgresUrl::parse("localhost/d").unwrap();
        assert!(connector(&url, None).is_ok());
        assert!(connector(&url, Some(Path::new("/missing.pem"))).is_err());
    }
}
