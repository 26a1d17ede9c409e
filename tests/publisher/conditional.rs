//! Conditional requests (WIRE.md; RFC 9110 §8.8.3, §13):
//!
//! - a matching If-None-Match gets 304 with its headers and no body: `*`, or a list over one field line or several, of
//!   weak or strong tags; a comma inside the quotes is part of the tag; empty and malformed members are skipped
//! - an If-None-Match that does not match gets 200
//! - If-None-Match takes precedence over If-Modified-Since
//! - If-Match uses strong comparison, and fails with 412
//! - the parser agrees with a slow reference on arbitrary bytes

use cathedral_publisher::domain::entity_tag::TagList;
use proptest::prelude::*;
use regex::bytes::Regex;

use crate::app::{App, BOARD, CURRENT, Data, FEED};

fn paths() -> [String; 3] {
    [
        BOARD.to_owned(),
        format!("{CURRENT}?tier=2"),
        format!("{FEED}?since=2020-01-01T00:00:00Z"),
    ]
}

async fn app() -> App {
    let data = Data::sample();
    data.sample_runs(3, "2026-06-07T00:00:00Z");
    App::start(data).await
}

#[actix_web::test]
async fn a_matching_if_none_match_gets_304_with_its_headers_and_no_body() {
    let app = app().await;
    for path in paths() {
        let full = app.get(&path).await;
        let tag = full.header("etag").to_owned();
        assert_eq!(tag.len(), 18);
        for value in [
            tag.clone(),
            format!("W/{tag}"),
            "*".to_owned(),
            " * ".to_owned(),
            format!("\"a\", {tag}"),
            format!("{tag},\"a\""),
            format!(",, ,\t{tag} ,"),
            format!("\"a,b\",{tag}"),
            format!("junk, {tag}"),
            format!("\"unclosed, {tag}"),
            format!("\"a\" \"b\", {tag}"),
            format!("w/\"a\", {tag}"),
            format!("*, {tag}"),
        ] {
            let answer = app.get_with(&path, &[("if-none-match", &value)]).await;
            assert_eq!(answer.status, 304, "{path} {value}");
            assert!(answer.body.is_empty());
            for name in ["etag", "cache-control", "vary"] {
                assert_eq!(answer.header(name), full.header(name), "{path} {name}");
            }
            assert!(answer.headers.get("content-length").is_none());
        }
        let lines = [("if-none-match", "\"a\""), ("if-none-match", tag.as_str())];
        assert_eq!(
            app.get_with(&path, &lines).await.status,
            304,
            "two field lines"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_if_none_match_that_does_not_match_gets_200() {
    let app = app().await;
    for path in paths() {
        let tag = app.get(&path).await.header("etag").to_owned();
        let bare = tag.trim_matches('"');
        for value in [
            String::new(),
            ",".to_owned(),
            "\"\"".to_owned(),
            bare.to_owned(),
            format!("\"{bare}"),
            format!("w/{tag}"),
            format!("W/ {tag}"),
            format!("\"x,{bare}\""),
            format!("{tag} {tag}"),
            format!("\"{}\"", bare.to_uppercase() + "X"),
            "*, *".to_owned(),
            "*, \"a\"".to_owned(),
            format!("\"{bare}-br2\""),
        ] {
            let answer = app.get_with(&path, &[("if-none-match", &value)]).await;
            assert_eq!(answer.status, 200, "{path} {value}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn if_none_match_takes_precedence_over_if_modified_since() {
    let app = app().await;
    for path in paths() {
        let future = ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT");
        let past = ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT");
        let other = app
            .get_with(&path, &[("if-none-match", "\"a\""), future])
            .await;
        assert_eq!(other.status, 200);
        let same = app
            .get_with(&path, &[("if-none-match", other.header("etag")), past])
            .await;
        assert_eq!(same.status, 304);
        assert_eq!(
            app.get_with(&path, &[future]).await.status,
            200,
            "there is no Last-Modified"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn if_match_uses_strong_comparison_and_fails_with_412() {
    let app = app().await;
    for path in paths() {
        let tag = app.get(&path).await.header("etag").to_owned();
        for value in [tag.as_str(), "*"] {
            assert_eq!(
                app.get_with(&path, &[("if-match", value)]).await.status,
                200
            );
        }
        for value in [format!("W/{tag}"), "\"a\"".to_owned()] {
            let answer = app.get_with(&path, &[("if-match", &value)]).await;
            answer.assert_error(412, "precondition failed");
        }
    }
    app.stop().await;
}

/// Parses the list with regular expressions: takes a whole member if there is one, otherwise skips past the next
/// comma. Returns `None` for `*`.
fn reference(lines: &[Vec<u8>]) -> Option<Vec<(bool, Vec<u8>)>> {
    let member =
        Regex::new(r#"^(?-u)[ \t]*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?:,|$)"#).unwrap();
    let skip = Regex::new(r"^(?-u)([^,]*)(?:,|$)").unwrap();
    let (mut tags, mut others) = (Vec::new(), Vec::new());
    for line in lines {
        let mut rest = &line[..];
        while !rest.is_empty() {
            let end = if let Some(found) = member.captures(rest) {
                tags.push((found.get(1).is_some(), found[2].to_vec()));
                found[0].len()
            } else {
                let found = skip.captures(rest).unwrap();
                others.push(found[1].trim_ascii().to_vec());
                found[0].len()
            };
            rest = &rest[end..];
        }
    }
    others.retain(|other| !other.is_empty());
    let any = tags.is_empty() && others == [b"*".to_vec()];
    (!any).then_some(tags)
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            &b"\""[..], b",", b" ", b"\t", b"W/", b"w/", b"*", b"a", b"\"a\"", b"W/\"b\"", b"\xe9", b"\x7f",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn the_parser_agrees_with_a_slow_reference(lines in prop::collection::vec(line(), 0..3)) {
        let parsed = match TagList::parse(lines.iter().map(Vec::as_slice)) {
            TagList::Any => None,
            TagList::Tags(tags) => {
                Some(tags.iter().map(|tag| (tag.weak, tag.opaque.to_vec())).collect::<Vec<_>>())
            }
        };
        prop_assert_eq!(parsed, reference(&lines));
    }
}
