//! Whether a client names HTML in `Accept` (RFC 9110 §12.5.1).

use super::weight;

/// How specific a media range is; the most specific one that matches counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    /// `text/*`
    Type,
    /// `text/html`
    Subtype,
}

/// Returns whether the lines of `Accept` name `text/html` or `text/*` with a weight above 0. `*/*` alone does
/// not: programs send it, browsers name what they show. Malformed members are skipped; the last duplicate wins.
pub fn names_html<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut best = None;
    for member in lines.into_iter().flat_map(|line| split(line, b',')) {
        if let Some((specificity, weight)) = parse_member(member)
            && best.is_none_or(|(known, _)| known <= specificity)
        {
            best = Some((specificity, weight));
        }
    }
    best.is_some_and(|(_, weight)| weight > 0)
}

/// `media-range *( OWS ";" OWS parameter ) [ weight ]`, if it is of HTML. Other parameters than the weight are ignored:
/// no other representation than HTML would be better.
fn parse_member(member: &[u8]) -> Option<(Specificity, weight::Weight)> {
    let mut parts = split(member, b';').map(<[u8]>::trim_ascii);
    let range = parts.next()?.to_ascii_lowercase();
    let specificity = match range.as_slice() {
        b"text/html" => Specificity::Subtype,
        b"text/*" => Specificity::Type,
        _ => return None,
    };
    for parameter in parts {
        // Parameters behind the weight have no meaning any more (§12.5.1).
        if let [b'q' | b'Q', b'=', ..] = parameter {
            return Some((specificity, weight::parse(parameter)?));
        }
    }
    Some((specificity, weight::MAX))
}

/// Splits at a separator outside of quoted strings (RFC 9110 §5.6.4).
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |&byte| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = is_quoted && byte == b'\\';
        is_quoted ^= byte == b'"';
        !is_quoted && byte == separator
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_named_by_text_html_or_text_any_with_a_weight_above_0() {
        let names = |line: &str| names_html([line.as_bytes()]);
        for line in [
            "text/html",
            "Text/HTML",
            "text/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "application/json, text/html;q=0.001",
            "text/html ; q=0.5",
            "text/html;charset=utf-8",
            "text/html; charset=\"UTF-8\"; q=1.000; extension=x",
            "text/html;level=1",
            "text/html;version=2; charset=iso-8859-1;q=0.4",
            "text/html;x=\"a,b;q=0\"",
            "text/*;q=0, text/html",
            "text/html;q=0, text/html",
            "a/b;x=\"\\\",text/html;q=0,\", text/html",
            ",, text/html",
        ] {
            assert!(names(line), "{line}");
        }
        for line in [
            "",
            "*/*",
            "*/*;q=1.0",
            "application/json",
            "application/xhtml+xml",
            "text/plain",
            "text/htm",
            "text/html5",
            "text/html;q=0",
            "text/html;q=0.000",
            "text/*, text/html;q=0",
            "text/html;q=0, text/*",
            "text/html;q=2",
            "text/html;q=",
            "text/html;q=0.0001",
            "text/html;level=1;q=0",
            "text/html;x=\";q=1\";q=0",
            "a/b;x=\"text/html,text/html\"",
            "a/b;x=\",text/html",
            "text / html",
        ] {
            assert!(!names(line), "{line}");
        }
        let lines: [&[u8]; 2] = [b"application/json", b"text/html"];
        assert!(names_html(lines) && !names_html([]));
    }
}
