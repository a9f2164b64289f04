//! The YAML of a Secret as kubectl prints it, down to which names it puts in quotes.
//!
//! serde_yaml quotes with `'` and knows other rules for what needs it, so the few lines are written
//! here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json;
use crate::secret::Secret;

/// One document. `creationTimestamp: null` says nothing, but stands in what kubectl prints.
pub(super) fn document(name: &str, namespace: Option<&str>, docker_config: &Secret) -> String {
    let data = STANDARD.encode(docker_config.expose());
    let name = scalar(name);
    let namespace = namespace.map_or_else(String::new, |n| format!("  namespace: {}\n", scalar(n)));
    format!(
        "apiVersion: v1\n\
         data:\n  .dockerconfigjson: {data}\n\
         kind: Secret\n\
         metadata:\n  creationTimestamp: null\n  name: {name}\n{namespace}\
         type: kubernetes.io/dockerconfigjson\n"
    )
}

/// A name of Kubernetes as a YAML string: plain, unless YAML would take it for something else.
fn scalar(name: &str) -> String {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    if is_name && !is_word(name) && !is_number(name) && !is_date(name) {
        name.to_owned()
    } else {
        // A JSON string is a YAML string.
        json::string(name)
    }
}

/// Booleans of YAML 1.1 and 1.2, and null, in lower case.
fn is_word(name: &str) -> bool {
    matches!(
        name,
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    )
}

/// What go-yaml reads as a number (`resolve.go`): Go's integer literals as far as they fit into 64
/// bits, a sign after `0b` included, and decimal floats that are finite.
fn is_number(name: &str) -> bool {
    let digits = |prefix, radix| {
        name.strip_prefix(prefix)
            .filter(|digits| !digits.starts_with(['-', '+']))
            .is_some_and(|digits| u64::from_str_radix(digits, radix).is_ok())
    };
    let signed_binary = name
        .strip_prefix("0b")
        .is_some_and(|digits| i64::from_str_radix(digits, 2).is_ok());
    // `f64` reads `inf`, `nan` and the like as well, but none of them starts with a digit.
    let float = name.starts_with(|c: char| c.is_ascii_digit())
        && name.parse::<f64>().is_ok_and(f64::is_finite);
    digits("0x", 16) || digits("0o", 8) || digits("0b", 2) || signed_binary || float
}

/// A day, as in `2006-1-2` or `2006-01-02`.
fn is_date(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    if year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return false;
    }
    let (Ok(year), Ok(month), Ok(day)) = (year.parse(), month.parse::<u8>(), day.parse()) else {
        return false;
    };
    time::Month::try_from(month)
        .is_ok_and(|month| time::Date::from_calendar_date(year, month, day).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_yaml_would_take_for_something_else_is_quoted() {
        for name in [
            "123",
            "true",
            "null",
            "y",
            "1e3",
            "0x1",
            "0o7",
            "0b-1",
            "08",
            "2000-2-29",
        ] {
            assert_eq!(scalar(name), format!("\"{name}\""));
        }
        for name in [
            "gcr-pull",
            "1e999",
            "0x",
            "0o8",
            "1.2.3",
            "1900-2-29",
            "inf",
            "nan",
            "null.x",
        ] {
            assert_eq!(scalar(name), name);
        }
    }

    #[test]
    fn a_text_that_is_no_name_cannot_add_a_line() {
        assert_eq!(scalar("x\ntype: Opaque"), r#""x\ntype: Opaque""#);
        assert_eq!(scalar("{}"), r#""{}""#);
        assert_eq!(scalar(""), r#""""#);
    }
}
