//! Ed25519 public keys of a JWK set (RFC 7517, RFC 8037).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::VerifyingKey;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Invalid, check_length, parse_object};

/// The most bytes of a JWK set.
pub const MAX_JWK_SET_BYTES: usize = 64 * 1024;
/// The identifier of the keys that sign eval runs; `cathedral-eval-signing-2026` is one of them, too.
pub const EVAL_SIGNING_KID: &str = "cathedral-eval-signing";
/// The most keys that are tried for one signature.
const MAX_KEYS: usize = 8;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// A key of any type. One that is unknown may have members of any form, and is ignored (RFC 7517 §5).
#[derive(Deserialize)]
struct Jwk(Map<String, Value>);

impl Jwk {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn is_ed25519_signature_key(&self) -> bool {
        let may_be = |name, values: &[&str]| match self.0.get(name) {
            None => true,
            Some(value) => value.as_str().is_some_and(|value| values.contains(&value)),
        };
        // RFC 7517 §4.3.
        let may_verify = self.0.get("key_ops").is_none_or(|operations| {
            let mut operations = operations.as_array().into_iter().flatten();
            operations.any(|operation| operation == "verify")
        });
        self.text("kty") == Some("OKP")
            && self.text("crv") == Some("Ed25519")
            && may_be("use", &["sig"])
            && may_be("alg", &["EdDSA", "Ed25519"])
            && may_verify
    }

    fn signs_eval_runs(&self) -> bool {
        let kid = self.text("kid").unwrap_or_default();
        kid.starts_with(EVAL_SIGNING_KID)
    }

    fn key(&self) -> Result<VerifyingKey, &'static str> {
        let bytes = URL_SAFE_NO_PAD.decode(self.text("x").unwrap_or_default());
        let bytes: [u8; 32] = bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("x must be 32 bytes in base64url without padding")?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| "x is no point of Ed25519")?;
        // RFC 8032 §5.1.3: y is below p. Otherwise one key would have two texts.
        if key.to_edwards().compress().to_bytes() != bytes {
            return Err("x is not the canonical form of its point");
        }
        if key.is_weak() {
            return Err("x is a weak key: it verifies signatures that nobody made");
        }
        let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
        // The same key in hexadecimal digits, which validators pin.
        match self.0.get("public_key_hex").map(Value::as_str) {
            Some(None) => Err("public_key_hex must be a string"),
            Some(Some(said)) if !said.eq_ignore_ascii_case(&hex) => {
                Err("public_key_hex and x are different keys")
            }
            Some(Some(_)) | None => Ok(key),
        }
    }
}

/// Whether a member with this name is, or may be, private or symmetric key material: the names of RFC 7518 §6,
/// RFC 8037 §2 and RFC 9964 in any case, and what people call it.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let known = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
    known.contains(&name.as_str()) || name.contains("private") || name.contains("secret")
}

