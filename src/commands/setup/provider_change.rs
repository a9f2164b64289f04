//! The changes to an existing provider: only the fields that prevent the repository's jobs from
//! pushing. Other settings are kept.

use std::fmt;

use serde_json::{Map, Value, json};

use super::federation::{ExistingProvider, Provider};
use crate::diagnostics::sanitize::sanitize;

/// The fields of a provider that must change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProviderChange {
    fields: Vec<FieldChange>,
}

/// One field, as `updateMask` names it.
#[derive(Clone, Debug, PartialEq)]
struct FieldChange {
    mask: &'static str,
    value: Value,
    /// The difference, in a few words.
    why: &'static str,
    /// The lines of the old value.
    removed: Vec<String>,
    /// The lines of the new value.
    added: Vec<String>,
}

impl ProviderChange {
    /// The fields in which `found` differs from `wanted`. Empty if it accepts the repository's
    /// jobs, and no identity that `wanted` does not accept.
    pub(super) fn between(found: &ExistingProvider, wanted: &Provider) -> Self {
        let fields = [
            disabled(found),
            issuer(found, wanted),
            condition(found, wanted),
            mapping(found, wanted),
            audiences(found),
        ];
        Self {
            fields: fields.into_iter().flatten().collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The value of `updateMask`.
    pub(super) fn mask(&self) -> String {
        let masks: Vec<&str> = self.fields.iter().map(|field| field.mask).collect();
        masks.join(",")
    }

    /// The body of the request: the changed fields with their new values.
    pub(super) fn body(&self) -> Value {
        let mut body = Map::new();
        for field in &self.fields {
            match field.mask.split_once('.') {
                Some((outer, inner)) => {
                    let outer = body.entry(outer).or_insert_with(|| json!({}));
                    outer[inner] = field.value.clone();
                }
                None => drop(body.insert(field.mask.to_owned(), field.value.clone())),
            }
        }
        Value::Object(body)
    }

    /// The differences in one sentence.
    pub(super) fn why(&self) -> String {
        let whys: Vec<&str> = self.fields.iter().map(|field| field.why).collect();
        whys.join("; ")
    }
}

/// One line for each removed and each added value.
impl fmt::Display for ProviderChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for field in &self.fields {
            for line in &field.removed {
                writeln!(formatter, "    - {}", sanitize(line))?;
            }
            for line in &field.added {
                writeln!(formatter, "    + {}", sanitize(line))?;
            }
        }
        Ok(())
    }
}

fn disabled(found: &ExistingProvider) -> Option<FieldChange> {
    found.disabled.then(|| FieldChange {
        mask: "disabled",
        value: false.into(),
        why: "it is disabled",
        removed: vec!["disabled: true".to_owned()],
        added: Vec::new(),
    })
}

fn issuer(found: &ExistingProvider, wanted: &Provider) -> Option<FieldChange> {
    let before = &found.oidc.issuer_uri;
    (before.trim_end_matches('/') != wanted.issuer).then(|| FieldChange {
        mask: "oidc.issuerUri",
        value: wanted.issuer.as_str().into(),
        why: if found.oidc.jwks_json.is_empty() {
            "it trusts another issuer"
        } else {
            "it trusts another issuer, and has keys in `jwksJson`, which stay and must be those \
             of the new issuer"
        },
        removed: named("issuerUri", before).into_iter().collect(),
        added: vec![format!("issuerUri: {}", wanted.issuer)],
    })
}

fn condition(found: &ExistingProvider, wanted: &Provider) -> Option<FieldChange> {
    let before = &found.attribute_condition;
    (!requires(before, &wanted.condition)).then(|| FieldChange {
        mask: "attributeCondition",
        value: wanted.condition.as_str().into(),
        why: "it has another condition",
        removed: named("attributeCondition", before).into_iter().collect(),
        added: vec![format!("attributeCondition: {}", wanted.condition)],
    })
}

