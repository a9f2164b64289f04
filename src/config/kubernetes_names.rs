//! Kubernetes' rules for names of objects and namespaces, and for labels.

/// Checks the name of a Secret: an RFC 1123 subdomain of labels joined by dots, at most 253
/// characters.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>
pub(super) fn check_subdomain(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("is not a valid name of a Secret: it is longer than 253 characters");
    }
    if name.split('.').all(is_label) {
        Ok(())
    } else {
        Err(
            "is not a valid name of a Secret: use lower-case letters, digits, `-` and `.`, with a \
             letter or digit at each end and beside each dot",
        )
    }
}

/// Checks the name of a namespace: a single label of at most 63 characters.
pub(super) fn check_label(name: &str) -> Result<(), &'static str> {
    if name.len() > 63 {
        Err("is not a valid namespace: it is longer than 63 characters")
    } else if is_label(name) {
        Ok(())
    } else {
        Err(
            "is not a valid namespace: use lower-case letters, digits and `-`, with a letter or \
             digit at each end",
        )
    }
}

/// Checks the key of a label: a name, optionally after the domain of its owner and a slash.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
pub(super) fn check_label_key(key: &str) -> Result<(), &'static str> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    if domain.is_some_and(|domain| check_subdomain(domain).is_err()) {
        return Err("is not a valid label: the part before the `/` is not a domain");
    }
    if name.is_empty() {
        return Err("is not a valid label: it has no name");
    }
    check_label_value(name)
}

/// Checks the value of a label, which may be empty.
pub(super) fn check_label_value(value: &str) -> Result<(), &'static str> {
    let alphanumeric = |b: u8| b.is_ascii_alphanumeric();
    if value.len() > 63 {
        return Err("is not a valid label: names and values have at most 63 characters");
    }
    let ends = [value.bytes().next(), value.bytes().last()];
    let inside = |b: u8| alphanumeric(b) || matches!(b, b'-' | b'_' | b'.');
    if value.bytes().all(inside) && ends.into_iter().flatten().all(alphanumeric) {
        Ok(())
    } else {
        Err(
            "is not a valid label: names and values have letters, digits, `-`, `_` and `.`, with \
             a letter or digit at each end",
        )
    }
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    label.bytes().all(|b| alphanumeric(b) || b == b'-')
        && label.bytes().next().is_some_and(alphanumeric)
        && label.bytes().last().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_name_is_a_dns_subdomain() {
        for good in ["gcr-pull", "a.b-c", "1", &"a".repeat(253)] {
            assert_eq!(check_subdomain(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Gcr",
            "a_b",
            "-a",
            "a-",
            ".a",
            "a..b",
            "a.-b",
            "é",
            &"a".repeat(254),
        ] {
            assert!(check_subdomain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn namespace_is_a_dns_label() {
        for good in ["default", "0", "a-b", &"a".repeat(63)] {
            assert_eq!(check_label(good), Ok(()), "{good}");
        }
        for bad in ["", "a.b", "A", "-", &"a".repeat(64)] {
            assert!(check_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn label_follows_kubernetes_rules() {
        for good in ["a", "A.b_c-1", "example.com/a", &"a".repeat(63)] {
            assert_eq!(check_label_key(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "A/b",
            "a/b/c",
            "-a",
            "a_",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(check_label_key(bad).is_err(), "{bad}");
        }
        assert_eq!(check_label_value(""), Ok(()));
        for bad in [".", "a b", "a/b", "a=b"] {
            assert!(check_label_value(bad).is_err(), "{bad}");
        }
    }
}
