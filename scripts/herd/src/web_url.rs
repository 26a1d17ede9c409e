//! What a URL must not have: parts that a request cannot carry are refused, not dropped.

use crate::invalid::PlanError;

/// Checks the text of an absolute URL: a host, a port from 1 to 65535, no user, no password and no fragment. Errors show it
/// as `shown`.
///
/// # Errors
/// [`PlanError`], which never shows a password.
pub(super) fn check_url(text: &str, shown: &str) -> Result<(), PlanError> {
    let invalid = || PlanError::Url {
        url: shown.escape_debug().to_string(),
    };
    let (_, rest) = text.split_once("://").ok_or_else(invalid)?;
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Err(PlanError::User {
            host: host.to_owned(),
        });
    }
    if text.contains('#') {
        return Err(PlanError::Fragment {
            url: shown.to_owned(),
        });
    }
    // An IPv6 address has colons of its own.
    let (host, port) = match authority.rsplit_once(']') {
        Some((_, after)) => (authority, after.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(invalid());
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match port.filter(|port| !is_port(port)) {
        Some(port) => Err(PlanError::Port {
            port: port.escape_debug().to_string(),
        }),
        None => Ok(()),
    }
}
