//! What a push hands to the next step or job, by name, whichever CI it is.

use super::{Arrival, Report};

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
            tags.map(|tag| format!("{}:{}", pushed.name, tag.tag))
        })
        .collect();
    results.push(("references", references.join("\n")));
    let sum = |bytes: Vec<u64>| bytes.iter().sum::<u64>().to_string();
    results.push((
        "pushed_bytes",
        sum(pushed.iter().map(|pushed| pushed.sent_bytes).collect()),
    ));
    results.push((
        "skipped_bytes",
        sum(pushed
            .iter()
            .map(|pushed| pushed.present_bytes + pushed.mounted_bytes)
            .collect()),
    ));
    results
}

/// The results in a few lines of at most `limit` bytes, for places that keep no more: one line a
/// destination, those that do not fit left out.
pub(super) fn brief(arrivals: &[&Arrival], limit: usize) -> String {
    let mut text = String::new();
    for arrival in arrivals {
        let pushed = &arrival.pushed;
        let tags: Vec<_> = pushed.tags.iter().map(|tag| tag.tag.as_str()).collect();
        let line = format!("{}@{} {}\n", pushed.name, pushed.digest, tags.join(","));
        if text.len() + line.len() > limit {
            break;
        }
        text.push_str(&line);
    }
    text
}
