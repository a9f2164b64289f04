//! Text that must not be seen: it prints as `***`, is handed out only by name, is masked in the log
//! of a CI that can do so, and is taken out of whatever another side says.

mod forms;
mod known;
mod redact;

use std::fmt;
use std::sync::{Arc, OnceLock};

pub use forms::forms;
pub use redact::redact;

/// A key, a token or a password from the moment it is read.
///
/// `Debug` and `Display` print `***`, so that no log line and no error can hold the value by
/// accident; [`Secret::expose`] is the one way to it, and easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// Told of every secret there is, from when it is one.
static WATCHER: OnceLock<fn(&str)> = OnceLock::new();

/// Has `watcher` told of every secret from now on, so that a CI can mask it before anything is
/// printed. The first watcher of a process stays.
pub fn watch(watcher: fn(&str)) {
    let _ = WATCHER.set(watcher);
}

impl Secret {
    /// Takes `text` into custody.
    pub fn new(text: impl Into<String>) -> Self {
        let text: Arc<str> = text.into().into();
        if let Some(watcher) = WATCHER.get() {
            watcher(&text);
        }
        known::add(&text);
        Self(text)
    }

    /// The value itself, for the one place that must send it.
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
