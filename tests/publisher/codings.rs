//! Content codings (RFC 9110 §8.4, §12.5.3; WIRE.md, conditional requests):
//!
//! - every coding decodes to the same bytes, and has its own entity-tag and a `Vary` field
//! - brotli is added when the board has settled; until then clients get a coding that is faster to make
//! - a client gets the coding that it prefers, and identity if it names none
//! - If-None-Match matches the tag of every variant that the client accepts, and no other
//! - the tag of a coding gets 304 before that coding is made
//! - a request that excludes every coding gets 406
//! - a body that is too short to gain is not encoded, but still has `Vary`
//! - a client that excludes identity gets a short body encoded, and others still do not
//! - a coding that is not made yet is unavailable only if identity is excluded
//! - a coding that gets no turn in time gets 503
//! - a page too large for the cache is encoded for a client that excludes identity
//! - the bytes of a coding are those of its generation
//! - codings are ordered by weight
//! - no field value causes a panic

use std::{io::Read, time::Duration};

use cathedral_publisher::{
    answer::{Conditions, Decision, Denied, Representation},
    demo::sample::Sample,
    domain::coding::{Acceptable, Coding},
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::app::{Answer, App, BOARD, CURRENT, Data, FEED, wait_until};

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
    for (codings, coding, suffix) in [
        ("gzip", "gzip", "gzip"),
        ("zstd", "zstd", "zstd"),
        ("br", "br", "br2"),
        ("x-gzip", "gzip", "gzip"),
    ] {
        let answer = get(&app, BOARD, codings).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), coding);
        assert_eq!(answer.header("etag"), format!("\"{digits}-{suffix}\""));
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
async fn the_tag_of_a_coding_gets_304_before_that_coding_is_made() {
    let data = Data::sample();
    data.sample_runs(20, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    // Brotli of the board, any coding of a short body, and of a page that nobody has requested encoded.
    let page = format!("{FEED}?since=2020-01-01");
    for path in [BOARD, CURRENT, &page, &format!("{page}&limit=1")] {
        let identity = app.get(path).await.header("etag").to_owned();
        let digits = identity.trim_matches('"');
        let codings = [("br", "-br2"), ("zstd", "-zstd"), ("gzip", "-gzip")];
        // Pages have no brotli.
        for (coding, suffix) in codings.into_iter().skip(path.contains(FEED).into()) {
            let tag = format!("\"{digits}{suffix}\"");
            let ask = async |accepted: &str, tag: &str| {
                let fields = [("accept-encoding", accepted), ("if-none-match", tag)];
                app.get_with(path, &fields).await
            };
            for accepted in [
                coding.to_owned(),
                "gzip, deflate, br, zstd".to_owned(),
                "*".to_owned(),
                format!("{coding}, identity;q=0"),
                format!("identity, {coding};q=0.1"),
            ] {
                for sent in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}")] {
                    let answer = ask(&accepted, &sent).await;
                    assert_eq!(answer.status, 304, "{path} {accepted} {sent}");
                    assert_eq!(answer.header("etag"), tag, "{path} {accepted}");
                    assert_eq!(answer.header("vary"), "accept-encoding");
                    assert_eq!(answer.header("cache-control"), "public, max-age=15");
                    assert_eq!(answer.header("content-encoding"), "");
                }
            }
            // No 200 to these requests would carry that tag.
            for accepted in ["", "identity", &format!("*, {coding};q=0")] {
                let answer = ask(accepted, &tag).await;
                assert_eq!(answer.status, 200, "{path} {accepted}");
                assert_ne!(answer.header("etag"), tag);
            }
            // Other digits, other generations and more than the tag.
            for wrong in [
                format!("\"0123456789abcdef{suffix}\""),
                format!("\"{digits}-{coding}9\""),
                format!("\"{digits}{suffix}{suffix}\""),
                format!("\"{digits}-br\""),
                format!("\"{suffix}\""),
            ] {
                let answer = ask(coding, &wrong).await;
                assert_eq!(answer.status, 200, "{path} {coding} {wrong}");
            }
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_request_that_excludes_every_coding_gets_406() {
    let app = App::start(Data::sample()).await;
    let rejected = get(&app, BOARD, "identity;q=0").await;
    rejected.assert_error(406, "no available content coding is acceptable");
    assert_eq!(rejected.header("vary"), "accept-encoding");
    assert_eq!(get(&app, CURRENT, "*;q=0").await.status, 406);
    // Brotli is not made of a page.
    let page = format!("{FEED}?since=2020-01-01");
    for codings in ["deflate, identity;q=0", "br, identity;q=0", "br, *;q=0"] {
        assert_eq!(get(&app, &page, codings).await.status, 406, "{codings}");
    }
    let etag = app.get(&page).await.header("etag").to_owned();
    let brotli = etag.trim_end_matches('"').to_owned() + "-br2\"";
    for (condition, status) in [("if-none-match", 200), ("if-match", 412)] {
        let fields = [
            ("accept-encoding", "br, gzip"),
            (condition, brotli.as_str()),
        ];
        assert_eq!(app.get_with(&page, &fields).await.status, status);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_excludes_identity_gets_a_short_body_encoded() {
    let app = App::start(Data::empty()).await;
    let page = format!("{FEED}?since=2020-01-01");
    let check = async |path: &str, codings: &str, coding: &str| {
        let identity = app.get(path).await;
        for _ in 0..2 {
            let answer = get(&app, path, codings).await;
            assert_eq!(answer.status, 200, "{path} {codings}");
            assert_eq!(answer.header("content-encoding"), coding, "{path}");
            assert_eq!(answer.header("vary"), "accept-encoding");
            assert_eq!(decoded(&answer), identity.body);
            let fields = [
                ("accept-encoding", codings),
                ("if-match", answer.header("etag")),
            ];
            let same = app.get_with(path, &fields).await;
            assert_eq!((same.status.as_u16(), same.body), (200, answer.body));
        }
        // Others get what they would get without that client.
        let other = get(&app, path, "gzip, zstd, br").await;
        assert_eq!(other.header("content-encoding"), "", "{path}");
    };
    for path in [BOARD, &page] {
        check(path, "gzip, identity;q=0", "gzip").await;
        check(path, "zstd;q=0.1, *;q=0", "zstd").await;
        check(path, "br;q=0.9, zstd;q=0.5, identity;q=0", "zstd").await;
    }
    check(BOARD, "br, identity;q=0", "br").await;
    app.data.put(&Sample::new(1).board());
    app.cache.invalidate_and_wait().await.unwrap();
    for coding in ["gzip", "zstd", "br"] {
        check(CURRENT, &format!("{coding}, identity;q=0"), coding).await;
    }
    // A board that is not settled yet.
    let brotli = get(&app, BOARD, "br, identity;q=0").await;
    assert_eq!(brotli.header("content-encoding"), "br");
    assert_eq!(decoded(&brotli), app.get(BOARD).await.body);
    app.stop().await;
}

#[test]
fn a_coding_that_is_not_made_yet_is_unavailable_only_if_identity_is_excluded() {
    let decide = |body: &Representation, codings: &str, if_match: Option<&str>| {
        let acceptable = Acceptable::parse([codings.as_bytes()]);
        let if_match = if_match.into_iter().map(str::as_bytes);
        let decision = Conditions::new(acceptable, if_match, []).decide(body);
        decision.map(|decision| match decision {
            Decision::Whole(variant) => variant.coding(),
            Decision::NotModified(_) => panic!("no If-None-Match was sent"),
        })
    };
    let body = Representation::new("x".repeat(10_000));
    assert_eq!(decide(&body, "gzip", None), Ok(Coding::Identity));
    let only_gzip = "gzip, identity;q=0";
    assert_eq!(decide(&body, only_gzip, None), Err(Denied::NotEncodedYet));
    let tag = body.tag(Coding::Gzip).to_string();
    assert_eq!(
        decide(&body, "gzip", Some(&tag)),
        Err(Denied::NotEncodedYet)
    );
    let identity = body.etag().to_string();
    assert_eq!(
        decide(&body, only_gzip, Some(&identity)),
        Err(Denied::PreconditionFailed)
    );
    body.encode(Coding::Gzip);
    for (codings, if_match) in [(only_gzip, None), ("gzip", Some(tag.as_str()))] {
        assert_eq!(decide(&body, codings, if_match), Ok(Coding::Gzip));
    }
}

/// A database whose feed is one page of about 400 kB.
fn large_page() -> Data {
    let data = Data::sample();
    data.sample_runs(900, "2026-06-07T00:00:00Z");
    data
}

#[actix_web::test]
async fn a_page_too_large_for_the_cache_is_encoded_for_a_client_that_excludes_identity() {
    // A turn that is free is taken at once, and the encoding is waited for: another request would read the
    // page anew, and find nothing made again.
    let options = ["--feed-queue-timeout-ms", "0", "--feed-cache-mib", "0"];
    let app = App::start_with_options(large_page(), &options).await;
    let page = format!("{FEED}?since=2020-01-01&limit=1000");
    let identity = app.get(&page).await;
    assert!(identity.body.len() > 300_000, "{}", identity.body.len());
    for coding in ["gzip", "zstd"] {
        let answer = get(&app, &page, &format!("{coding}, identity;q=0")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-encoding"), coding);
        assert_eq!(decoded(&answer), identity.body);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_coding_that_gets_no_turn_in_time_gets_503() {
    let options = ["--feed-queue-timeout-ms", "0", "--feed-cache-mib", "0"];
    let app = App::start_with_options(large_page(), &options).await;
    let mut refused = 0;
    for _ in 0..50 {
        let asked = (0..20).map(|at| {
            let page = format!("{FEED}?since=2020-01-01&limit={}", 900 + at);
            let app = &app;
            async move { get(app, &page, "gzip, identity;q=0").await }
        });
        for answer in futures_util::future::join_all(asked).await {
            match answer.status.as_u16() {
                200 => assert_eq!(answer.header("content-encoding"), "gzip"),
                503 => {
                    assert_eq!(answer.header("retry-after"), "1");
                    assert_eq!(answer.header("cache-control"), "no-store");
                    refused += 1;
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0);
    app.stop().await;
}

/// Text that an encoder can do something with, the same in every run.
fn sample_text(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{{\"id\":{},\"tier\":{}}},", state >> 20, state % 7)
    });
    let mut text: Vec<u8> = words.take(bytes / 10 + 1).collect::<String>().into_bytes();
    text.truncate(bytes);
    assert_eq!(text.len(), bytes);
    text
}

/// Sizes around each limit of the encoders: an empty body, the smallest that is encoded, those where brotli takes the
/// next window, a board's, the largest at brotli's strongest quality, and one for the largest window.
const SAMPLE_BYTES: [usize; 13] = [
    0,
    1,
    500,
    1_023,
    1_024,
    1_399,
    1_400,
    32_669,
    65_535,
    65_536,
    256 * 1024,
    256 * 1024 + 1,
    4 * 1024 * 1024 + 1,
];

/// The suffix of a coding's tags, and the beginning of the SHA-256 of each sample in it.
type Generation = (Coding, &'static str, [&'static str; SAMPLE_BYTES.len()]);

const GENERATIONS: [Generation; 3] = [
    (
        Coding::Gzip,
        "-gzip",
        [
            "ac73670af3abed54",
            "002a3ef579e01b92",
            "42e650bb08d8e1a8",
            "024edc9727ad9b99",
            "ce58698816a0d0de",
            "d2738496b83467c8",
            "eee507457608fb89",
            "2d3fae1aafe1ec87",
            "03e251513a104bf5",
            "94a9e746fcd52c16",
            "8df5f9b74d82c560",
            "35cba0fcf0757baf",
            "fa90c2817a1aad66",
        ],
    ),
    (
        Coding::Zstd,
        "-zstd",
        [
            "6fb8543883dafcc2",
            "bd2269e29ec4f4b6",
            "44253b00848c8a7e",
            "fe4d0b6d4a2d7664",
            "6f156eb8a1def9fa",
            "34c6b518f2a1a71d",
            "e4bd6220e35f4c8e",
            "e6bd6212da1c228b",
            "30bc8a8c772434ea",
            "a1621fdc03701bec",
            "7983107e5b902ba1",
            "39f215c52766870c",
            "b53a28cf888ac636",
        ],
    ),
    (
        Coding::Brotli,
        "-br2",
        [
            "ef1534d0c6cfe8a9",
            "4e4c588bd81074be",
            "edd2354c2114cb9f",
            "34470be00b741e3b",
            "c34ac38386bc95dc",
            "14873f4e8c0577f3",
            "64f0e973d50ac31b",
            "7224460a32e71cdd",
            "df12260d25cd2b77",
            "8aa2d047bacdc684",
            "8a29cc0d1e0a23d6",
            "a6f099fc3a08776a",
            "870621e63574c1a7",
        ],
    ),
];

#[test]
fn the_bytes_of_a_coding_are_those_of_its_generation() {
    for (coding, suffix, pinned) in GENERATIONS {
        let made = SAMPLE_BYTES.map(|bytes| {
            let body = Representation::new(sample_text(bytes));
            body.encode(coding);
            let only = format!("{}, identity;q=0", coding.as_str());
            let accepted = Acceptable::parse([only.as_bytes()]);
            let Ok(Decision::Whole(variant)) = Conditions::new(accepted, [], []).decide(&body)
            else {
                panic!("{coding:?} is not made");
            };
            assert_eq!(*variant.etag(), body.tag(coding));
            let digest = Sha256::digest(variant.body_ref());
            digest[..8].iter().map(|b| format!("{b:02x}")).collect()
        });
        let made: [String; SAMPLE_BYTES.len()] = made;
        assert_eq!(
            (coding.tag_suffix(), made.each_ref().map(String::as_str)),
            (suffix, pinned),
            "\nThe encoder of {coding:?} makes other bytes than before, perhaps since its crate was updated. Strong \
             entity-tags that clients hold must not name them: give the coding its next generation in \
             `Coding::tag_suffix` (`-gzip`, `-gzip2`, `-gzip3`, …), and pin suffix and digests here and in golden.rs."
        );
    }
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
