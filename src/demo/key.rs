//! The key that signs sample data. Its secret half is in this file: nobody should trust it.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// The seed of the secret key is the SHA-256 of this text.
const SEED_TEXT: &str =
    "The key of cathedral-publisher's sample data. Everybody knows it: never trust it.";
/// Begins as the keys of real eval runs do, so that clients select it.
const KID: &str = "cathedral-eval-signing-demo";

/// Signs sample data.
#[derive(Debug)]
pub(super) struct DemoKey(SigningKey);

impl Default for DemoKey {
    fn default() -> Self {
        Self(SigningKey::from_bytes(&Sha256::digest(SEED_TEXT).into()))
    }
}

impl DemoKey {
    /// Returns the signature of a text, in base64.
    pub(super) fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.0.sign(text.as_bytes()).to_bytes())
    }
}

/// Returns the JWK set of the key that signs sample data (RFC 7517, RFC 8037), in one line.
pub fn jwk_set() -> String {
    let key = DemoKey::default().0.verifying_key();
    let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
    let hex = key.as_bytes().map(|byte| format!("{byte:02x}")).concat();
    format!(
        r#"{{"issuer":"cathedral-publisher demo","keys":[{{"kid":"{KID}","use":"sig","alg":"EdDSA","kty":"OKP","crv":"Ed25519","x":"{x}","public_key_hex":"{hex}","purpose":"Signs sample data. Its secret key is public: do not trust it."}}]}}"#
    )
}
