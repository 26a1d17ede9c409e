//! Content codings (RFC 9110 §8.4, §12.5.3; WIRE.md, conditional requests):
//!
//! - every coding decodes to the same bytes, and has its own entity-tag and a `Vary` field
//! - brotli is added when the board has settled; until then clients get a coding that is faster to make
//! - a client gets the coding that it prefers, and identity if it names none
//! - If-None-Match matches the tag of every variant that the client accepts, and no other
//! - a request that excludes every coding gets 406
//! - a body that is too short to gain is not encoded, but still has `Vary`
//! - codings are ordered by weight
//! - no field value causes a panic

use std::{io::Read, time::Duration};

use cathedral_publisher::domain::coding::{Acceptable, Coding};
use proptest::prelude::*;

use crate::app::{Answer, App, BOARD, CURRENT, Data, wait_until};

fn decoded(answer: &Answer) -> Vec<u8> {
    let mut body = Vec::new();
    let coded = answer.body.as_slice();
    match answer.header("content-encoding") {
        "gzip" => drop(
            flate2::read::GzDecoder::new(coded)
                .read_to_end(&mut body)
                .unwrap(),
        ),
        "zstd" => body = zstd::decode_all(coded).unwrap(),
        "br" => brotli::BrotliDecompress(&mut &*coded, &mut body).unwrap(),
        "" => body = coded.to_vec(),
        other => panic!("{other}"),
    }
    body
}

async fn get(app: &App, path: &str, codings: &str) -> Answer {
    app.get_with(path, &[("accept-encoding", codings)]).await
}

async fn get_if_none_match(app: &App, codings: &str, tag: &str) -> Answer {
    let headers = [("accept-encoding", codings), ("if-none-match", tag)];
    app.get_with(BOARD, &headers).await
}

/// Advances the clock until the board has settled, and waits for its brotli encoding.
async fn settle(app: &App) {
    app.clock.advance(Duration::from_secs(1));
    wait_until("the brotli encoding", async || {
        get(app, BOARD, "br").await.header("content-encoding") == "br"
    })
    .await;
}

#[actix_web::test]
async fn every_coding_decodes_to_the_same_bytes_and_has_its_own_tag() {
    let app = App::start(Data::sample()).await;
    settle(&app).await;
    let identity = app.get(BOARD).await;
    assert_eq!(identity.header("content-encoding"), "");
    let digits = identity.header("etag").trim_matches('"').to_owned();
    for (codings, coding) in [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("br", "br"),
        ("x-gzip", "gzip"),
    ] {
        let answer = get(&app, BOARD, codings).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), coding);
        assert_eq!(answer.header("etag"), format!("\"{digits}-{coding}\""));
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        assert!(
            answer.body.len() * 5 < identity.body.len(),
            "{}",
            answer.body.len()
        );
        assert_eq!(decoded(&answer), identity.body);
        let head = app
            .send(
                awc::http::Method::HEAD,
                BOARD,
                &[("accept-encoding", codings)],
            )
            .await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        for name in ["etag", "content-encoding", "vary", "content-length"] {
            assert_eq!(head.header(name), answer.header(name), "{name}");
        }
    }
    assert_eq!(identity.header("vary"), "accept-encoding");
    app.stop().await;
}