/// Returns the path of the first secret in a value at `path`, at any level.
fn secret(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{name}");
            if is_secret_name(name) {
                Some(path)
            } else {
                secret(value, &path)
            }
        }),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| secret(item, &format!("{path}[{at}]")))
        }
        // A file in PEM (RFC 7468 §10), whatever the name.
        Value::String(text) => text.contains("PRIVATE KEY-----").then(|| path.to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Returns the keys of a JWK set that verify eval runs: those whose `kid` begins with [`EVAL_SIGNING_KID`], or all
/// Ed25519 signature keys if no key has such a `kid`.
///
/// # Errors
/// [`Invalid`] if the text is no JWK set, has no such key or too many, contains private or symmetric key material,
/// or if one of these keys is invalid.
pub(super) fn eval_signing_keys(json: &[u8]) -> Result<Vec<VerifyingKey>, Invalid> {
    check_length("a JWK set", json.len(), MAX_JWK_SET_BYTES)?;
    let json = std::str::from_utf8(json).map_err(|_| Invalid::new("", "must be UTF-8"))?;
    if let Some(path) = secret(&parse_object(json)?, "") {
        let reason = "contains a secret key, which must not be published";
        return Err(Invalid::new(path, reason));
    }
    let set: Set = parse_object(json)?;
    let field = |at: usize| format!("keys[{at}]");
    let mut keys: Vec<(usize, &Jwk)> = set.keys.iter().enumerate().collect();
    // First: a named key that cannot be used must not make way for a key with another purpose.
    if keys.iter().any(|(_, key)| key.signs_eval_runs()) {
        keys.retain(|(_, key)| key.signs_eval_runs());
    }
    keys.retain(|(_, key)| key.is_ed25519_signature_key());
    if keys.is_empty() || keys.len() > MAX_KEYS {
        let reason = format!(
            "must contain 1 to {MAX_KEYS} Ed25519 signature keys (kty OKP, crv Ed25519), not {}",
            keys.len()
        );
        return Err(Invalid::new("keys", reason));
    }
    let mut named: Vec<(&str, VerifyingKey)> = Vec::new();
    let mut parsed = Vec::new();
    for (at, jwk) in keys {
        let invalid = |reason: &str| Invalid::new(field(at), reason);
        let key = jwk.key().map_err(invalid)?;
        if let Some(kid) = jwk.0.get("kid") {
            let kid = kid
                .as_str()
                .ok_or_else(|| invalid("kid must be a string"))?;
            // A client that looks a key up by its name would find one of them (RFC 7517 §4.5).
            if named.iter().any(|known| known.0 == kid && known.1 != key) {
                return Err(invalid("has the kid of another key"));
            }
            named.push((kid, key));
        }
        parsed.push(key);
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "EIkKZqp1JHnLO2NPNm170nw3QyTYP4jS1raasGbyXiY";
    const OTHER: &str = "ULigd6uFfJGptPK5QpXoHw8B5OwfpbPp_UBz6gDe8kw";

    fn key(x: &str, more: &str) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#)
    }

    fn set(keys: &[String]) -> String {
        format!(r#"{{"issuer":"i","keys":[{}]}}"#, keys.join(","))
    }

    fn selected(keys: &[String]) -> Result<Vec<String>, Invalid> {
        let keys = eval_signing_keys(set(keys).as_bytes())?;
        let encoded = keys
            .iter()
            .map(|key| URL_SAFE_NO_PAD.encode(key.as_bytes()));
        Ok(encoded.collect())
    }

    #[test]
    fn keys_named_for_eval_runs_are_selected() -> Result<(), Invalid> {
        let other = key(OTHER, r#","kid":"polaris-runtime-attestation""#);
        for kid in ["cathedral-eval-signing", "cathedral-eval-signing-2027"] {
            let named = key(X, &format!(r#","kid":"{kid}","use":"sig","alg":"EdDSA""#));
            assert_eq!(selected(&[other.clone(), named])?, [X]);
        }
        assert_eq!(selected(std::slice::from_ref(&other))?, [OTHER]);
        assert_eq!(selected(&[key(X, ""), other])?, [X, OTHER]);
        Ok(())
    }

    #[test]
    fn keys_of_other_types_and_for_other_uses_are_ignored() -> Result<(), Invalid> {
        let ignored = [
            key(OTHER, r#","use":"enc""#),
            key(OTHER, r#","alg":"ES256""#),
            r#"{"kty":"RSA","n":"x","e":"AQAB","kid":"cathedral-eval-signing"}"#.to_owned(),
            r#"{"kty":"AKP","alg":"ML-DSA-65","kid":"cathedral-eval-signing","pub":"x"}"#
                .to_owned(),
            r#"{"kty":5,"kid":[],"x":{}}"#.to_owned(),
            "{}".to_owned(),
            r#"{"kty":"OKP","crv":"X25519","x":"x"}"#.to_owned(),
        ];
        let mut keys = ignored.to_vec();
        keys.push(key(X, r#","alg":"Ed25519","kid":"cathedral-eval-signing""#));
        assert_eq!(selected(&keys)?, [X]);
        assert!(selected(&ignored).is_err());
        // Not the key that has another name.
        keys.pop();
        keys.push(key(OTHER, r#","kid":"polaris-runtime-attestation""#));
        assert!(selected(&keys).is_err());
        Ok(())
    }

    #[test]
    fn secret_keys_are_refused_under_every_name_and_at_every_level() {
        for member in [
            r#""private_key_hex":"00""#,
            r#""D":"s""#,
            r#""dP":"s""#,
            r#""qi":"s""#,
            r#""oth":[]"#,
            r#""Priv":"s""#,
            r#""clientSecret":"s""#,
            r#""more":{"list":[{"d":"s"}]}"#,
            r#""pem":"-----BEGIN PRIVATE KEY-----\nMC4C""#,
            r#""pem":["-----BEGIN OPENSSH PRIVATE KEY-----"]"#,
        ] {
            let inside = set(&[key(X, &format!(",{member}"))]);
            let outside = set(&[key(X, "")]).replacen('{', &format!("{{{member},"), 1);
            for json in [inside, outside] {
                let found = eval_signing_keys(json.as_bytes()).map_err(|error| error.to_string());
                let is_refused = |error: &String| error.contains("contains a secret key");
                assert!(found.as_ref().is_err_and(is_refused), "{json}: {found:?}");
            }
        }
        // What only looks like one.
        let more = r#","kid":"k","x5c":["d"],"keys":"priv","description":"of the private network""#;
        assert!(eval_signing_keys(set(&[key(X, more)]).as_bytes()).is_ok());
    }

    #[test]
    fn malformed_keys_are_refused() -> Result<(), Invalid> {
        // There are points with y = 3 and y = 4. Here y + p stands in the place of y.
        let not_canonical = [0xf0, 0xf1].map(|low: u8| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, 0x7f);
            URL_SAFE_NO_PAD.encode(bytes)
        });
        for (keys, error) in [
            (
                vec![key(X, r#","public_key_hex":5"#)],
                "keys[0]: public_key_hex must be a string",
            ),
            (vec![key(X, r#","kid":5"#)], "keys[0]: kid must be a string"),
            (vec![key(X, r#","kid":null"#)], "keys[0]: kid must be"),
            (vec![key(X, r#","key_ops":["sign"]"#)], "not 0"),
            (vec![key(X, r#","key_ops":"verify""#)], "not 0"),
            (vec![key(X, r#","use":5"#)], "not 0"),
            (vec![key(X, r#","alg":null"#)], "not 0"),
            (
                vec![key(X, r#","kid":"a""#), key(OTHER, r#","kid":"a""#)],
                "keys[1]: has the kid of another key",
            ),
            (
                vec![key(&not_canonical[0], "")],
                "keys[0]: x is not the canonical form",
            ),
            (
                vec![key(&not_canonical[1], "")],
                "keys[0]: x is not the canonical form",
            ),
        ] {
            let found = selected(&keys).map_err(|error| error.to_string());
            let is_refused = |found: &String| found.contains(error);
            assert!(found.as_ref().is_err_and(is_refused), "{keys:?}: {found:?}");
        }
        let verifies = key(X, r#","key_ops":["sign","verify"],"kid":"a""#);
        assert_eq!(selected(&[verifies.clone(), verifies])?, [X, X]);
        Ok(())
    }

    #[test]
    fn invalid_sets_are_refused_with_the_reason() {
        let zero = "A".repeat(43);
        for (json, error) in [
            (String::new(), "must be a JSON object"),
            ("[]".to_owned(), "must be a JSON object"),
            ("{}".to_owned(), "keys: is missing"),
            (set(&[]), "keys: must contain 1 to 8 Ed25519 signature keys"),
            (set(&vec![key(X, ""); 9]), "not 9"),
            (set(&[key("", "")]), "keys[0]: x must be 32 bytes"),
            (
                set(&[key(X, ""), key(&X[1..], "")]),
                "keys[1]: x must be 32 bytes",
            ),
            (
                set(&[key(&format!("{X}="), "")]),
                "keys[0]: x must be 32 bytes",
            ),
            (set(&[key(&zero, "")]), "keys[0]: x is a weak key"),
            (
                set(&[key(X, r#","d":"secret""#)]),
                "keys[0].d: contains a secret key",
            ),
            (
                set(&[key(X, ""), r#"{"kty":"oct","k":"s"}"#.to_owned()]),
                "keys[1].k: contains a secret",
            ),
            (
                set(&[key(X, r#","public_key_hex":"50b8""#)]),
                "keys[0]: public_key_hex and x",
            ),
            (set(&[key(X, r#","x":"x""#)]), "occurs twice"),
            (
                format!("{}{}", set(&[key(X, "")]), " ".repeat(MAX_JWK_SET_BYTES)),
                "at most 65536 bytes",
            ),
        ] {
            let found = eval_signing_keys(json.as_bytes()).map(|keys| keys.len());
            let Err(found) = found else {
                panic!("{json} was accepted");
            };
            let found = found.to_string();
            assert!(found.contains(error), "{json}: {found}");
        }
        assert!(eval_signing_keys(b"\xff").is_err());
    }
}
