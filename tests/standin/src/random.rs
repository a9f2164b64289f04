//! Random text for tokens, ids and the secrets in URLs.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Random text of this length, fit for tokens and URLs.
pub(crate) fn opaque(length: usize) -> String {
    let mut bytes = vec![0; length * 3 / 4 + 3];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    let mut text = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    text.truncate(length);
    text
}

/// This many random bytes in hexadecimal.
pub(crate) fn hex(bytes: usize) -> String {
    let mut random = vec![0_u8; bytes];
    aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random number.
pub(crate) fn number() -> u32 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    u32::from_be_bytes(bytes)
}
