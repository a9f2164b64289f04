//! What a push hands to the next step or job, by name, whichever CI it is.

use super::Report;
use crate::commands::outputs::byte_totals;
use crate::push::result::{FailedDestination, PushedImage};

/// Names in lower case and values, in the order of the documentation. Of several lines are
/// `references` and `failed` alone; none of a run that pushed nothing and did not try to.
pub(super) fn results(report: &Report) -> Vec<(&'static str, String)> {
    // What would be pushed is nothing that a next step could pull.
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

/// The references that a destination did not get; its name alone where it was to get no tag.
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
