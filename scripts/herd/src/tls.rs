//! TLS of https targets: which certificates are trusted, and which protocols are offered (ALPN, RFC 7301).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        Resumption, VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem, pem::PemObject as _,
    },
    server::ParsedCertificate,
};

use crate::bounded_file;

/// The certificates that are trusted.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// Those of the certificate authorities of the system.
    System,
    /// Those in a PEM file, and those of the certificate authorities in it.
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
    /// A file with certificates is not one.
    #[error("--ca-file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// It cannot be read, or is longer than any list of authorities.
    #[error("--ca-file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
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
    /// The certificate authorities cannot be used.
    #[error("TLS: {0}")]
    Authorities(#[from] VerifierBuilderError),
}

/// Returns the configuration for all connections of a run. `protocols` are offered by ALPN, the preferred one first.
///
/// # Errors
/// [`TlsError`].
pub(super) fn config(trust: &Trust, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::System => Arc::new(TrustSome::new(system()?, Vec::new(), provider)?),
        Trust::File(path) => {
            let certificates = file(path)?;
            let mut roots = RootCertStore::empty();
            for certificate in &certificates {
                roots.add(certificate.clone())?;
            }
            Arc::new(TrustSome::new(roots, certificates, provider)?)
        }
        Trust::Everybody => Arc::new(TrustAll(provider)),
    };
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
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

fn file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    let pem =
        bounded_file::read(path, bounded_file::LONGEST).map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    let certificates = CertificateDer::pem_slice_iter(&pem);
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(certificates)
}

/// Returns whether TLS is the cause of the error of a stream.
pub(super) fn is_cause(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<Error>())
}

/// Why the certificate of an authority is refused. rustls shows the cause of [`CertificateError::Other`] as Rust's debug text.
const OF_AN_AUTHORITY: &str = "the certificate is that of a certificate authority, as `openssl req -x509` makes it: trust it \
     with --ca-file, or every certificate with --insecure";

/// Accepts certificates of some authorities, and some certificates by themselves.
#[derive(Debug)]
struct TrustSome {
    authorities: Arc<WebPkiServerVerifier>,
    /// These are accepted for their names and in their time even if they say that they are authorities, which the
    /// certificate of a server must not (RFC 5280 §4.2.1.9).
    trusted: Vec<CertificateDer<'static>>,
}

impl TrustSome {
    fn new(
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self {
            authorities: builder.build()?,
            trusted,
        })
    }
}

impl ServerCertVerifier for TrustSome {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.authorities
                .verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            // The time was checked before.
            Err(error) if is_of_authority(&error) => {
                if self.trusted.iter().all(|trusted| trusted != certificate) {
                    return Err(Error::General(OF_AN_AUTHORITY.to_owned()));
                }
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Returns whether a certificate was refused because it is one of an authority.
fn is_of_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else {
        return false;
    };
    let cause = cause.downcast_ref::<webpki::Error>();
    cause == Some(&webpki::Error::CaUsedAsEndEntity)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::time::Duration;

    use super::*;

    /// Made by `openssl req -x509 … -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost`.
    const CERTIFICATE: &[u8] = b"\
-----BEGIN CERTIFICATE-----
MIIBlDCCATmgAwIBAgIUD0asdzUj44E3TL3M4za4Q0K4cqwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MB4XDTI2MTEyNjE4MzQzMFoXDTI2MTEyNzE4
MzQzMFowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAECyWZlDkafN8Ez2MC/T14/ScmvUEfAyytbB790c4qJxRde6qeNysD62l0
ucbX9tMl7nP/CLswtNkqmpQ8WeI3UqNpMGcwHQYDVR0OBBYEFJm6Ujo3os06aeGd
mNY0haE0mc5YMB8GA1UdIwQYMBaAFJm6Ujo3os06aeGdmNY0haE0mc5YMA8GA1Ud
EwEB/wQFMAMBAf8wFAYDVR0RBA0wC4IJbG9jYWxob3N0MAoGCCqGSM49BAMCA0kA
MEYCIQD2f7g2xNtsnQW7aCGmhUh5N+EVe336RguWVL/qKeo9CgIhAM7HVubIMZ1p
4pj4b49sLuel8lA4noEt0qfWGc5IRGia
-----END CERTIFICATE-----
";
    /// The second at which it begins to be valid.
    const BEGIN: u64 = 1795718070;
    const DAY: u64 = 24 * 3600;

    #[test]
    fn a_certificate_in_the_file_is_trusted_for_its_name_and_in_its_time_only() {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let trusting = |trusted: Vec<CertificateDer<'static>>| {
            let provider = Arc::new(ring::default_provider());
            TrustSome::new(roots.clone(), trusted, provider).unwrap()
        };
        let (itself, authority_only) = (trusting(vec![certificate.clone()]), trusting(vec![]));
        let verified = |by: &TrustSome, name: &'static str, second: u64| {
            let name = ServerName::try_from(name).unwrap();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(second));
            let verified = by.verify_server_cert(&certificate, &[], &name, &[], now);
            verified.map(|_| ()).map_err(|error| error.to_string())
        };
        let inside = BEGIN + DAY / 2;
        assert_eq!(verified(&itself, "localhost", inside), Ok(()));
        for (by, name, second, said) in [
            (&itself, "herd.test", inside, "not valid for name"),
            (&itself, "localhost", BEGIN - DAY, "not valid yet"),
            (&itself, "localhost", BEGIN + 2 * DAY, "expired"),
            (&authority_only, "localhost", inside, OF_AN_AUTHORITY),
        ] {
            let refused = verified(by, name, second).unwrap_err();
            assert!(refused.contains(said), "{name} at {second}: {refused}");
        }
    }
}
