//! Starts gcr-push.
fn main() {}
