//! The login before a host (`user:password@`), which no text may show.

use std::borrow::Cow;

/// Removes a login before a host: `https://user:password@gcr.io` becomes `https://…@gcr.io`.
///
/// A name before the `@` without a password, as in an e-mail address, is kept.
pub(crate) fn without_login(text: &str) -> Cow<'_, str> {
    let Some((start, end)) = userinfo(text) else {
        return Cow::Borrowed(text);
    };
    let login = &text[start..end];
    let has_scheme = start > 0;
    let host = &text[end + 1..];
    if !has_scheme && !login.contains(':') && !host.contains('/') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…{}", &text[..start], &text[end..]))
}

/// The same for each word of a message.
pub(crate) fn without_logins(message: &str) -> String {
    let words = message.split_inclusive(char::is_whitespace);
    words.map(without_login).collect()
}

/// Returns the text after a login. `None` if there is no login.
pub(crate) fn after_login(text: &str) -> Option<&str> {
    userinfo(text).map(|(_, end)| &text[end + 1..])
}

/// Returns the position of a login before a host, and of the `@` after it.
///
/// A password may contain any character, so it ends at the last `@` that does not start a digest.
fn userinfo(text: &str) -> Option<(usize, usize)> {
    let start = match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => scheme.len() + 3,
        _ => 0,
    };
    let mut rest = &text[start..];
    while let Some((before, after)) = rest.rsplit_once('@') {
        if !is_end_of_name(before, after) {
            return Some((start, start + before.len()));
        }
        rest = before;
    }
    None
}

/// True if the text can be the scheme of a URL.
pub(crate) fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// True if this `@` follows the name of an image and not a login: it is followed by a digest, by
/// nothing, or by what was meant to be a digest.
fn is_end_of_name(before: &str, after: &str) -> bool {
    let host = before.split_once('/').map(|(host, _)| host);
    let is_word = after
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'$' | b'{' | b'}' | b'_'));
    let is_digest = after.starts_with("sha256") || after.starts_with("sha512");
    let has_port = || {
        let port = host.and_then(|host| host.rsplit_once(':'));
        port.is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
    };
    let has_no_password = !before.contains(':');
    match after {
        _ if is_word && is_digest => true,
        "" => has_no_password || host.is_some_and(|host| host.contains('.')) || has_port(),
        _ if after.starts_with("localhost") => false,
        _ => is_word && has_no_password && host.is_some_and(|host| host.contains('.')),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn login_is_removed_wherever_it_stands() {
        for (text, for_message) in [
            ("https://_json_key:x@gcr.io", "https://…@gcr.io"),
            (
                "user:x@registry.example.com/a:1",
                "…@registry.example.com/a:1",
            ),
            ("docker://user:x@ghcr.io/a/b:1", "docker://…@ghcr.io/a/b:1"),
            ("https://token@ghcr.io/a", "https://…@ghcr.io/a"),
            ("https://token@ghcr", "https://…@ghcr"),
            ("user:5/x@localhost", "…@localhost"),
            ("token@ghcr.io/a", "…@ghcr.io/a"),
            ("user:a/b@c@gcr.io/a:1", "…@gcr.io/a:1"),
            ("user:a://b@gcr.io", "…@gcr.io"),
            ("user:1/x@localhost", "…@localhost"),
            ("user:x@host/a@sha256:12", "…@host/a@sha256:12"),
            ("\"https://user:x@gcr.io\"", "…@gcr.io\""),
            ("user:x@", "…@"),
        ] {
            assert_eq!(without_login(text), for_message);
        }
    }

    #[test]
    fn digest_and_account_are_no_login() {
        for text in [
            "gcr.io/acme/api@sha256:0123",
            "gcr.io/acme/api:1@sha256:0123",
            "gcr.io/acme/api@latest",
            "gcr.io/acme/api@${DIGEST}",
            "localhost:5000/api@sha256:0123",
            "registry:5000/api@",
            "https://gcr.io/acme/api@sha256:0123",
            "alpine@sha256:0123",
            "alpine:3@sha256:0123",
            "gcr.io/acme/api:1@",
            "gcr.io/acme/api@",
            "ci@acme.iam.gserviceaccount.com",
            "gcr.io/acme/api:1",
            "@",
        ] {
            assert_eq!(without_login(text), text);
        }
    }

    proptest! {
        #[test]
        fn password_is_never_shown(
            scheme in "(https?://|docker://|)",
            user in "[a-z_]{1,8}",
            start in "[a-zA-Z0-9/@:+=._-]{0,6}",
            host in "(gcr\\.io|localhost|reg\\.example\\.com(:5000)?)",
            path in "(/[a-z]{1,5}){0,2}(:[a-z0-9]{1,4})?",
        ) {
            let text = format!("{scheme}{user}:{start}S3CRET@{host}{path}");
            prop_assert!(!without_login(&text).contains("S3CRET"), "{}", text);
            let message = format!("a {text} b");
            prop_assert!(!without_logins(&message).contains("S3CRET"));
        }

        #[test]
        fn random_text_causes_no_panic(text in "\\PC{0,30}") {
            let _ = without_login(&text);
        }
    }
}
