//! The grammar of names, tags and digests (OCI distribution-spec, "Pulling manifests").

use crate::answer::Refusal;

/// Longest name, as in the reference implementation.
const LONGEST_NAME: usize = 255;

/// Refuses a name outside `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/…)*`.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    if name.len() <= LONGEST_NAME && name.split('/').all(is_component) {
        return Ok(());
    }
    let message = format!("invalid repository name: {name:.80}");
    Err(Refusal::registry(400, "NAME_INVALID", message))
}

fn is_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    if !ends.is_some_and(|(first, last)| word(*first) && word(*last)) {
        return false;
    }
    let separators = component.split(|letter: char| word(letter as u8) && letter.is_ascii());
    separators
        .filter(|text| !text.is_empty())
        .all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|first| word(*first))
        && bytes
            .iter()
            .all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
}

/// A sha256 digest in lower case, the only kind that Google's clients write.
pub(crate) fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
    })
}

/// Refuses an invalid digest.
pub(crate) fn check_digest(digest: &str) -> Result<(), Refusal> {
    if is_digest(digest) {
        return Ok(());
    }
    let message = format!("invalid digest: {digest:.100}");
    Err(Refusal::registry(400, "DIGEST_INVALID", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_specification() {
        let long = format!("p/{}", "a".repeat(254));
        for good in [
            "a",
            "p/app",
            "example.com/p/app",
            "a__b",
            "a---b",
            "a_b.c-d/0",
        ] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "p/App",
            "a___b",
            "a..b",
            "-a",
            "a-",
            "a._b",
            "ä",
            "a b",
            long.as_str(),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_specification() {
        let (longest, longer) = ("t".repeat(128), "t".repeat(129));
        for good in ["latest", "_", "1.0-rc_1", "V1", longest.as_str()] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".a", "-a", "a:b", "a/b", "a b", longer.as_str()] {
            assert!(!is_tag(bad), "{bad}");
        }
    }

    #[test]
    fn digests_are_lower_case_sha256() {
        let hex = "a".repeat(64);
        assert!(is_digest(&format!("sha256:{hex}")));
        for bad in [
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha512:{hex}"),
            hex,
        ] {
            assert!(!is_digest(&bad), "{bad}");
        }
    }
}
