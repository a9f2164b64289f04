//! What a push hands to the next step or job, by name, whichever CI it is.

use super::{Arrival, Report};
use crate::push::Pushed;

/// Names in lower case and values, in the order of the documentation. Of several lines is
/// `references` alone.
pub(super) fn results(report: &Report) -> Vec<(&'static str, String)> {
    let pushed: Vec<_> = report
        .arrivals
        .iter()
        .map(|arrival| &arrival.pushed)
        .collect();
    let mut results = Vec::new();
    if let Some(first) = pushed.first() {
        results.push(("digest", first.digest.to_string()));
        results.push(("image", first.name.clone()));
        results.push(("reference", format!("{}@{}", first.name, first.digest)));
    }
    let references: Vec<_> = pushed
        .iter()
        .flat_map(|pushed| {
            let tags = pushed.tags.iter().filter(|tag| tag.kept.is_none());
            let tags = tags.map(|tag| format!("{}:{}", pushed.name, tag.tag));
            let is_untagged = pushed.tags.is_empty();
            let digest = is_untagged.then(|| format!("{}@{}", pushed.name, pushed.digest));
            tags.chain(digest).collect::<Vec<_>>()
        })
        .collect();
    results.push(("references", references.join("\n")));
    results.extend(sums(&report.arrivals.iter().collect::<Vec<_>>()));
    results
}

/// What many images and destinations have to hand on in common: the bytes.
pub(super) fn sums(arrivals: &[&Arrival]) -> [(&'static str, String); 2] {
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
pub(super) fn brief(arrivals: &[&Arrival], limit: usize) -> String {
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
