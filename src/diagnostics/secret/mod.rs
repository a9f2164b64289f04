//! Secrets. They are printed as `***`, accessed only by name, masked in the logs of CIs that
//! support it, and redacted from the text of servers.

mod forms;
mod known;
mod redact;

use std::fmt;
use std::sync::{Arc, OnceLock};

pub use forms::forms;
pub use redact::redact;

/// A key, a token or a password, from the moment it is read.
///
/// `Debug` and `Display` print `***`, so that no log line and no error contains the value by
/// accident. [`Secret::expose`] is the only access to it, and easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// The function that is called for every secret.
static WATCHER: OnceLock<fn(&str)> = OnceLock::new();

/// Calls `watcher` for every secret from now on, so that a CI can mask it before anything is
/// printed. Only the first watcher of a process is used.
pub fn watch(watcher: fn(&str)) {
    let _ = WATCHER.set(watcher);
}

impl Secret {
    /// Registers `text` as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        let text: Arc<str> = text.into().into();
        if let Some(watcher) = WATCHER.get() {
            watcher(&text);
        }
        known::add(&text);
        Self(text)
    }

    /// The value, for the place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_formatted_as_three_stars() {
        let secret = Secret::new("ya29.very-secret");
        assert_eq!(format!("{secret}"), "***");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(***)");
        assert_eq!(secret.expose(), "ya29.very-secret");
    }
}
