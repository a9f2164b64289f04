//! Masks, which make GitHub's runner hide a secret in the log of the job.
//!
//! The runner itself masks the repository's secrets, but neither the tokens that are issued for a
//! key nor the content of a key in base64. It adds other encodings of each mask by itself: base64,
//! JSON, URI and XML escapes (actions/runner, `ValueEncoders.cs`).

use std::collections::HashSet;
use std::io::Write as _;

use parking_lot::Mutex;

use super::command;
use crate::diagnostics::secret;

/// Masks every secret as soon as it is known, for the rest of the process.
///
/// This is only for the container of an action, whose output only the runner reads. Elsewhere the
/// output may go to a file, where the command itself would reveal the secret.
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
        // A single write, so that lines of other threads do not mix with it.
        let _ = std::io::stderr().write_all(lines.as_bytes());
    });
}