#[actix_web::test]
async fn brotli_is_added_when_the_board_has_settled() {
    let app = App::start(Data::sample()).await;
    let browser = "gzip, deflate, br, zstd";
    let fast = get(&app, BOARD, browser).await;
    assert_eq!(fast.header("content-encoding"), "zstd");
    settle(&app).await;
    let brotli = get(&app, BOARD, browser).await;
    assert_eq!(brotli.header("content-encoding"), "br");
    assert!(brotli.body.len() < fast.body.len());
    assert_eq!(decoded(&brotli), decoded(&fast));
    // A client that has stored the earlier encoding still gets 304.
    let again = get_if_none_match(&app, browser, fast.header("etag")).await;
    assert_eq!(
        (again.status.as_u16(), again.header("etag")),
        (304, fast.header("etag"))
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_client_gets_the_coding_that_it_prefers() {
    let app = App::start(Data::sample()).await;
    settle(&app).await;
    for (codings, coding) in [
        ("", ""),
        ("identity", ""),
        ("deflate, compress", ""),
        ("gzip;q=0.5, br;q=0.4", "gzip"),
        ("GZIP ; Q=1.000", "gzip"),
        ("*", "br"),
        ("*, br;q=0", "zstd"),
        ("gzip;q=0", ""),
        ("gzip;q=0.2, identity;q=0.3", ""),
        ("gzip;q=0.2, identity;q=0", "gzip"),
        ("*;q=0, zstd", "zstd"),
        // A member with an invalid weight is skipped.
        ("br;q=2, gzip;q=0.1", "gzip"),
        ("br;q=0.1234, gzip;q=0.1", "gzip"),
        ("br;level=9, gzip", "gzip"),
        (",, ,gzip,,", "gzip"),
    ] {
        let answer = get(&app, BOARD, codings).await;
        assert_eq!(answer.status, 200, "{codings}");
        assert_eq!(answer.header("content-encoding"), coding, "{codings}");
    }
    // Several field lines form one list.
    let lines = [("accept-encoding", "deflate"), ("accept-encoding", "gzip")];
    let answer = app.get_with(BOARD, &lines).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    app.stop().await;
}

#[actix_web::test]
async fn if_none_match_matches_the_variants_that_the_client_accepts() {
    let app = App::start(Data::sample()).await;
    settle(&app).await;
    let identity = app.get(BOARD).await.header("etag").to_owned();
    let gzip = get(&app, BOARD, "gzip").await.header("etag").to_owned();
    for (codings, tag, status, shown) in [
        ("gzip", gzip.as_str(), 304, gzip.as_str()),
        ("gzip, br", &gzip, 304, &gzip),
        ("gzip", &identity, 304, &identity),
        ("", &identity, 304, &identity),
        ("", "*", 304, &identity),
        // The client no longer accepts the coding that it has stored.
        ("", &gzip, 200, &identity),
        ("identity", &gzip, 200, &identity),
        ("gzip, identity;q=0", &identity, 200, &gzip),
    ] {
        let answer = get_if_none_match(&app, codings, tag).await;
        assert_eq!(answer.status, status, "{codings} {tag}");
        assert_eq!(answer.header("etag"), shown, "{codings} {tag}");
        assert_eq!(answer.header("vary"), "accept-encoding");
        if status == 304 {
            assert_eq!(answer.header("content-encoding"), "");
            assert!(answer.body.is_empty());
        }
    }
    let weak = format!("W/{gzip}");
    assert_eq!(get_if_none_match(&app, "gzip", &weak).await.status, 304);
    let if_match = [("accept-encoding", "br, gzip"), ("if-match", gzip.as_str())];
    assert_eq!(app.get_with(BOARD, &if_match).await.header("etag"), gzip);
    let if_match = [("accept-encoding", "br"), ("if-match", gzip.as_str())];
    assert_eq!(app.get_with(BOARD, &if_match).await.status, 412);
    app.stop().await;
}

#[actix_web::test]
async fn a_request_that_excludes_every_coding_gets_406() {
    let app = App::start(Data::sample()).await;
    let rejected = get(&app, BOARD, "identity;q=0").await;
    rejected.assert_error(406, "no available content coding is acceptable");
    assert_eq!(rejected.header("vary"), "accept-encoding");
    assert_eq!(get(&app, CURRENT, "*;q=0").await.status, 406);
    app.stop().await;
}

#[actix_web::test]
async fn a_body_too_short_to_gain_is_not_encoded_but_has_vary() {
    let app = App::start(Data::sample()).await;
    let item = get(&app, CURRENT, "gzip, br").await;
    assert_eq!(
        (item.status.as_u16(), item.header("content-encoding")),
        (200, "")
    );
    assert_eq!(item.header("vary"), "accept-encoding");
    app.stop().await;
}

proptest! {
    /// Compares with a direct implementation of RFC 9110 §12.5.3.
    #[test]
    fn codings_are_ordered_by_weight(
        weights in prop::collection::vec((0_usize..6, 0_u16..=10), 0..6),
    ) {
        let names = ["br", "zstd", "gzip", "identity", "*", "unknown"];
        let field: Vec<String> = weights
            .iter()
            .map(|(name, tenths)| format!("{};q={}.{}", names[*name], tenths / 10, tenths % 10))
            .collect();
        let field = field.join(" , ");
        let given = |name: usize| weights.iter().rev().find(|(at, _)| *at == name).map(|(_, q)| *q);
        let weight = |at: usize| given(at).or(given(4));
        let order: Vec<Coding> = Acceptable::parse([field.as_bytes()]).in_order().collect();
        for (at, coding) in Coding::ALL.into_iter().enumerate() {
            let accepted = match weight(at) {
                Some(tenths) => tenths > 0,
                None => coding == Coding::Identity,
            };
            prop_assert_eq!(order.contains(&coding), accepted, "{} {:?}", field, coding);
        }
        let of = |coding: &Coding| {
            let at = Coding::ALL.iter().position(|other| other == coding).unwrap();
            weight(at).unwrap_or(0)
        };
        prop_assert!(order.is_sorted_by(|a, b| of(a) >= of(b)), "{} {:?}", field, order);
    }

    #[test]
    fn no_field_value_causes_a_panic(field in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Acceptable::parse([field.as_slice()]).in_order().count();
    }
}
