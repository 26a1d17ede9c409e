//! Encryption of connections: the roots that are trusted. Name and chain of the server are always verified.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{error::PostgresError, url::PostgresUrl};
use crate::certificates;

/// The option that names the file of certificates.
const CA_FILE: &str = "--database-ca-file";

/// Reads the roots: those of `ca_file`, or of the system. If no host of `url` is encrypted nothing is read.
///
/// # Errors
/// [`PostgresError::Certificates`] if there is no usable one.
pub(super) fn connector(
    url: &PostgresUrl,
    ca_file: Option<&Path>,
) -> Result<MakeRustlsConnect, PostgresError> {
    let mut roots = RootCertStore::empty();
    if ca_file.is_some() || url.needs_tls() {
        add(&mut roots, ca_file).map_err(PostgresError::Certificates)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| PostgresError::Certificates(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn add(roots: &mut RootCertStore, ca_file: Option<&Path>) -> Result<(), String> {
    let certificates = certificates::load(CA_FILE, ca_file)?;
    let Some(ca_file) = ca_file else {
        // Among a system's certificates some may be unusable.
        roots.add_parsable_certificates(certificates);
        return Ok(());
    };
    for certificate in certificates {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{CA_FILE} {}: {error}", ca_file.display()))?;
    }
    Ok(())
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
