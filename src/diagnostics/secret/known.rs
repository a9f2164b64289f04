//! All secrets of the process, in the forms in which a server may quote them.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::forms::forms;

/// A secret, as long as it is in use.
struct Entry {
    secret: Weak<str>,
    forms: Arc<[String]>,
}

/// The secrets, and the number of them at which dropped ones are removed.
static SECRETS: Mutex<(Vec<Entry>, usize)> = Mutex::new((Vec::new(), 64));

/// Registers a secret until it is dropped.
pub(super) fn add(secret: &Arc<str>) {
    let mut forms = forms(secret);
    let escaped = forms.iter().map(|form| escaped(form));
    let escaped: Vec<String> = escaped.filter(|form| !forms.contains(form)).collect();
    forms.extend(escaped);
    if forms.is_empty() {
        return;
    }
    let known = Entry {
        secret: Arc::downgrade(secret),
        forms: forms.into(),
    };
    let mut registry = SECRETS.lock();
    let (all, limit) = &mut *registry;
    if all.len() >= *limit {
        all.retain(|known| known.secret.strong_count() > 0);
        *limit = (all.len() * 2).max(64);
    }
    all.push(known);
}

/// Returns the forms of all current secrets.
pub(super) fn all() -> Vec<Arc<[String]>> {
    let registry = SECRETS.lock();
    let alive = registry
        .0
        .iter()
        .filter(|known| known.secret.strong_count() > 0);
    alive.map(|known| Arc::clone(&known.forms)).collect()
}

/// Escapes a text as in a JSON string.
fn escaped(form: &str) -> String {
    let quoted = serde_json::Value::from(form).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
