//! Header fields of requests, as they are written: `Name: value`, where `${NAME}` is an environment variable.
//!
//! Secrets come from the environment, so that neither a plan nor the list of processes has them. The value of a field
//! whose name says that it is secret is never written with the results, however it was given.

use http::header::{HeaderName, HeaderValue};
use serde::{Serializer, ser::SerializeSeq as _};

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
/// Parts of names of fields whose values are secrets. Rather one too many than one too few: the help of --header names them.
const SECRET: [&str; 12] = [
    "auth",
    "cookie",
    "credential",
    "csrf",
    "dpop",
    "key",
    "pass",
    "secret",
    "session",
    "sign",
    "token",
    "xsrf",
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
    /// A variable is missing.
    #[error("the environment variable {variable}, for the value of {name}, is not set")]
    Variable {
        /// The field.
        name: HeaderName,
        /// The variable.
        variable: String,
    },
    /// A `${` has no end.
    #[error("the value of {0} has a ${{ without a name and a }} after it")]
    Open(HeaderName),
}

/// Parses a header field, with variables from the environment.
///
/// # Errors
/// [`NotAField`].
pub(super) fn parse_field(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(HeaderName, HeaderValue), NotAField> {
    let (name, value) = text.split_once(':').ok_or(NotAField::Colon)?;
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| NotAField::Name(name.escape_debug().to_string()))?;
    let closes = name == "connection" && value.trim().eq_ignore_ascii_case("close");
    if OF_THE_CLIENT.contains(&name.as_str()) || (name == "connection" && !closes) {
        return Err(NotAField::OfTheClient(name));
    }
    let value = expanded(&name, value.trim_matches([' ', '\t']), environment)?;
    let bytes = HeaderValue::from_bytes(value.as_bytes());
    let mut value = bytes.map_err(|_| NotAField::Value(name.clone()))?;
    value.set_sensitive(is_secret(&name));
    Ok((name, value))
}

fn expanded(
    name: &HeaderName,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, NotAField> {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let closed = after.split_once('}').filter(|(name, _)| !name.is_empty());
        let (variable, after) = closed.ok_or_else(|| NotAField::Open(name.clone()))?;
        value.push_str(before);
        value.push_str(&environment(variable).ok_or_else(|| NotAField::Variable {
            name: name.clone(),
            variable: variable.to_owned(),
        })?);
        rest = after;
    }
    value.push_str(rest);
    Ok(value)
}

fn is_secret(name: &HeaderName) -> bool {
    SECRET.iter().any(|part| name.as_str().contains(part))
}

/// Returns the text of a field without its value if that is a secret: with a variable that is named for the field.
fn without_secret(text: &str) -> String {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let is_secret = HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| is_secret(&name));
    if !is_secret || is_only_variables(value) {
        return text.to_owned();
    }
    let variable = name.to_ascii_uppercase().replace('-', "_");
    format!("{name}: ${{{variable}}}")
}

/// Returns whether a value has no text of its own, except for the name of a scheme: `Bearer ${TOKEN}`.
fn is_only_variables(value: &str) -> bool {
    let Some((scheme, variable)) = value.split_once("${") else {
        return false;
    };
    let schemes = ["", "bearer", "basic", "token"];
    let closes = variable.split_once('}').map(|(_, rest)| rest.trim());
    schemes.contains(&scheme.trim().to_ascii_lowercase().as_str()) && closes == Some("")
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
