//! The named outputs of a push for the next step or job of a CI.

use super::Report;
use crate::commands::outputs::byte_totals;
use crate::push::result::{FailedDestination, PushedImage};

/// The names (in lower case) and values of the outputs, in the order of the documentation. Only
/// `references` and `failed` have several lines. Empty for a dry run and a skipped run.
pub(super) fn results(report: &Report) -> Vec<(&'static str, String)> {
    // The next step could not pull the image.
    if report.dry_run || report.skipped {
        return Vec::new();
    }
    let mut results = Vec::new();
    if let Some(PushedImage { pushed: first, .. }) = report.first() {
        results.push(("digest", first.digest.to_string()));
        results.push(("image", first.name.clone()));
        results.push(("reference", format!("{}@{}", first.name, first.digest)));
    }
    let pushed = report.pushed.iter().map(|image| &image.pushed);
    let references = pushed.flat_map(|pushed| {
        let tags = pushed.tags.iter().filter(|tag| tag.kept.is_none());
        let tags = tags.map(|tag| format!("{}:{}", pushed.name, tag.tag));
        let is_untagged = pushed.tags.is_empty();
        let digest = is_untagged.then(|| format!("{}@{}", pushed.name, pushed.digest));
        tags.chain(digest)
    });
    results.push(("references", lines(references)));
    if !report.failed.is_empty() {
        results.push((
            "failed",
            lines(report.failed.iter().flat_map(references_of)),
        ));
    }
    results.extend(byte_totals(&report.pushed.iter().collect::<Vec<_>>()));
    results
}

/// The references of a failed destination, or its name if it has no tags.
fn references_of(failed: &FailedDestination) -> Vec<String> {
    let name = &failed.name;
    match failed.tags.as_slice() {
        [] => vec![name.clone()],
        tags => tags.iter().map(|tag| format!("{name}:{tag}")).collect(),
    }
}

fn lines(references: impl Iterator<Item = String>) -> String {
    references.collect::<Vec<_>>().join("\n")
}
