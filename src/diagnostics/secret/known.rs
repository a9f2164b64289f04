//! Every secret that the process holds, in the forms in which another side may quote it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::forms::forms;

/// A secret, for as long as somebody holds it.
struct Known {
    secret: Weak<str>,
    forms: Arc<[String]>,
}

/// What is held, and how much there may be before what is gone is swept out.
static KNOWN: Mutex<(Vec<Known>, usize)> = Mutex::new((Vec::new(), 64));

/// From now on it is known, until it is dropped.
pub(super) fn add(secret: &Arc<str>) {
    let mut forms = forms(secret);
    let escaped = forms.iter().map(|form| escaped(form));
    let escaped: Vec<String> = escaped.filter(|form| !forms.contains(form)).collect();
    forms.extend(escaped);
    if forms.is_empty() {
        return;
    }
    let known = Known {
        secret: Arc::downgrade(secret),
        forms: forms.into(),
    };
    let mut held = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (all, limit) = &mut *held;
    if all.len() >= *limit {
        all.retain(|known| known.secret.strong_count() > 0);
        *limit = (all.len() * 2).max(64);
    }
    all.push(known);
}

/// The forms of every secret that is held now.
pub(super) fn all() -> Vec<Arc<[String]>> {
    let held = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let alive = held
        .0
        .iter()
        .filter(|known| known.secret.strong_count() > 0);
    alive.map(|known| Arc::clone(&known.forms)).collect()
}

/// As it stands between the quotes of a JSON text.
fn escaped(form: &str) -> String {
    let quoted = serde_json::Value::from(form).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
