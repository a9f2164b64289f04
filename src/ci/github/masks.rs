//! Masks: what GitHub's runner is to hide in the log of the job from now on.
//!
//! A key from a repository's secrets is masked by the runner itself; the tokens that it buys, and
//! what is inside a key that came as base64, are not. The runner makes more forms of each mask by
//! itself: base64, JSON, URI and XML escapes (actions/runner, `ValueEncoders.cs`).

use std::collections::HashSet;
use std::io::Write as _;

use parking_lot::Mutex;

use super::command;
use crate::diagnostics::secret;

/// Masks every secret from when it is known, for the life of the process.
///
/// Only for the container of an action, whose output the runner alone reads: elsewhere it may lead
/// into a file, and the command would be what shows the secret.
pub fn start() {
    secret::watch(|text| {
        static MASKED: Mutex<Option<HashSet<String>>> = Mutex::new(None);
        let mut masked = MASKED.lock();
        let masked = masked.get_or_insert_default();
        let mut lines = String::new();
        for form in secret::forms(text) {
            if !masked.contains(&form) {
                lines.push_str(&command("add-mask", &[], &form));
                lines.push('\n');
                masked.insert(form);
            }
        }
        // One write, so that no line of another thread gets in between.
        let _ = std::io::stderr().write_all(lines.as_bytes());
    });
}
