//! Detects common mistakes in a text before it is parsed as a name: a login, a placeholder that was
//! not replaced, a scheme, quotes and brackets.

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
pub(super) fn after_login(text: &str) -> Option<&str> {
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

fn is_scheme(text: &str) -> bool {
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

/// Returns the scheme of a URL, such as `https://`. `None` if there is none.
pub(crate) fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    is_scheme(scheme).then(|| &text[..scheme.len() + 3])
}

/// Returns a placeholder that was not replaced: `${NAME}`, `$NAME`, `{{ name }}`, `[NAME]`,
/// `<name>`, `%NAME%`.
pub(crate) fn placeholder(text: &str) -> Option<&str> {
    let enclosed = |open: &str, close: &str| {
        let start = text.find(open)?;
        let end = text[start..].find(close)? + start + close.len();
        Some(&text[start..end])
    };
    let inside = |enclosed: &&str, is: fn(u8) -> bool| {
        let inner = enclosed.trim_matches(['[', ']', '<', '>', '%']);
        !inner.is_empty() && inner.bytes().all(is)
    };
    enclosed("${{", "}}")
        .or_else(|| enclosed("${", "}"))
        .or_else(|| enclosed("$(", ")"))
        .or_else(|| enclosed("{{", "}}"))
        .or_else(|| dollar(text))
        .or_else(|| enclosed("[", "]").filter(|found| inside(found, is_constant_byte)))
        .or_else(|| enclosed("<", ">").filter(|found| inside(found, is_word_byte)))
        .or_else(|| percent(text).filter(|found| inside(found, is_constant_byte)))
}

fn is_constant_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ')
}

fn dollar(text: &str) -> Option<&str> {
    let start = text.find('$')?;
    let rest = &text[start + 1..];
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    Some(&text[start..start + 1 + end.unwrap_or(rest.len())])
}

fn percent(text: &str) -> Option<&str> {
    let start = text.find('%')?;
    let end = text[start + 1..].find('%')? + start + 2;
    Some(&text[start..end])
}

/// Returns a quote, bracket or dash of YAML or JSON at the edge of the text.
pub(crate) fn markup(text: &str) -> Option<&str> {
    const MARKS: [char; 3] = ['"', '\'', '`'];
    if text.starts_with("- ") {
        return Some("-");
    }
    let is_list = text.starts_with('[') && !text.starts_with("[:") && !is_address(text);
    if text.starts_with(MARKS) || is_list {
        return Some(&text[..1]);
    }
    let last = text.len().checked_sub(1)?;
    let ends = text.ends_with(MARKS) || text.ends_with(']') && !is_address(text);
    ends.then(|| &text[last..])
}

/// True if the brackets are those of an IPv6 address.
fn is_address(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    inner.is_some_and(|(address, _)| address.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_login_is_left_out_wherever_it_stands() {
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
    fn a_digest_and_an_account_are_no_login() {
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

    #[test]
    fn what_was_not_filled_in_is_found() {
        for (text, found) in [
            ("gcr.io/${PROJECT_ID}/app:1", "${PROJECT_ID}"),
            ("gcr.io/$PROJECT_ID/app:1", "$PROJECT_ID"),
            ("gcr.io/acme/app:$TAG", "$TAG"),
            ("gcr.io/[MY_PROJECT_ID]/app:1", "[MY_PROJECT_ID]"),
            ("gcr.io/<project>/app", "<project>"),
            ("gcr.io/${{ env.P }}/app", "${{ env.P }}"),
            ("gcr.io/{{ .Project }}/app", "{{ .Project }}"),
            ("gcr.io/%PROJECT%/app", "%PROJECT%"),
            ("gcr.io/$(PROJECT)/app", "$(PROJECT)"),
            ("$", "$"),
        ] {
            assert_eq!(placeholder(text), Some(found), "{text}");
        }
        for text in ["gcr.io/acme/app:1", "[::1]:5000/app", "a%b", "[gcr.io/a/b]"] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }

    #[test]
    fn the_marks_of_yaml_and_json_are_found() {
        for text in ["\"a", "a\"", "'a'", "[a", "a]", "- a", "[\"a\""] {
            assert!(markup(text).is_some(), "{text}");
        }
        for text in ["[::1]:5000/a", "[2001:db8::1]", "-a", "a", ""] {
            assert_eq!(markup(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_password_is_ever_shown(
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
        fn no_text_makes_the_checks_panic(text in "\\PC{0,30}") {
            let _ = (without_login(&text), placeholder(&text), markup(&text), scheme(&text));
        }
    }
}
