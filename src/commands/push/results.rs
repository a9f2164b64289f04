//! What a push hands to the next step or job, by name, whichever CI it is.

use super::table::Report;
use crate::push::Pushed;
use crate::push::result::{Arrival, Missed};

/// Names in lower case and values, in the order of the documentation. Of several lines are
/// `references` and `failed` alone; none of a run that pushed nothing and did not try to.
pub(crate) fn results(report: &Report) -> Vec<(&'static str, String)> {
    // What would be pushed is nothing that a next step could pull.
    if report.dry_run || report.skipped {
        return Vec::new();
    }
    let mut results = Vec::new();
    if let Some(Arrival { pushed: first, .. }) = report.first() {
        results.push(("digest", first.digest.to_string()));
        results.push(("image", first.name.clone()));
        results.push(("reference", format!("{}@{}", first.name, first.digest)));
    }
    let pushed = report.arrivals.iter().map(|arrival| &arrival.pushed);
    let references = pushed.flat_map(|pushed| {
        let tags = pushed.tags.iter().filter(|tag| tag.kept.is_none());
        let tags = tags.map(|tag| format!("{}:{}", pushed.name, tag.tag));
        let is_untagged = pushed.tags.is_empty();
        let digest = is_untagged.then(|| format!("{}@{}", pushed.name, pushed.digest));
        tags.chain(digest)
    });
    results.push(("references", lines(references)));
    if !report.missed.is_empty() {
        results.push(("failed", lines(report.missed.iter().flat_map(lacking))));
    }
    results.extend(sums(&report.arrivals.iter().collect::<Vec<_>>()));
    results
}

/// The references that a destination did not get; its name alone where it was to get no tag.
fn lacking(missed: &Missed) -> Vec<String> {
    let name = &missed.name;
    match missed.tags.as_slice() {
        [] => vec![name.clone()],
        tags => tags.iter().map(|tag| format!("{name}:{tag}")).collect(),
    }
}

fn lines(references: impl Iterator<Item = String>) -> String {
    references.collect::<Vec<_>>().join("\n")
}

/// What many images and destinations have to hand on in common: the bytes.
pub(crate) fn sums(arrivals: &[&Arrival]) -> [(&'static str, String); 2] {
    let sum = |of: fn(&Pushed) -> u64| {
        let bytes = arrivals.iter().map(|arrival| of(&arrival.pushed));
        bytes.sum::<u64>().to_string()
    };
    [
        ("pushed_bytes", sum(|pushed| pushed.sent_bytes)),
        (
            "skipped_bytes",
            sum(|pushed| pushed.present_bytes + pushed.mounted_bytes),
        ),
    ]
}

/// The results in a few lines of at most `limit` bytes, for places that keep no more: one line a
/// destination, those that do not fit left out.
pub(crate) fn brief(arrivals: &[&Arrival], limit: usize) -> String {
    let mut text = String::new();
    for arrival in arrivals {
        let pushed = &arrival.pushed;
        let tags: Vec<_> = pushed.tags.iter().map(|tag| tag.tag.as_str()).collect();
        let line = format!("{}@{} {}", pushed.name, pushed.digest, tags.join(","));
        let line = format!("{}\n", line.trim_end());
        if text.len() + line.len() > limit {
            break;
        }
        text.push_str(&line);
    }
    text
}
