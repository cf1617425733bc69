//! Content digests and the hashing behind them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A digest algorithm this program can compute.
///
/// Registered algorithms: OCI image-spec 1.1, `descriptor.md#registered-algorithms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256: 64 hex digits.
    Sha256,
    /// SHA-512: 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, for tables and tests.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hex digits follow the colon.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// A content digest, `algorithm:hex`, that this program can verify.
///
/// Parsing is the only way in from text, so a `Digest` in hand names a known
/// algorithm, has the right count of lowercase hex digits and is safe in a URL
/// or a path. Grammar: OCI image-spec 1.1, `descriptor.md#digests`. An
/// algorithm outside [`Algorithm`] is refused rather than carried unverified.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    text: Arc<str>,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The SHA-256 digest of `bytes`, which is what registries use by default.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits after the colon.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// The whole digest, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first 12 hex digits with the algorithm, for people to read.
    pub fn short(&self) -> &str {
        &self.text[..self.algorithm.name().len() + 1 + 12]
    }

    /// Whether `bytes` have this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        Self::of(self.algorithm, bytes) == *self
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| DigestError::NoAlgorithm(excerpt(text)))?;
        let algorithm = Algorithm::from_name(name)
            .ok_or_else(|| DigestError::UnknownAlgorithm(excerpt(text)))?;
        let want = algorithm.hex_len();
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != want || !is_hex {
            return Err(DigestError::NotHex {
                text: excerpt(text),
                want,
            });
        }
        Ok(Self {
            algorithm,
            text: text.into(),
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.text.as_ref().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text that is no digest this program can verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon.
    #[error("{0:?} is no digest: expected ALGORITHM:HEX")]
    NoAlgorithm(String),
    /// The algorithm is not one this program computes.
    #[error("{0:?} has an algorithm that cannot be verified here: expected sha256 or sha512")]
    UnknownAlgorithm(String),
    /// The part after the colon is not `want` lowercase hex digits.
    #[error("{text:?} is no digest: expected {want} lowercase hex digits after the colon")]
    NotHex {
        /// What was read.
        text: String,
        /// How many digits the algorithm has.
        want: usize,
    },
}

/// As much of hostile text as an error message needs.
pub(crate) fn excerpt(text: &str) -> String {
    const LIMIT: usize = 160;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Computes a [`Digest`] over bytes that arrive in pieces.
#[derive(Debug, Clone)]
pub enum Hasher {
    /// A SHA-256 under way.
    Sha256(Sha256),
    /// A SHA-512 under way.
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(state) => encode(Algorithm::Sha256, &state.finalize()),
            Self::Sha512(state) => encode(Algorithm::Sha512, &state.finalize()),
        }
    }
}

fn encode(algorithm: Algorithm, hash: &[u8]) -> Digest {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(algorithm.name().len() + 1 + algorithm.hex_len());
    text.push_str(algorithm.name());
    text.push(':');
    for byte in hash {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 0xf)]));
    }
    Digest {
        algorithm,
        text: text.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_hashes() {
        assert_eq!(
            Digest::sha256(b"{}").as_str(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        let empty = Digest::of(Algorithm::Sha512, b"");
        assert!(
            empty.hex().starts_with("cf83e1357eefb8bd") && empty.hex().len() == 128,
            "{empty}"
        );
    }

    #[test]
    fn a2_what_is_no_digest_is_refused() {
        let hex64 = "a".repeat(64);
        let upper = format!("sha256:{}", "A".repeat(64));
        let traversal = "sha256:../../../../etc/passwd";
        let short = format!("sha256:{}", &hex64[1..]);
        let long = format!("sha256:{hex64}a");
        let wrong_algorithm = format!("sha512:{hex64}");
        let unknown = format!("blake3:{hex64}");
        for text in [
            "",
            ":",
            "sha256",
            "sha256:",
            &hex64,
            traversal,
            &upper,
            &short,
            &long,
            &wrong_algorithm,
            &unknown,
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn the_error_of_a_huge_text_is_short() {
        let error = "x".repeat(1 << 20).parse::<Digest>().unwrap_err();
        assert!(error.to_string().len() < 1000);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = text.parse::<Digest>();
        }

        #[test]
        fn what_was_computed_parses_back(bytes in any::<Vec<u8>>(), sha512: bool) {
            let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, &bytes);
            prop_assert_eq!(digest.as_str().parse::<Digest>(), Ok(digest.clone()));
            prop_assert!(digest.matches(&bytes));
            prop_assert_eq!(format!("{}:{}", algorithm.name(), digest.hex()), digest.as_str());
        }

        #[test]
        fn pieces_hash_as_the_whole(pieces in any::<Vec<Vec<u8>>>()) {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            for piece in &pieces {
                hasher.update(piece);
            }
            prop_assert_eq!(hasher.finish(), Digest::sha256(&pieces.concat()));
        }
    }
}
