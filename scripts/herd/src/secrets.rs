//! Secrets in options. They come from the environment, so that neither a plan nor the list of processes has them. The value
//! of a header field or of a parameter of a URL whose name says that it is secret is never written, however it was given:
//! a variable that is named for it stands in its place.

use std::borrow::Cow;

use serde::{Serializer, ser::SerializeSeq as _};

/// Parts of names whose values are secrets. Rather one too many than one too few: the help of --header names them.
const SECRET: [&str; 14] = [
    "auth",
    "cookie",
    "credential",
    "csrf",
    "dpop",
    "jwt",
    "key",
    "pass",
    "pwd",
    "secret",
    "session",
    "sig",
    "token",
    "xsrf",
];

/// Variables of the environment by their names.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reasons why variables in a value cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum NotExpanded {
    /// A variable is missing.
    #[error("the environment variable {variable}, for the value of {of}, is not set")]
    Missing {
        /// The field or parameter.
        of: String,
        /// The variable.
        variable: String,
    },
    /// A `${` has no end.
    #[error("the value of {0} has a ${{ without a name and a }} after it")]
    Open(String),
}

/// Returns whether the value of something of this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

/// Replaces `${NAME}` in the value of `of` by environment variables.
///
/// # Errors
/// [`NotExpanded`].
pub(super) fn expanded(
    of: &str,
    text: &str,
    environment: Environment<'_>,
) -> Result<String, NotExpanded> {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let closed = after.split_once('}').filter(|(name, _)| !name.is_empty());
        let (variable, after) = closed.ok_or_else(|| NotExpanded::Open(of.to_owned()))?;
        value.push_str(before);
        value.push_str(&environment(variable).ok_or_else(|| NotExpanded::Missing {
            of: of.to_owned(),
            variable: variable.to_owned(),
        })?);
        rest = after;
    }
    value.push_str(rest);
    Ok(value)
}

/// Returns what is written in place of the value of `name`: itself, unless it is a secret.
pub(super) fn without_secret<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if !is_secret(name) || value.is_empty() || is_only_variables(value) {
        return value.into();
    }
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    let variable: String = name.to_ascii_uppercase().chars().map(plain).collect();
    format!("${{{variable}}}").into()
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

/// Returns a text without the secrets in the query of a URL in it.
pub(super) fn url_without_secrets(text: &str) -> String {
    let shown = with_parameters(text, |name, value| {
        Ok::<_, std::convert::Infallible>(without_secret(name, value).into_owned())
    });
    match shown {
        Ok(shown) => shown,
        Err(never) => match never {},
    }
}

/// Replaces `${NAME}` in the values of the query of a URL by environment variables, encoded as values of a query.
///
/// # Errors
/// [`NotExpanded`].
pub(super) fn expanded_url(
    text: &str,
    environment: Environment<'_>,
) -> Result<String, NotExpanded> {
    let encoded = |name: &str| {
        let value = environment(name)?;
        Some(form_urlencoded::byte_serialize(value.as_bytes()).collect())
    };
    with_parameters(text, |name, value| {
        expanded(&format!("the parameter {name}"), value, &encoded)
    })
}

/// Replaces the values of the query of a URL in the text. The name of a parameter is decoded.
fn with_parameters<E>(
    text: &str,
    replaced: impl Fn(&str, &str) -> Result<String, E>,
) -> Result<String, E> {
    let Some((before, after)) = text.split_once('?') else {
        return Ok(text.to_owned());
    };
    let end = after.find(|letter: char| letter == '#' || letter.is_whitespace());
    let (query, after) = after.split_at(end.unwrap_or(after.len()));
    let pairs = query.split('&').map(|pair| {
        let Some((name, value)) = pair.split_once('=') else {
            return Ok(pair.to_owned());
        };
        let decoded = form_urlencoded::parse(name.as_bytes()).next();
        let decoded = decoded.map_or(name.into(), |(decoded, _)| decoded);
        Ok(format!("{name}={}", replaced(&decoded, value)?))
    });
    let query: Vec<String> = pairs.collect::<Result<_, E>>()?;
    Ok(format!("{before}?{}{after}", query.join("&")))
}

/// Serializes a URL without secrets.
///
/// # Errors
/// Those of the serializer.
#[expect(clippy::ref_option, reason = "serde passes a reference")]
pub(super) fn serialize_url<S: Serializer>(
    url: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match url {
        Some(url) => serializer.serialize_some(&url_without_secrets(url)),
        None => serializer.serialize_none(),
    }
}

/// Serializes URLs without secrets.
///
/// # Errors
/// Those of the serializer.
pub(super) fn serialize_urls<S: Serializer>(
    urls: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(urls.len()))?;
    for url in urls {
        list.serialize_element(&url_without_secrets(url))?;
    }
    list.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_a_query_are_hidden_and_nothing_else_is() {
        for (text, shown) in [
            ("http://a/b", "http://a/b"),
            ("http://a/b?x=1&y", "http://a/b?x=1&y"),
            (
                "3 http://a/?Access_Token=s&x=1",
                "3 http://a/?Access_Token=${ACCESS_TOKEN}&x=1",
            ),
            (
                "http://a/?X-Amz-Signature=s",
                "http://a/?X-Amz-Signature=${X_AMZ_SIGNATURE}",
            ),
            ("http://a/?%74oken=s=t#f", "http://a/?%74oken=${TOKEN}#f"),
            (
                "http://a/?token=&key=${MINE}",
                "http://a/?token=&key=${MINE}",
            ),
            ("http://a/?key=s${MINE}", "http://a/?key=${KEY}"),
            (
                "301, Location: /?sig=s then",
                "301, Location: /?sig=${SIG} then",
            ),
        ] {
            assert_eq!(url_without_secrets(text), shown, "{text}");
        }
    }
}
