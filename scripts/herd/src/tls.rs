//! TLS of https targets: which certificates are trusted, and which protocols are offered (ALPN, RFC 7301).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem, pem::PemObject as _,
    },
};

/// The certificates that are trusted.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// Those of the certificate authorities of the system.
    System,
    /// Those of the certificate authorities in a PEM file.
    File(PathBuf),
    /// All certificates.
    Everybody,
}

/// TLS with one server.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    /// Trust and protocols.
    pub config: Arc<ClientConfig>,
    /// The name that its certificate must have.
    pub name: ServerName<'static>,
}

/// Reasons why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file with certificates cannot be read.
    #[error("--ca-file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The file contains no certificate.
    #[error("--ca-file {}: no certificate in PEM format", .0.display())]
    Empty(PathBuf),
    /// The system has no certificate authorities.
    #[error("no certificate authorities on this system: give --ca-file or --insecure")]
    NoRoots,
    /// The host is no name of a server.
    #[error("{0}")]
    Name(#[from] InvalidDnsNameError),
    /// A certificate or the configuration is invalid.
    #[error("TLS: {0}")]
    Invalid(#[from] Error),
}

/// Returns the configuration for all connections of a run. `protocols` are offered by ALPN, the preferred one first.
///
/// # Errors
/// [`TlsError`].
pub(super) fn config(trust: &Trust, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::System => builder.with_root_certificates(system()?),
        Trust::File(path) => builder.with_root_certificates(file(path)?),
        Trust::Everybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAll(provider))),
    }
    .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // Each client stands for a machine of its own: it cannot resume the session of another one.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn system() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some systems have a few that cannot be parsed.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(roots)
}

fn file(path: &Path) -> Result<RootCertStore, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        roots.add(certificate.map_err(failed)?)?;
    }
    if roots.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(roots)
}

/// Returns whether TLS is the cause of the error of a stream.
pub(super) fn is_cause(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<Error>())
}

/// Accepts every certificate; still checks that the server has its key.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
