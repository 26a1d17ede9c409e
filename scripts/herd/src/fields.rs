//! Header fields of requests, as they are written: `Name: value`, where `${NAME}` is an environment variable.

use http::header::{HeaderName, HeaderValue};
use serde::{Serializer, ser::SerializeSeq as _};

use crate::secrets::{self, Environment, NotExpanded, expanded, is_secret};

/// Fields that frame a message or belong to a connection: the client sets them (RFC 9110 §7.6.1, RFC 9112 §6).
const OF_THE_CLIENT: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "http2-settings",
];
/// Reasons why a text is not a header field. None of them shows the value, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum NotAField {
    /// There is no colon.
    #[error("expected 'Name: value'")]
    Colon,
    /// The name is not a token (RFC 9110 §5.1).
    #[error("'{0}' is not the name of a header field")]
    Name(String),
    /// The client sets this field itself.
    #[error("{0} cannot be set: it belongs to the connection or frames the message")]
    OfTheClient(HeaderName),
    /// The value has a control character or a line break (RFC 9110 §5.5).
    #[error("the value of {0} has a line break or another control character")]
    Value(HeaderName),
    /// Its variables cannot be replaced.
    #[error(transparent)]
    Variables(#[from] NotExpanded),
}

/// Parses a header field, with variables from the environment.
///
/// # Errors
/// [`NotAField`].
pub(super) fn parse_field(
    text: &str,
    environment: Environment<'_>,
) -> Result<(HeaderName, HeaderValue), NotAField> {
    let (name, value) = text.split_once(':').ok_or(NotAField::Colon)?;
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| NotAField::Name(name.escape_debug().to_string()))?;
    let closes = name == "connection" && value.trim().eq_ignore_ascii_case("close");
    if OF_THE_CLIENT.contains(&name.as_str()) || (name == "connection" && !closes) {
        return Err(NotAField::OfTheClient(name));
    }
    let value = expanded(name.as_str(), value.trim_matches([' ', '\t']), environment)?;
    let bytes = HeaderValue::from_bytes(value.as_bytes());
    let mut value = bytes.map_err(|_| NotAField::Value(name.clone()))?;
    value.set_sensitive(is_secret(name.as_str()));
    Ok((name, value))
}

/// Returns the text of a field without its value if that is a secret.
fn without_secret(text: &str) -> String {
    match text.split_once(':') {
        Some((name, value)) => {
            let value = value.trim();
            format!("{name}: {}", secrets::without_secret(name, value))
        }
        None => text.to_owned(),
    }
}

/// Serializes fields without secrets.
///
/// # Errors
/// Those of the serializer.
pub(super) fn serialize<S: Serializer>(
    fields: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(fields.len()))?;
    for field in fields {
        list.serialize_element(&without_secret(field))?;
    }
    list.end()
}
