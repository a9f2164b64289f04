//! Detects common mistakes in a text before it is parsed as a name: a login, a placeholder that was
//! not replaced, a scheme, quotes and brackets.

use crate::diagnostics::userinfo::is_scheme;

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
    fn unexpanded_placeholder_is_found() {
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
    fn yaml_and_json_marks_are_found() {
        for text in ["\"a", "a\"", "'a'", "[a", "a]", "- a", "[\"a\""] {
            assert!(markup(text).is_some(), "{text}");
        }
        for text in ["[::1]:5000/a", "[2001:db8::1]", "-a", "a", ""] {
            assert_eq!(markup(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn random_text_causes_no_panic(text in "\\PC{0,30}") {
            let _ = (placeholder(&text), markup(&text), scheme(&text));
        }
    }
}
