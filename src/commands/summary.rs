//! The common parts of the GitHub step summaries.

use crate::ci::github::summary::{code, plain};
use crate::push::result::{FailedDestination, Status};

/// The head of the table of destinations. The result comes first, and all columns fit on a page.
pub(super) const COLUMNS: &str =
    "| Result | Image | Tags | Digest | Sent |\n| --- | --- | --- | --- | ---: |\n";

/// The emoji before a headline.
pub(super) fn sign(status: Status, errors: &[String]) -> &'static str {
    match status {
        _ if !errors.is_empty() => ":x:",
        Status::Pushed | Status::Unchanged | Status::Kept => ":white_check_mark:",
        Status::DryRun | Status::Skipped => ":information_source:",
        Status::Partial => ":warning:",
        Status::Failed => ":x:",
    }
}

/// The row of a destination that did not get the image.
pub(super) fn failed_row(failed: &FailedDestination) -> String {
    let tags: Vec<_> = failed.tags.iter().map(|tag| code(tag)).collect();
    let sign = if failed.best_effort {
        ":warning: missed"
    } else {
        ":x: failed"
    };
    format!(
        "| {sign}: {} | {} | {} | | |\n",
        plain(&failed.reason()),
        code(&failed.name),
        tags.join(" "),
    )
}
