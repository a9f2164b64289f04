//! gcr-push.
