//! The certificates of authorities that outgoing connections trust.

use std::path::Path;

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::small_file;

/// The longest file: bundles of all public authorities have a quarter of a megabyte.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Returns the certificates of a PEM file, or of the system without one. `option` is the name of the option that
/// names the file.
///
/// # Errors
/// In words for an operator: the file cannot be read, or there is no certificate.
pub(crate) fn load(
    option: &str,
    file: Option<&Path>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    match file {
        Some(path) => {
            of_file(path).map_err(|cause| format!("{option} {}: {cause}", path.display()))
        }
        None => of_system().map_err(|cause| format!("{cause}: use {option}")),
    }
}

fn of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = small_file::read(path, MAX_BYTES).map_err(|error| error.to_string())?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(certificates)
}

fn of_system() -> Result<Vec<CertificateDer<'static>>, String> {
    let native = rustls_native_certs::load_native_certs();
    if !native.certs.is_empty() {
        return Ok(native.certs);
    }
    let cause = native.errors.first();
    let cause = cause.map(|error| format!(" ({error})")).unwrap_or_default();
    Err(format!(
        "this system has no certificates to verify a server's with{cause}"
    ))
}
