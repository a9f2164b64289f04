//! The GitHub step summary of a push.

use super::Report;
use crate::ci::github::summary::{code, errors, plain, push_rows};
use crate::ci::table::bytes;
use crate::commands::pull_secret::report::pull_secret_summary;
use crate::commands::summary::{COLUMNS, failed_row, sign};
use crate::push::result::{PushedImage, Status};

/// The summary of a push: the headline, the table of destinations, and the digests to be copied.
pub(super) fn of(report: &Report) -> String {
    let mut text = format!("### gcr-push: {}\n\n", headline(report));
    let failed = report.failed.iter().map(failed_row);
    let pushed = report.pushed.iter();
    let pushed = pushed.map(|image| pushed_row(image, report.dry_run));
    let rows: Vec<_> = failed.chain(pushed).collect();
    if !rows.is_empty() {
        text.push_str(COLUMNS);
        push_rows(&mut text, &rows);
    }
    if !report.pushed.is_empty() {
        text.push_str(&format!("\n{}\n", bytes_of(report)));
    }
    for note in &report.notes {
        text.push_str(&format!("\n{}\n", plain(note)));
    }
    let verified = report.pushed.iter().filter_map(|one| one.verified.as_ref());
    for doubt in verified.flat_map(|verified| &verified.doubts) {
        text.push_str(&format!("\n:warning: {}\n", plain(doubt)));
    }
    text.push_str(&errors(&report.errors));
    if !report.dry_run {
        text.push_str(&digests(report));
    }
    if let Some(secret) = &report.pull_secret {
        text.push_str(&pull_secret_summary(secret));
    }
    text
}

fn bytes_of(report: &Report) -> String {
    let sum = |of: fn(&PushedImage) -> u64| bytes(report.pushed.iter().map(of).sum::<u64>());
    let (sent, there) = (sum(|one| one.pushed.sent_bytes), sum(saved));
    let seconds = report.took.as_secs_f64();
    if report.dry_run {
        format!("{sent} would be sent, {there} already exist; checked in {seconds:.1} s.")
    } else {
        format!("{sent} sent, {there} already existed, in {seconds:.1} s.")
    }
}

/// Every distinct digest, in a block that GitHub shows with a copy button.
fn digests(report: &Report) -> String {
    let mut digests: Vec<&str> = Vec::new();
    for PushedImage { pushed, .. } in &report.pushed {
        if !digests.contains(&pushed.digest.as_str()) {
            digests.push(pushed.digest.as_str());
        }
    }
    let block = |digest: &&str| format!("\n```text\n{digest}\n```\n");
    digests.iter().map(block).collect()
}

/// The status of the push in one line.
fn headline(report: &Report) -> String {
    let status = report.status();
    let (pushed, failed) = (report.pushed.len(), report.failed.len());
    let status_text = match (status, report.pushed.as_slice()) {
        (Status::DryRun, _) => "dry run, nothing was sent".to_owned(),
        (Status::Skipped, _) => "skipped, nothing was pushed".to_owned(),
        (Status::Failed, _) => "failed, nothing was pushed".to_owned(),
        (Status::Partial, _) if report.dry_run => {
            format!(
                "dry run, {failed} of {} cannot be pushed to",
                pushed + failed
            )
        }
        (Status::Partial, _) if failed == 0 => "failed after the image was pushed".to_owned(),
        (Status::Partial, _) => format!(
            "{}{failed} of {} destinations {} not got the image",
            if report.errors.is_empty() {
                ""
            } else {
                "failed: "
            },
            pushed + failed,
            if failed == 1 { "has" } else { "have" }
        ),
        (Status::Kept, _) => "kept, no tag was moved".to_owned(),
        (Status::Unchanged, [one]) => format!("{} already existed", code(&one.pushed.name)),
        (Status::Unchanged, _) => "it already existed".to_owned(),
        (Status::Pushed, [one]) => format!("pushed {}", code(&one.pushed.name)),
        (Status::Pushed, several) => format!("pushed to {} repositories", several.len()),
    };
    format!("{} {status_text}", sign(status, &report.errors))
}

fn pushed_row(image: &PushedImage, dry_run: bool) -> String {
    let pushed = &image.pushed;
    let tags: Vec<_> = pushed
        .tags
        .iter()
        .map(|tag| match &tag.kept {
            Some(kept) => format!("{} (stays at {})", code(&tag.tag), code(kept.short())),
            None => code(&tag.tag),
        })
        .collect();
    let result = match (image.status(), dry_run) {
        (Status::Kept, true) => "would be kept",
        (Status::Kept, false) => "kept",
        (Status::Unchanged, _) => "already exists",
        (_, true) => "would be pushed",
        (_, false) => "pushed",
    };
    let checked = match &image.verified {
        Some(verified) if verified.doubts.is_empty() => ", checked",
        Some(_) => ", checked by digest and tag",
        None if dry_run => "",
        None => ", not checked",
    };
    format!(
        "| {result}{checked} | {} | {} | {} | {} |\n",
        code(&pushed.name),
        tags.join(" "),
        code(pushed.digest.short()),
        bytes(pushed.sent_bytes),
    )
}

/// The bytes that were not sent because they existed already.
fn saved(image: &PushedImage) -> u64 {
    image.pushed.present_bytes + image.pushed.mounted_bytes
}
