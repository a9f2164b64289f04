//! The exact text of every error that a user can meet, with its exit code. Nothing is pushed.

mod credentials;
mod names;
mod network;
mod protocol;
mod refusals;
mod result_files;
mod several_destinations;
mod sources;

use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, TestImage, classic_archive};
use crate::support::run::{Outcome, Run};

/// A Docker archive that can be pushed.
fn docker() -> Vec<u8> {
    classic_archive(&[(&TestImage::new("app", 2), &["app:1"])])
}

/// An OCI archive that is pushed byte for byte.
fn oci() -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 2), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

/// The error of a push to Google that fails with this code and puts nothing.
fn refused(google: &Google, run: Run, code: i32) -> String {
    let outcome = run.fails_with(code);
    assert!(google.is_untouched(), "{}", outcome.stderr);
    error_text(&outcome)
}

/// The text without its digests: of several concurrent blobs any may fail first.
fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let start = parts.next().unwrap_or_default().to_owned();
    parts.fold(start, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        text + "[DIGEST]" + rest
    })
}

/// The error as a user reads it; standard output is empty.
fn error_text(outcome: &Outcome) -> String {
    assert_eq!(outcome.stdout, "");
    outcome.error()
}
