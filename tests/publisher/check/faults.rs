//! Broken rules, and the checks that must name them.

use crate::foreign::{Answer, Asked, Fault, edited};

type Case = (&'static str, Fault, &'static [&'static str]);

/// A fault of the answers to requests for the board.
macro_rules! board {
    (|$asked:ident, $answer:ident| $change:expr) => {
        Fault::Answer(|$asked: &Asked, $answer: &mut Answer| {
            if $asked.is_board() {
                $change
            }
        })
    };
}

/// A fault of what requests are taken for.
macro_rules! taken {
    (|$asked:ident| $change:expr) => {
        Fault::Asked(|$asked: &mut Asked| $change)
    };
}

/// A fault of bodies.
macro_rules! content {
    (|$asked:ident, $text:ident| $change:expr) => {
        Fault::Content(|$asked: &Asked, $text: &mut String| $change)
    };
}

/// All of them: what is wrong, how, and what fails.
pub fn all() -> Vec<Case> {
    [
        board(),
        tags(),
        codings(),
        methods(),
        elsewhere(),
        feed(),
        rows(),
    ]
    .concat()
}

fn board() -> Vec<Case> {
    vec![
        (
            "the board is 500",
            board!(|_asked, answer| answer.status = 500),
            &["board"],
        ),
        (
            "the board is HTML",
            board!(|_asked, answer| answer.set("content-type", "text/html")),
            &["board"],
        ),
        (
            "a count is wrong",
            content!(|_asked, text| *text = text.replace("\"count\":5", "\"count\":6")),
            &["board"],
        ),
        (
            "an integer for a float",
            content!(|asked, text| if asked.is_board() {
                *text = text.replace("\"score_multiplier\":1.0", "\"score_multiplier\":1");
            }),
            &["board"],
        ),
        (
            "spaces",
            content!(|asked, text| if asked.is_board() {
                *text = text.replace(",", ", ")
            }),
            &["board"],
        ),
        (
            "a line feed at the end",
            content!(|asked, text| if asked.is_board() {
                text.push('\n')
            }),
            &["board"],
        ),
        (
            "a challenge is locked",
            content!(|asked, text| if asked.is_board() {
                *text = text.replacen("\"active\"", "\"locked\"", 1);
            }),
            &["board"],
        ),
        (
            "a key is missing",
            content!(|asked, text| if asked.is_board() {
                *text = text.replacen("\"num_vars\":3,", "", 1);
            }),
            &["board"],
        ),
        (
            "items are not in order",
            content!(
                |asked, text| if asked.is_board() || asked.path.ends_with("changes") {
                    *text = text.replace("challenge-0", "challenge-x");
                }
            ),
            &["board order", "current-challenge"],
        ),
    ]
}

fn tags() -> Vec<Case> {
    vec![
        (
            "no tag",
            board!(|_asked, answer| answer.remove("etag")),
            &["board tag", "board codings"],
        ),
        (
            "a weak tag",
            board!(|_asked, answer| {
                if let Some(tag) = answer.fields.get("etag").cloned() {
                    answer.set("etag", &format!("W/{tag}"));
                }
            }),
            &["board tag"],
        ),
        (
            "a tag of something else",
            board!(|_asked, answer| answer.set("etag", "\"0123456789abcdef\"")),
            &["board tag", "board codings"],
        ),
        (
            "an hour's caching",
            board!(|_asked, answer| answer.set("cache-control", "public, max-age=3600")),
            &["board caching"],
        ),
        (
            "no caching",
            board!(|_asked, answer| answer.set("cache-control", "no-store")),
            &["board caching"],
        ),
        (
            "private caching",
            board!(|_asked, answer| answer.set("cache-control", "private, max-age=15")),
            &["board caching"],
        ),
        (
            "If-None-Match is ignored",
            taken!(|asked| if asked.is_board() {
                asked.remove("if-none-match")
            }),
            &[
                "board 304",
                "board 304 of a list",
                "board 304 of two lines",
                "board codings",
            ],
        ),
        (
            "* is ignored",
            taken!(
                |asked| if asked.is_board() && asked.field("if-none-match") == Some("*") {
                    asked.remove("if-none-match");
                }
            ),
            &["board 304 of a list"],
        ),
        (
            "tags are compared strongly",
            taken!(|asked| {
                if asked.is_board()
                    && asked
                        .field("if-none-match")
                        .is_some_and(|it| it.starts_with("W/"))
                {
                    asked.remove("if-none-match");
                }
            }),
            &["board 304"],
        ),
        (
            "lists are ignored",
            taken!(|asked| {
                if asked.is_board()
                    && asked
                        .field("if-none-match")
                        .is_some_and(|it| it.contains(','))
                {
                    asked.remove("if-none-match");
                }
            }),
            &["board 304 of a list"],
        ),
        (
            "only the first field line counts",
            taken!(|asked| if asked.is_board() {
                let first = asked
                    .fields
                    .iter()
                    .position(|(name, _)| name == "if-none-match");
                let mut index = 0;
                asked.fields.retain(|(name, _)| {
                    index += 1;
                    name != "if-none-match" || Some(index - 1) == first
                });
            }),
            &["board 304 of two lines"],
        ),
        (
            "every tag matches",
            board!(|asked, answer| if asked.field("if-none-match").is_some() {
                answer.status = 304
            }),
            &["board 304"],
        ),
        (
            "304 without a tag",
            board!(|_asked, answer| if answer.status == 304 {
                answer.remove("etag")
            }),
            &["board 304", "board 304 of a list", "board 304 of two lines"],
        ),
        (
            "304 with other caching",
            board!(|_asked, answer| if answer.status == 304 {
                answer.set("cache-control", "no-cache");
            }),
            &["board 304", "board 304 of a list", "board 304 of two lines"],
        ),
        (
            "304 without Vary",
            board!(|_asked, answer| if answer.status == 304 {
                answer.remove("vary")
            }),
            &["board 304", "board 304 of a list", "board 304 of two lines"],
        ),
    ]
}

fn codings() -> Vec<Case> {
    vec![
        (
            "gzip for everybody",
            taken!(|asked| asked
                .fields
                .push(("accept-encoding".to_owned(), "gzip".to_owned()))),
            &["board", "feed"],
        ),
        (
            "gzip with q=0",
            taken!(
                |asked| if asked.is_board() && asked.field("accept-encoding") == Some("gzip;q=0") {
                    asked.remove("accept-encoding");
                    asked
                        .fields
                        .push(("accept-encoding".to_owned(), "gzip".to_owned()));
                }
            ),
            &["board codings"],
        ),
        (
            "gzip instead of br",
            taken!(
                |asked| if asked.is_board() && asked.field("accept-encoding") == Some("br") {
                    asked.remove("accept-encoding");
                    asked
                        .fields
                        .push(("accept-encoding".to_owned(), "gzip".to_owned()));
                }
            ),
            &["board codings"],
        ),
        (
            "gzip with the tag of the identity",
            board!(|_asked, answer| {
                if let Some(tag) = answer.fields.get("etag").cloned() {
                    answer.set("etag", &tag.replace("-gzip", ""));
                }
            }),
            &["board codings"],
        ),
        (
            "gzip without Vary",
            board!(
                |_asked, answer| if answer.fields.contains_key("content-encoding") {
                    answer.remove("vary");
                }
            ),
            &["board codings"],
        ),
        (
            "no Vary at all",
            board!(|_asked, answer| answer.remove("vary")),
            &["board codings"],
        ),
        (
            "gzip that ends early",
            board!(
                |_asked, answer| if answer.fields.contains_key("content-encoding") {
                    answer.body.truncate(answer.body.len() / 2);
                }
            ),
            &["board codings"],
        ),
        (
            "gzip of other bytes",
            content!(
                |asked, text| if asked.is_board() && asked.field("accept-encoding").is_some() {
                    // The tag is that of these bytes: a cache could have kept them, but not for ever.
                    *text = text.replace("challenge-4", "challenge-5");
                }
            ),
            &["board codings"],
        ),
        (
            "the tag of gzip gets 200",
            taken!(
                |asked| if asked.is_board() && asked.field("accept-encoding").is_some() {
                    asked.remove("if-none-match");
                }
            ),
            &["board codings"],
        ),
    ]
}

fn methods() -> Vec<Case> {
    vec![
        (
            "HEAD is 405",
            board!(|asked, answer| if asked.method == "HEAD" {
                answer.status = 405
            }),
            &["board HEAD"],
        ),
        (
            "HEAD without a tag",
            board!(|asked, answer| if asked.method == "HEAD" {
                answer.remove("etag")
            }),
            &["board HEAD"],
        ),
        (
            "HEAD with length 0",
            board!(|asked, answer| if asked.method == "HEAD" {
                answer.set("content-length", "0")
            }),
            &["board HEAD"],
        ),
        (
            "POST is 200",
            board!(|asked, answer| if asked.method == "POST" {
                answer.status = 200
            }),
            &["board 405"],
        ),
        (
            "405 without Allow",
            board!(|_asked, answer| answer.remove("allow")),
            &["board 405"],
        ),
        (
            "Allow without HEAD",
            board!(|_asked, answer| if answer.status == 405 {
                answer.set("allow", "GET")
            }),
            &["board 405"],
        ),
        (
            "405 as HTML",
            board!(|_asked, answer| if answer.status == 405 {
                answer.set("content-type", "text/html")
            }),
            &["board 405"],
        ),
        (
            "a cache buster empties the board",
            content!(|asked, text| if asked.is_board() && asked.has("_") {
                *text = r#"{"family_id":"synthetic_boolean_v1","count":0,"items":[]}"#.to_owned();
            }),
            &["board cache buster"],
        ),
    ]
}

fn elsewhere() -> Vec<Case> {
    vec![
        (
            "no prefix",
            taken!(|asked| if asked.has_prefix {
                asked.path = "/x".to_owned()
            }),
            &["board prefix"],
        ),
        (
            "another challenge is the current one",
            content!(|asked, text| if asked.path.ends_with("current-challenge") {
                *text = text.replace("challenge-3", "challenge-4");
            }),
            &["current-challenge"],
        ),
        (
            "no challenge is 404 with another reason",
            Fault::Answer(|asked, answer| {
                if asked.path.ends_with("current-challenge") && answer.status == 404 {
                    answer.body = br#"{"detail":"Not Found"}"#.to_vec();
                }
            }),
            &["current-challenge"],
        ),
        (
            "a difficulty without a tier is 200",
            taken!(|asked| {
                asked.query.remove("difficulty");
            }),
            &["current-challenge"],
        ),
        (
            "changes have no link",
            Fault::Answer(|_, answer| answer.remove("link")),
            &["changes"],
        ),
        (
            "changes have another board",
            content!(|asked, text| if asked.path.ends_with("changes") {
                text.push(' ')
            }),
            &["changes"],
        ),
        (
            "a formula of other bytes",
            taken!(|asked| if asked.path.ends_with("active-cnf") {
                asked.path = "/health".to_owned();
            }),
            &["active-cnf"],
        ),
        (
            "an unknown path is HTML",
            Fault::Answer(|_, answer| {
                if answer.status == 404 {
                    answer.set("content-type", "text/html");
                }
            }),
            &["current-challenge", "unknown path"],
        ),
        (
            "an unknown path is the page",
            taken!(|asked| if asked.path.contains("no-such") {
                asked.path = "/health".to_owned();
            }),
            &["unknown path"],
        ),
        (
            "no date",
            Fault::Answer(|_, answer| answer.remove("date")),
            &["clock"],
        ),
        (
            "a clock ahead",
            Fault::Answer(|_, answer| answer.set("date", "Fri, 01 Jan 2100 00:00:00 GMT")),
            &["clock"],
        ),
        (
            "a clock behind",
            Fault::Answer(|_, answer| answer.set("date", "Thu, 01 Jan 2026 00:00:00 GMT")),
            &["clock"],
        ),
        (
            "health is 503",
            Fault::Answer(|asked, answer| {
                if asked.path == "/health" {
                    answer.status = 503
                }
            }),
            &["health"],
        ),
        (
            "keys are none",
            content!(|asked, text| if asked.path.ends_with("jwks.json") {
                *text = "{\"keys\":[]}".to_owned();
            }),
            &["keys"],
        ),
    ]
}

fn feed() -> Vec<Case> {
    vec![
        (
            "the feed is 404",
            taken!(|asked| if asked.is_feed() {
                asked.path = "/x".to_owned()
            }),
            &["feed"],
        ),
        (
            "more rows than asked for",
            taken!(
                |asked| if asked.query.get("limit").is_some_and(|it| it == "61") {
                    asked.query.insert("limit".to_owned(), "62".to_owned());
                }
            ),
            &["feed"],
        ),
        (
            "a full page has no cursor",
            content!(
                |asked, text| if asked.is_feed() && !asked.has("since_seq") {
                    *text = edited(text, |page| page["next_since_id"] = serde_json::Value::Null);
                }
            ),
            &["feed"],
        ),
        (
            "a further key",
            content!(
                |asked, text| if asked.is_feed() && !asked.has("since_seq") {
                    *text = text.replace(",\"merkle_epoch", ",\"total\":150,\"merkle_epoch");
                }
            ),
            &["feed"],
        ),
        (
            "an old row",
            content!(|asked, text| if asked.is_feed() {
                *text = text.replacen("_version\":5", "_version\":4", 1);
            }),
            &["feed"],
        ),
        (
            "limit 0 is a page",
            taken!(
                |asked| if asked.query.get("limit").is_some_and(|it| it == "0") {
                    asked.query.remove("limit");
                }
            ),
            &["feed parameters"],
        ),
        (
            "an invalid time is 500",
            Fault::Answer(|asked, answer| {
                if asked.is_feed() && answer.status == 400 {
                    answer.status = 500
                }
            }),
            &["feed parameters", "since_seq"],
        ),
        (
            "no 304 of the feed",
            taken!(|asked| if asked.is_feed() {
                asked.remove("if-none-match")
            }),
            &[
                "feed 304",
                "feed 304 of a list",
                "feed 304 of two lines",
                "feed codings",
            ],
        ),
    ]
}

fn rows() -> Vec<Case> {
    vec![
        (
            "rows of one millisecond are lost",
            Fault::After(|row, after| row.0 > after.0),
            &["feed cursor"],
        ),
        (
            "the row of the cursor comes again",
            Fault::After(|row, after| row >= after),
            &["feed cursor"],
        ),
        (
            "a row is lost behind a cursor",
            Fault::After(|row, after| row > after && !(after.1 == "row-060" && row.1 == "row-061")),
            &["feed cursor"],
        ),
        (
            "rows are cut differently",
            content!(|asked, text| {
                if asked.is_feed()
                    && asked.query.get("limit").is_some_and(|it| it == "1")
                    && !asked.has("since_seq")
                {
                    *text = text.replace("\"weighted_score\":1.0", "\"weighted_score\":1");
                }
            }),
            &["feed cursor"],
        ),
        (
            "rows are not in order",
            content!(
                |asked, text| if asked.is_feed() && !asked.has("since_seq") {
                    *text = text.replace("row-003", "row-zzz");
                }
            ),
            &["feed cursor", "signatures"],
        ),
        (
            "since is taken for since_ran_at",
            taken!(|asked| {
                if asked.has("since") && !asked.has("since_id") {
                    asked.query.insert("since_id".to_owned(), String::new());
                }
            }),
            &["feed legacy cursor"],
        ),
        (
            "since_id is ignored beside since",
            taken!(|asked| if asked.has("since") {
                asked.query.remove("since_id");
            }),
            &["feed legacy cursor"],
        ),
        (
            "the order of commits loses a row",
            content!(|asked, text| {
                if asked.query.get("since_seq").is_some_and(|it| it == "0") {
                    *text = edited(text, |page| {
                        drop(page["items"].as_array_mut().unwrap().pop())
                    });
                }
            }),
            &["since_seq"],
        ),
        (
            "the order of commits repeats a row",
            taken!(|asked| {
                if asked.query.get("since_seq").is_some_and(|it| it == "e.61") {
                    asked
                        .query
                        .insert("since_seq".to_owned(), "e.60".to_owned());
                }
            }),
            &["since_seq"],
        ),
        (
            "the order of commits stands still",
            taken!(|asked| if asked.has("since_seq") {
                asked.query.insert("since_seq".to_owned(), "0".to_owned());
            }),
            &["since_seq"],
        ),
        (
            "an invalid cursor is the start",
            taken!(|asked| {
                if asked.query.get("since_seq").is_some_and(|it| it == "x") {
                    asked.query.insert("since_seq".to_owned(), "0".to_owned());
                }
            }),
            &["since_seq"],
        ),
        (
            "a row is changed",
            content!(|asked, text| if asked.is_feed() {
                *text = text.replace("\"id\":\"row-100\"", "\"id\":\"row-100x\"");
            }),
            &["signatures"],
        ),
        (
            "rows are signed with another key",
            content!(|asked, text| if asked.path.ends_with("jwks.json") {
                *text = edited(text, |keys| {
                    keys["keys"][0]["x"] = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into();
                });
            }),
            &["signatures"],
        ),
    ]
}
