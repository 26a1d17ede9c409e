//! URLs of targets, checked: what a request cannot have is refused, not dropped.

use awc::http::Uri;

use crate::invalid::PlanError;

/// Parses an absolute http URL: with a host, without a user, a password or a fragment.
///
/// # Errors
/// [`PlanError`], which never shows a password.
pub(super) fn parse_url(text: &str) -> Result<Uri, PlanError> {
    let authority = text.split_once("://").map_or("", |(_, rest)| {
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    });
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Err(PlanError::User {
            host: host.to_owned(),
        });
    }
    if text.contains('#') {
        return Err(PlanError::Fragment {
            url: text.to_owned(),
        });
    }
    let invalid = || PlanError::Url {
        url: text.escape_debug().to_string(),
    };
    let url: Uri = text.parse().map_err(|_| invalid())?;
    let host = url.host().filter(|host| !host.is_empty() && !authority.is_empty());
    host.ok_or_else(invalid)?;
    // An IPv6 address has colons of its own.
    let port = match authority.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':'),
        None => authority.split_once(':').map(|(_, port)| port),
    };
    if let Some(port) = port
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return Err(PlanError::Port {
            port: port.to_owned(),
        });
    }
    if url.scheme_str() != Some("http") {
        return Err(PlanError::Scheme {
            url: text.to_owned(),
        });
    }
    Ok(url)
}