fn mapping(found: &ExistingProvider, wanted: &Provider) -> Option<FieldChange> {
    let mut merged = found.attribute_mapping.clone();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for (attribute, claim) in &wanted.mapping {
        let before = merged.insert(attribute.clone(), claim.clone());
        if before.as_ref() == Some(claim) {
            continue;
        }
        let line = |claim: &str| format!("attributeMapping: {attribute}={claim}");
        removed.extend(before.as_deref().map(line));
        added.push(line(claim));
    }
    (!added.is_empty()).then(|| FieldChange {
        mask: "attributeMapping",
        value: json!(merged),
        why: "its attributes are mapped in another way",
        removed,
        added,
    })
}

/// The change of the allowed audiences. Without a list, only the provider's own name is accepted,
/// which is the audience of a job's token.
fn audiences(found: &ExistingProvider) -> Option<FieldChange> {
    let own = format!("https://iam.googleapis.com/{}", found.name);
    let before = &found.oidc.allowed_audiences;
    (!before.is_empty() && !before.contains(&own)).then(|| {
        let mut audiences = before.clone();
        audiences.push(own.clone());
        FieldChange {
            mask: "oidc.allowedAudiences",
            value: json!(audiences),
            why: "it does not accept a token whose audience is the provider itself",
            removed: Vec::new(),
            added: vec![format!("allowedAudiences: {own}")],
        }
    })
}

fn named(field: &str, value: &str) -> Option<String> {
    (!value.is_empty()).then(|| format!("{field}: {value}"))
}

/// True if `condition` is `wanted` with optional further terms, joined by `&&`. Then it accepts no
/// other jobs, and a restriction such as one to some branches is kept.
fn requires(condition: &str, wanted: &str) -> bool {
    let Some(terms) = conjuncts(condition) else {
        return false;
    };
    conjuncts(wanted).is_some_and(|wanted| wanted.iter().all(|one| terms.contains(one)))
}

/// The terms of a CEL expression that are joined by `&&`, with normalized white space and quotes.
/// `None` if they are joined by another operator, or cannot be parsed.
fn conjuncts(expression: &str) -> Option<Vec<String>> {
    let mut terms = vec![String::new()];
    let mut rest = expression.chars().peekable();
    let mut depth = 0_u32;
    while let Some(c) = rest.next() {
        let term = terms.last_mut()?;
        match c {
            '\'' | '"' => {
                term.push('\'');
                loop {
                    match rest.next()? {
                        end if end == c => break,
                        // Escapes and nested quotes are not parsed.
                        '\\' | '\'' | '"' => return None,
                        inner => term.push(inner),
                    }
                }
                term.push('\'');
            }
            '&' if depth == 0 && rest.next_if_eq(&'&').is_some() => terms.push(String::new()),
            '|' | '?' if depth == 0 => return None,
            // A comment is not parsed.
            '/' if rest.peek() == Some(&'/') => return None,
            '(' | '[' | '{' => {
                depth += 1;
                term.push(c);
            }
            ')' | ']' | '}' => {
                depth = depth.checked_sub(1)?;
                term.push(c);
            }
            c if c.is_whitespace() => {
                // `a in b` is not `ainb`.
                let joins = |c: char| c.is_alphanumeric() || c == '_';
                while rest.next_if(|c| c.is_whitespace()).is_some() {}
                if term.ends_with(joins) && rest.peek().copied().is_some_and(joins) {
                    term.push(' ');
                }
            }
            c => term.push(c),
        }
    }
    let terms: Vec<String> = terms.into_iter().map(without_parentheses).collect();
    (depth == 0 && terms.iter().all(|term| !term.is_empty())).then_some(terms)
}

