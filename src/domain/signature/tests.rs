//! Signatures that a test key makes, and those of the live rows.

use std::{error, fs};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};

use super::*;

type Tested = Result<(), Box<dyn error::Error>>;

fn keys(seeds: &[u8]) -> Result<PublicKeys, Invalid> {
    let keys = seeds.iter().map(|seed| {
        let key = SigningKey::from_bytes(&[*seed; 32]).verifying_key();
        let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)
    });
    let keys = keys.collect::<Vec<_>>().join(",");
    PublicKeys::from_jwk_set(format!(r#"{{"keys":[{keys}]}}"#).as_bytes())
}

/// Appends a signature to an object.
fn signed(seed: u8, row: &str) -> Result<String, Invalid> {
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(signed_text(row)?.as_bytes());
    let signature = STANDARD.encode(signature.to_bytes());
    let open = row.trim_end().trim_end_matches('}');
    Ok(format!(r#"{open},"{SIGNATURE}":"{signature}"}}"#))
}

fn row(id: u32, version: u8) -> String {
    format!(
        r#"{{"id":"{id}","weighted_score":1.0,"operator":"é","output_card":{{}},"eval_output_schema_version":{version}}}"#
    )
}

#[test]
fn each_version_signs_its_own_keys() -> Result<(), Invalid> {
    assert_eq!(
        signed_text(&row(1, 5))?,
        r#"{"id":"1","weighted_score":1.0}"#
    );
    assert_eq!(
        signed_text(&row(1, 6))?,
        r#"{"id":"1","operator":"\u00e9","weighted_score":1.0}"#
    );
    for version in ["4", "7", "5.0", "\"5\"", "null"] {
        let found = signed_text(&format!(r#"{{"eval_output_schema_version":{version}}}"#));
        assert_eq!(
            found.map_err(|error| error.field),
            Err(SCHEMA_VERSION.to_owned()),
            "{version}"
        );
    }
    assert!(signed_text("{}").is_err());
    Ok(())
}

#[test]
fn a_signed_value_cannot_change_but_others_can() -> Result<(), Invalid> {
    let keys = keys(&[1])?;
    let row = signed(1, &row(1, 6))?;
    keys.verify(&row)?;
    keys.verify(&row.replace("1.0", "1.00"))?;
    keys.verify(&row.replace(
        r#""output_card":{}"#,
        r#""output_card":{"x":1},"merkle_epoch":7"#,
    ))?;
    for (from, to) in [
        ("1.0", "1"),
        ("1.0", "0.999"),
        (r#""id":"1""#, r#""id":"2""#),
        (":6", ":5"),
        ("é", "e\u{301}"),
        (r#""operator":"é","#, ""),
        (r#""output_card":{}"#, r#""solved":true"#),
    ] {
        let changed = row.replace(from, to);
        let field = keys.verify(&changed).map_err(|error| error.field);
        assert_eq!(field, Err(SIGNATURE.to_owned()), "{changed}");
    }
    Ok(())
}

#[test]
fn malformed_rows_and_signatures_are_refused() -> Result<(), Invalid> {
    let keys = keys(&[1])?;
    let good = signed(1, &row(1, 5))?;
    let zero = STANDARD.encode([0; 64]);
    let value = good.rsplit('"').nth(1).unwrap_or_default();
    for (bad, error) in [
        (row(1, 5), "cathedral_signature: is missing"),
        (good.replace(value, ""), "must be 64 bytes in base64"),
        (
            good.replace(value, &value[4..]),
            "must be 64 bytes in base64",
        ),
        (
            good.replace(value, &value.replace("==", "")),
            "must be 64 bytes in base64",
        ),
        (
            good.replace(&format!("\"{value}\""), "null"),
            "must be 64 bytes in base64",
        ),
        (good.replace(value, &zero), "does not verify"),
        (good.replace("{", r#"{"id":"0","#), "occurs twice"),
        (good.replace("1.0", "1e999"), "cannot hold"),
        (good.replace(r#":"1""#, r#":"\ud800""#), "surrogate"),
        (
            good.replace("1.0", &"[".repeat(70)),
            "nested deeper than 64",
        ),
        (
            good.replace("1.0", &" ".repeat(MAX_ROW_BYTES)),
            "at most 65536 bytes",
        ),
        (good[1..].to_owned(), "must be a JSON object"),
        (String::new(), "must be a JSON object"),
    ] {
        let found = keys.verify(&bad).err().map(|found| found.to_string());
        assert!(
            found.as_ref().is_some_and(|found| found.contains(error)),
            "{bad}: {found:?}"
        );
    }
    Ok(())
}

#[test]
fn a_batch_names_exactly_the_invalid_rows() -> Result<(), Invalid> {
    let signing = keys(&[1])?;
    let mut rows = (0..600)
        .map(|id| signed(1, &row(id, 5)))
        .collect::<Result<Vec<_>, _>>()?;
    assert_eq!(signing.verify_all(&rows), []);
    assert_eq!(signing.verify_all(Vec::<String>::new()), []);
    rows[3] = signed(2, &row(3, 5))?;
    rows[255] = rows[255].replace("1.0", "2.0");
    rows[256] = row(256, 5);
    rows[599] = "{".to_owned();
    let invalid = signing.verify_all(&rows);
    let indices: Vec<usize> = invalid.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [3, 255, 256, 599]);
    for (index, error) in invalid {
        assert_eq!(signing.verify(&rows[index]), Err(error));
    }
    Ok(())
}

#[test]
fn each_key_of_a_rotation_verifies_its_rows() -> Result<(), Invalid> {
    let both = keys(&[1, 2])?;
    let rows = (0..10)
        .map(|id| signed(u8::try_from(id % 3 + 1).unwrap_or(0), &row(id, 6)))
        .collect::<Result<Vec<_>, _>>()?;
    let invalid = both.verify_all(&rows);
    let indices: Vec<usize> = invalid.into_iter().map(|(index, _)| index).collect();
    assert_eq!(indices, [2, 5, 8]);
    Ok(())
}

#[test]
fn the_live_rows_verify_with_the_live_key_alone() -> Tested {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let (Ok(rows), Ok(jwks)) = (
        fs::read_to_string(format!("{data}/rows.json")),
        fs::read_to_string(format!("{data}/jwks.json")),
    ) else {
        let skipped = format!("SKIPPED: {data} is missing\n");
        std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes())?;
        return Ok(());
    };
    #[derive(serde::Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let page: Page<'_> = serde_json::from_str(&rows)?;
    let rows: Vec<&str> = page.items.iter().map(|row| row.get()).collect();
    assert_eq!(rows.len(), 50);
    assert_eq!(
        PublicKeys::from_jwk_set(jwks.as_bytes())?.verify_all(&rows),
        []
    );
    // Under the other key of the set no row verifies.
    let other = jwks.replace("cathedral-eval-signing", "x");
    let other = other.replace("polaris-runtime-attestation", "cathedral-eval-signing");
    assert_eq!(
        PublicKeys::from_jwk_set(other.as_bytes())?
            .verify_all(&rows)
            .len(),
        50
    );
    Ok(())
}
