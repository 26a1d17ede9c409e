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

    /// Whether it has a private part (RFC 7518 §6, RFC 8037 §2, RFC 9964), or is a symmetric key.
    fn is_secret(&self) -> bool {
        ["d", "k", "p", "q", "priv"]
            .iter()
            .any(|name| self.0.contains_key(*name))
    }

    fn is_ed25519_signature_key(&self) -> bool {
        self.text("kty") == Some("OKP")
            && self.text("crv") == Some("Ed25519")
            && matches!(self.text("use"), None | Some("sig"))
            && matches!(self.text("alg"), None | Some("EdDSA" | "Ed25519"))
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
        if key.is_weak() {
            return Err("x is a weak key: it verifies signatures that nobody made");
        }
        let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
        // The same key in hexadecimal digits, which validators pin.
        match self.text("public_key_hex") {
            Some(said) if !said.eq_ignore_ascii_case(&hex) => {
                Err("public_key_hex and x are different keys")
            }
            _ => Ok(key),
        }
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
    let set: Set = parse_object(json)?;
    let field = |at: usize| format!("keys[{at}]");
    if let Some(at) = set.keys.iter().position(Jwk::is_secret) {
        let reason = "contains a secret key, which must not be published";
        return Err(Invalid::new(field(at), reason));
    }
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
    let parse =
        |(at, key): (usize, &Jwk)| key.key().map_err(|reason| Invalid::new(field(at), reason));
    keys.into_iter().map(parse).collect()
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
    fn invalid_sets_are_refused_with_the_reason() {
        let zero = "A".repeat(43);
        for (json, error) in [
            (String::new(), "must be a JSON object"),
            ("[]".to_owned(), "must be a JSON object"),
            ("{}".to_owned(), "keys: missing field `keys`"),
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
                "keys[0]: contains a secret key",
            ),
            (
                set(&[key(X, ""), r#"{"kty":"oct","k":"s"}"#.to_owned()]),
                "keys[1]: contains a secret",
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
