//! Content digests.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Computes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::digest(bytes).into())
    }

    /// Builds the digest from a SHA-256 hash.
    pub fn from_hash(hash: [u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(7 + 64);
        text.push_str("sha256:");
        for byte in hash {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The digest with its algorithm, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 hexadecimal digits, the usual short form.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

/// Why a text is not a SHA-256 digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// It is not a digest, or its hash has the wrong length.
    #[error("`{}` is not a digest: expected `sha256:` and 64 hexadecimal digits", .0.escape_debug())]
    NoDigest(String),
    /// It is a digest of another algorithm (OCI image spec, `descriptor.md`, "Registered
    /// algorithms").
    #[error("the digest algorithm `{0}` is not supported, only `sha256`")]
    OtherAlgorithm(String),
}

/// Returns the algorithm of a digest if it is not SHA-256 (OCI image spec, `descriptor.md`,
/// "Digests").
pub(crate) fn other_algorithm(digest: &str) -> Option<&str> {
    let (algorithm, hash) = digest.split_once(':')?;
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b);
    let is_hash = |b: u8| b.is_ascii_alphanumeric() || b"=_-".contains(&b);
    let is_other = !matches!(algorithm, "" | "sha256")
        && algorithm.len() <= 32
        && algorithm.bytes().all(is_name)
        && !hash.is_empty()
        && hash.bytes().all(is_hash);
    is_other.then_some(algorithm)
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Parses `sha256:` and 64 lower-case hexadecimal digits, the only form that registries support
    /// here (OCI image spec, `descriptor.md`, "Registered algorithms").
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let valid = text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(match other_algorithm(text) {
                Some(algorithm) => DigestError::OtherAlgorithm(algorithm.to_owned()),
                None => DigestError::NoDigest(text.chars().take(100).collect()),
            })
        }
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
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Computes a digest incrementally.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes.
    pub fn finish(self) -> Digest {
        Digest::from_hash(self.0.finalize().into())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn short_upper_case_or_other_digest_is_refused() {
        let good = Digest::of(b"x").to_string();
        for bad in [
            String::new(),
            good[..70].to_owned(),
            format!("{good}0"),
            good.to_uppercase(),
            good.replace("sha256", "sha512"),
            good.replace(':', "/"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
