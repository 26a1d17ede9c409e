//! Quantiles in JSON: infinity, for which JSON has no number, is `"never"`; without polls a quantile is `null`.

use serde::{Deserialize, Deserializer, Serialize as _, Serializer, de::Error as _};

/// The name of infinity.
pub(super) const NEVER: &str = "never";

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Milliseconds(f64),
    Name(String),
}

/// Writes a quantile.
///
/// # Errors
/// Those of the serializer.
pub(super) fn serialize<S: Serializer>(ms: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) if ms.is_infinite() => serializer.serialize_str(NEVER),
        ms => ms.serialize(serializer),
    }
}

/// Reads a quantile.
///
/// # Errors
/// If it is neither a number, nor `"never"`, nor `null`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Milliseconds(ms)) => Ok(Some(ms)),
        Some(Written::Name(name)) if name == NEVER => Ok(Some(f64::INFINITY)),
        Some(Written::Name(name)) => Err(D::Error::custom(format!("{name:?} is not a quantile"))),
    }
}
