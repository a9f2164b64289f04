//! The GitHub step summary of a mirror run.

use super::report::{ImageResult, MirrorReport, PlanReport};
use crate::ci::github::summary::{code, errors, plain, push_rows};
use crate::ci::table::bytes;
use crate::commands::pull_secret::report::pull_secret_summary;
use crate::commands::summary::{COLUMNS, failed_row, sign};
use crate::push::result::Status;

/// The summary of all images: first the failed destinations with the reason, then the images that
/// are not unchanged.
pub(super) fn of(report: &MirrorReport<'_>) -> String {
    let outcomes = report.outcomes;
    let sign = sign(report.status(), &report.errors);
    let mut text = format!("### gcr-push mirror: {sign} {}\n\n", report.sum());
    let failed = outcomes.iter().flat_map(|outcome| &outcome.failed);
    let rows: Vec<_> = failed.map(failed_row).collect();
    if !rows.is_empty() {
        text.push_str(COLUMNS);
        push_rows(&mut text, &rows);
        text.push('\n');
    }
    let others = report
        .rows()
        .filter(|(_, result, _)| *result != ImageResult::Unchanged);
    let rows = others.map(|(name, result, sent)| {
        format!("| {} | {} | {} |\n", result.word(), code(name), bytes(sent))
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        text.push_str("| Result | Image | Sent |\n| --- | --- | ---: |\n");
        push_rows(&mut text, &rows);
        text.push('\n');
    }
    text.push_str(&errors(&report.errors));
    if let Some(secret) = &report.pull_secret {
        text.push_str(&pull_secret_summary(secret));
    }
    text
}

/// The summary of a dry run: the images that are not up to date first.
pub(super) fn of_plan(report: &PlanReport<'_>) -> String {
    let sign = sign(report.status(), &report.errors);
    let mut text = format!(
        "### gcr-push mirror: {sign} dry run, nothing was sent\n\n{}\n\n",
        plain(&report.plan.to_string())
    );
    let rows = report.rows().map(|(image, destination, state)| {
        format!("| {state} | {} | {} |\n", code(image), code(&destination))
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        text.push_str("| State | Image | At the destination |\n| --- | --- | --- |\n");
        push_rows(&mut text, &rows);
        text.push('\n');
    }
    text.push_str(&errors(&report.errors));
    text
}

/// The summary of a run without a credential.
pub(super) fn of_skipped(notice: &str) -> String {
    let sign = sign(Status::Skipped, &[]);
    let notice = plain(notice);
    format!("### gcr-push mirror: {sign} skipped, nothing was mirrored\n\n{notice}\n")
}