/// A term without the parentheses around all of it.
fn without_parentheses(term: String) -> String {
    let inner = term
        .strip_prefix('(')
        .and_then(|term| term.strip_suffix(')'));
    match inner {
        // The parentheses of `(a)==(b)` do not enclose all of it.
        Some(inner) if !inner.contains(['(', ')', '|', '?', '&']) => inner.to_owned(),
        _ => term,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WANTED: &str =
        "assertion.repository_id == '456' && assertion.repository_owner_id == '123'";

    #[test]
    fn condition_may_only_be_stricter() {
        for stricter in [
            WANTED,
            "assertion.repository_owner_id=='123'&&assertion.repository_id  ==\t\"456\"",
            "assertion.repository_id == '456' && assertion.repository_owner_id == '123' && assertion.ref == 'refs/heads/main'",
            "(assertion.repository_id == '456') && (assertion.repository_owner_id == '123')",
            "assertion.ref in ['a||b', 'c'] && assertion.repository_id == '456' && assertion.repository_owner_id == '123'",
            "assertion.repository_id == '456' && assertion.repository_owner_id == '123' && (assertion.ref == 'a' || assertion.ref == 'b')",
        ] {
            assert!(requires(stricter, WANTED), "{stricter}");
        }
        for other in [
            "",
            "true",
            "assertion.repository_id == '456'",
            "assertion.repository_owner_id == '123' && assertion.repository_id == '4567'",
            "assertion.repository_id == '456' && assertion.repository_owner_id == '123' || true",
            "(assertion.repository_id == '456' && assertion.repository_owner_id == '123') || true",
            "assertion.x ? true : assertion.repository_id == '456' && assertion.repository_owner_id == '123'",
            "!(assertion.repository_id == '456') && assertion.repository_owner_id == '123'",
            "assertion.x == 'assertion.repository_id == \"456\" && assertion.repository_owner_id == \"123\"'",
            "assertion.repository_id == '456' && // assertion.repository_owner_id == '123'",
            "assertion.repository_id == '45 6' && assertion.repository_owner_id == '123'",
            "assertion.repository_id == '456' &&",
            "assertion.repository_id == '456' && assertion.repository_owner_id == '123",
        ] {
            assert!(!requires(other, WANTED), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_condition_can_be_read(text in "[a-z'\"()|&?/ \\\\.=]{0,40}") {
            conjuncts(&text);
        }

        #[test]
        fn additional_terms_make_a_condition_stricter(
            before in "[a-z.]{1,8}", after in "[a-z.]{1,8}",
        ) {
            let condition = format!("{before} && {WANTED} && {after}");
            prop_assert!(requires(&condition, WANTED));
            let condition = format!("{before} || {WANTED}");
            prop_assert!(!requires(&condition, WANTED));
        }
    }

    #[test]
    fn mask_holds_only_what_differs() {
        let wanted = Provider {
            pool: "p".to_owned(),
            id: "github-456".to_owned(),
            purpose: String::new(),
            issuer: "https://issuer.example".to_owned(),
            mapping: vec![("google.subject".to_owned(), "assertion.sub".to_owned())],
            condition: WANTED.to_owned(),
        };
        let found = |change: Value| {
            let mut found = json!({
                "name": "projects/42/x",
                "attributeCondition": WANTED,
                "attributeMapping": {
                    "google.subject": "assertion.sub",
                    "attribute.actor": "assertion.actor",
                },
                "oidc": {
                    "issuerUri": "https://issuer.example",
                    "jwksJson": "{}",
                    "allowedAudiences": ["https://iam.googleapis.com/projects/42/x", "more"],
                },
            });
            for (field, value) in change.as_object().cloned().unwrap_or_default() {
                match field.split_once('.') {
                    Some((outer, inner)) => found[outer][inner] = value,
                    None => found[&field] = value,
                }
            }
            let found: ExistingProvider = serde_json::from_value(found).unwrap();
            let change = ProviderChange::between(&found, &wanted);
            (change.mask(), change.body())
        };
        assert_eq!(found(json!({})), (String::new(), json!({})));
        assert_eq!(
            found(json!({"disabled": true})),
            ("disabled".to_owned(), json!({"disabled": false}))
        );
        assert_eq!(
            found(json!({"oidc.allowedAudiences": ["more"]})),
            (
                "oidc.allowedAudiences".to_owned(),
                json!({"oidc": {"allowedAudiences": ["more", "https://iam.googleapis.com/projects/42/x"]}})
            )
        );
        assert_eq!(
            found(json!({"oidc.issuerUri": "https://other.example", "oidc.allowedAudiences": []})),
            (
                "oidc.issuerUri".to_owned(),
                json!({"oidc": {"issuerUri": "https://issuer.example"}})
            )
        );
        assert_eq!(
            found(json!({"attributeMapping": {"attribute.actor": "assertion.actor"}})),
            (
                "attributeMapping".to_owned(),
                json!({"attributeMapping": {
                    "google.subject": "assertion.sub",
                    "attribute.actor": "assertion.actor",
                }})
            )
        );
    }
}
