//! The field `Link` (RFC 8288): where a client that waits asks next.

use thiserror::Error;
use url::Url;

/// Why a response leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoNext {
    /// No link has the relation `next`, or its target is not a URL.
    #[error("no Link with rel=\"next\"")]
    Missing,
    /// It leads to another server, which the operator of this program may not own.
    #[error("the next Link leads to another server, {0}: it is not followed")]
    Elsewhere(String),
}

/// Returns the target of the link with the relation `next`, resolved against the URL of the request.
///
/// # Errors
/// If there is no such link, or if it leads to another scheme, host or port.
pub fn next(request: &Url, field: &str) -> Result<Url, NoNext> {
    let target = links(field).find_map(|(target, parameters)| {
        let relations = relations(parameters)?;
        let is_next = |name: &str| name.eq_ignore_ascii_case("next");
        relations.split(' ').any(is_next).then_some(target)
    });
    let next = target.and_then(|target| request.join(target).ok());
    let next = next.ok_or(NoNext::Missing)?;
    if next.origin() == request.origin() {
        Ok(next)
    } else {
        Err(NoNext::Elsewhere(next.origin().ascii_serialization()))
    }
}

/// Returns the targets and parameters of all links.
fn links(field: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = field;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let end = end_of_parameters(after);
        let parameters = &after[..end];
        rest = &after[end..];
        Some((target, parameters))
    })
}

/// Returns the offset of the comma that ends a link; commas in quotes do not.
fn end_of_parameters(text: &str) -> usize {
    let mut quoted = false;
    let end = text.char_indices().find(|(_, character)| {
        quoted ^= *character == '"';
        *character == ',' && !quoted
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// Returns the value of the first parameter `rel`.
fn relations(parameters: &str) -> Option<&str> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_relation = name.trim().eq_ignore_ascii_case("rel");
        is_relation.then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    fn next_of(field: &str) -> Result<String, NoNext> {
        let request = Url::parse("http://127.0.0.1:8080/api/cathedral/v1/x/changes?after=1-a.2");
        next(&request.unwrap(), field).map(|url| url.to_string())
    }

    #[test]
    fn the_next_link_is_resolved_against_the_url_of_the_request() {
        let base = "http://127.0.0.1:8080/api/cathedral/v1/x/changes";
        let field = "<?after=1-a.3&slot=7>; rel=\"next\"";
        let next = Ok(format!("{base}?after=1-a.3&slot=7"));
        assert_eq!(next_of(field), next);
        assert_eq!(
            next_of("</a?b>; rel=next").unwrap(),
            "http://127.0.0.1:8080/a?b"
        );
        for other in [
            format!("<?other>; rel=\"prev\"; title=\"a, <b>\", {field}"),
            "<?after=1-a.3&slot=7> ; title=x;REL=\"last Next\"".to_owned(),
        ] {
            assert_eq!(next_of(&other), next, "{other}");
        }
    }

    #[test]
    fn there_is_no_next_link_without_the_relation_or_to_another_host() {
        for field in ["", "<?a", "<?a>", "<?a>; rel=\"prev\""] {
            assert_eq!(next_of(field), Err(NoNext::Missing), "{field}");
        }
        for (field, server) in [
            (
                "<http://127.0.0.1:8081/a>; rel=next",
                "http://127.0.0.1:8081",
            ),
            ("<//example.com/a>; rel=next", "http://example.com"),
        ] {
            let elsewhere = NoNext::Elsewhere(server.to_owned());
            assert_eq!(next_of(field), Err(elsewhere), "{field}");
        }
    }
}
