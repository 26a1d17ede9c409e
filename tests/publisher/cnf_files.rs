//! Formulas in a folder of their own, and challenges that have them.

use std::{fs, path::PathBuf};

use cathedral_publisher::{
    demo::sample::Sample,
    domain::challenge::{Challenge, Status},
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::app::{App, Data, Mode, settings};

pub const CNF: &str = "/v1/synthetic-boolean/active-cnf";

/// A folder of formulas.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Stores a formula, and returns a challenge that has it.
    pub fn store(&self, status: Status, body: &[u8]) -> Challenge {
        let challenge = challenge(status, body);
        fs::write(self.path(&challenge, ""), body).unwrap();
        challenge
    }

    /// The file of a challenge's formula, in the coding with this extension.
    pub fn path(&self, challenge: &Challenge, extension: &str) -> PathBuf {
        let name = format!("{}.cnf{extension}", challenge.cnf_sha256);
        self.0.path().join(name)
    }

    /// Starts a server with these challenges and options.
    pub async fn serve(&self, challenges: &[Challenge], options: &[&str]) -> App {
        let folder = self.0.path().to_str().unwrap();
        let options = [&["--cnf-dir", folder][..], options].concat();
        let data = Data::empty();
        data.put(challenges);
        App::start_with(data, Mode::Pass, settings(&options)).await
    }
}

/// Returns a challenge that has this formula.
pub fn challenge(status: Status, body: &[u8]) -> Challenge {
    let hash = Sha256::digest(body);
    let mut seed = [0; 8];
    seed.copy_from_slice(&hash[..8]);
    let mut challenge = Sample::new(u64::from_le_bytes(seed)).challenge(1);
    challenge.status = status;
    challenge.cnf_sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    challenge.cnf_bytes = Some(body.len() as u64);
    challenge
}

pub fn path(challenge: &Challenge) -> String {
    format!("{CNF}?challenge_id={}", challenge.challenge_id)
}

/// The tag of the formula itself.
pub fn tag(challenge: &Challenge) -> String {
    format!("\"{}\"", &challenge.cnf_sha256[..16])
}

/// Returns so many bytes of text, other ones for each seed.
pub fn formula(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = format!("p cnf 6000 {}\n", bytes / 18).into_bytes();
    while text.len() < bytes {
        let literals = [(); 3].map(|()| random.i32(-6000..6000) | 1);
        let [a, b, c] = literals;
        text.extend_from_slice(format!("{a} {b} {c} 0\n").as_bytes());
    }
    text.truncate(bytes);
    text
}
