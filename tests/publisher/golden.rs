//! Bytes that must not change by accident, pinned without any file from outside this repository:
//!
//! - the sample board has the pinned bytes and tags in every coding
//! - a page of sample rows has the pinned bytes and tags in every coding, and the demo key has signed them
//! - signed rows come back with the pinned bytes, and their signatures verify
//!
//! An entity-tag identifies encoded bytes. If the bytes of a coding change here, change the tag suffix of that coding
//! as well (WIRE.md).

use std::time::Duration;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use cathedral_publisher::{
    config::Kind,
    demo::{key, sample::Sample},
    domain::{
        ran_at::RanAt,
        signature::{PublicKeys, signed_text},
    },
};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    app::{App, BOARD, Data, FEED, wait_until},
    wire_feed::rows_of,
};

/// The requested coding, and the entity-tag, length and first half of the SHA-256 of the body.
type Vector = (&'static str, &'static str, usize, &'static str);

const BOARD_VECTORS: [Vector; 4] = [
    (
        "identity",
        "\"b8bcfa528230c672\"",
        32_685,
        "b8bcfa528230c67249cdc0c5bc111019",
    ),
    (
        "gzip",
        "\"b8bcfa528230c672-gzip\"",
        3_501,
        "786232652391eab3617c11e294c0089b",
    ),
    (
        "zstd",
        "\"b8bcfa528230c672-zstd\"",
        3_124,
        "cd7442440c1e56b63ee70e9e2b92bbd0",
    ),
    (
        "br",
        "\"b8bcfa528230c672-br2\"",
        2_910,
        "ef77aafaab2658d001a122722d7f1ca0",
    ),
];
const PAGE_VECTORS: [Vector; 3] = [
    (
        "identity",
        "\"171e6b373c99fadf\"",
        22_857,
        "171e6b373c99fadf2b451c49fb0deed9",
    ),
    (
        "gzip",
        "\"171e6b373c99fadf-gzip\"",
        6_049,
        "604874ad8824780b8cebe010ec9078fc",
    ),
    (
        "zstd",
        "\"171e6b373c99fadf-zstd\"",
        5_804,
        "168beef94feebf3c2666daaa215557ef",
    ),
];
const SIGNED_PAGE: (usize, &str) = (9_601, "db3b084bc1c01ca2d58acc4b6aac657e");

fn digest(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    digest[..16].iter().map(|b| format!("{b:02x}")).collect()
}

async fn assert_vectors(app: &App, path: &str, vectors: &[Vector]) {
    let mut served = Vec::new();
    for (coding, ..) in vectors {
        let answer = app.get_with(path, &[("accept-encoding", coding)]).await;
        let has = answer.header("content-encoding");
        assert_eq!(has, if *coding == "identity" { "" } else { coding });
        let tag = answer.header("etag").to_owned();
        served.push((*coding, tag, answer.body.len(), digest(&answer.body)));
    }
    let pinned: Vec<_> = vectors
        .iter()
        .map(|(coding, tag, bytes, sha256)| {
            (*coding, (*tag).to_owned(), *bytes, (*sha256).to_owned())
        })
        .collect();
    assert_eq!(
        served, pinned,
        "\nIf only the bytes of a coding differ, its encoder makes other bytes than before: give it the next generation in \
         `Coding::tag_suffix` (see codings.rs), because clients and caches hold the old bytes under the old tag."
    );
}

#[actix_web::test]
async fn the_sample_board_has_the_pinned_bytes_and_tags_in_every_coding() {
    let app = App::start(Data::sample()).await;
    app.clock.advance(Duration::from_secs(1));
    wait_until("brotli", async || {
        let answer = app.get_with(BOARD, &[("accept-encoding", "br")]).await;
        answer.header("content-encoding") == "br"
    })
    .await;
    assert_vectors(&app, BOARD, &BOARD_VECTORS).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_page_of_sample_rows_has_the_pinned_bytes_and_tags_in_every_coding_and_the_demo_key_has_signed_them()
 {
    let data = Data::empty();
    data.sample_runs(50, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    let page = format!("{FEED}?since_ran_at=2026-06-01T00:00:00Z&limit=20");
    assert_vectors(&app, &page, &PAGE_VECTORS).await;
    let keys = PublicKeys::from_jwk_set(key::jwk_set().as_bytes()).unwrap();
    assert_eq!(keys.verify_all(rows_of(&app.get(&page).await.body)), []);
    app.stop().await;
}

/// Returns rows that are difficult for canonical JSON: fractions and exponents, text outside ASCII and outside the
/// basic multilingual plane, nesting, and both versions of the signed form.
fn signed_rows(key: &SigningKey) -> Vec<String> {
    let mut sample = Sample::new(3);
    let ran_at = RanAt::parse("2026-06-07T00:00:00Z").unwrap();
    (0..10_u32)
        .map(|number| {
            let row = sample.eval_run(&ran_at).unwrap();
            let mut row: Value = serde_json::from_str(&row).unwrap();
            row["id"] = json!(format!("signed-{number}"));
            row["agent_display_name"] = json!("Zoë \u{1f980} \"quoted\"");
            row["weighted_score"] = json!(f64::from(number) / 3.0);
            row["eval_output_schema_version"] = json!(5 + number % 2);
            row["output_card"] = json!({"nested": [1.0, null, {"deep": true}]});
            let signature = key.sign(signed_text(&row.to_string()).unwrap().as_bytes());
            row["cathedral_signature"] = json!(BASE64_STANDARD.encode(signature.to_bytes()));
            row.to_string()
        })
        .collect()
}

#[actix_web::test]
async fn signed_rows_come_back_with_the_pinned_bytes_and_their_signatures_verify() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let data = Data::empty();
    let rows = signed_rows(&key).join("\n");
    data.import(Kind::Rows, rows.as_bytes());
    let app = App::start(data).await;
    let page = app
        .get(&format!("{FEED}?since=2026-01-01T00:00:00Z&limit=10"))
        .await;
    let rows = rows_of(&page.body);
    assert_eq!(rows.len(), 10);
    let x = BASE64_URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]});
    let keys = PublicKeys::from_jwk_set(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.verify_all(rows), []);
    let (bytes, sha256) = SIGNED_PAGE;
    assert_eq!(
        (page.body.len(), digest(&page.body).as_str()),
        (bytes, sha256)
    );
    app.stop().await;
}
