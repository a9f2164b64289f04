//! The JSON report of a push, for `report_file`.

use serde::Serialize;

use super::Report;
use crate::ci::output::json;
use crate::commands::pull_secret::report::PullSecretJson;
use crate::oci::digest::Digest;
use crate::push::result::{FailedDestination, PushedImage, Status};

#[derive(Serialize)]
struct Document<'a> {
    status: Status,
    dry_run: bool,
    destinations: Vec<Destination<'a>>,
    missed: Vec<Failed<'a>>,
    notes: &'a [String],
    errors: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_secret: Option<PullSecretJson<'a>>,
    seconds: f64,
}

#[derive(Serialize)]
struct Destination<'a> {
    image: &'a str,
    digest: &'a str,
    reference: String,
    tags: Vec<Tag<'a>>,
    sent_bytes: u64,
    mounted_bytes: u64,
    present_bytes: u64,
    reread_blobs: u64,
    reread_bytes: u64,
    referrers: usize,
    verified: bool,
    doubts: &'a [String],
}

#[derive(Serialize)]
struct Tag<'a> {
    tag: &'a str,
    moved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a str>,
}

#[derive(Serialize)]
struct Failed<'a> {
    image: &'a str,
    tags: &'a [String],
    best_effort: bool,
    error: String,
}

/// Renders the report as one JSON document with a newline at its end.
pub(super) fn report(report: &Report) -> String {
    let destinations = report.pushed.iter().map(destination).collect();
    let document = Document {
        status: report.status(),
        dry_run: report.dry_run,
        destinations,
        missed: report.failed.iter().map(failed).collect(),
        notes: &report.notes,
        errors: &report.errors,
        pull_secret: report.pull_secret.as_ref().map(PullSecretJson::from),
        seconds: report.took.as_secs_f64(),
    };
    json(&document)
}

fn failed(failed: &FailedDestination) -> Failed<'_> {
    Failed {
        image: &failed.name,
        tags: &failed.tags,
        best_effort: failed.best_effort,
        error: failed.reason(),
    }
}

fn destination(image: &PushedImage) -> Destination<'_> {
    let pushed = &image.pushed;
    Destination {
        image: &pushed.name,
        digest: pushed.digest.as_str(),
        reference: format!("{}@{}", pushed.name, pushed.digest),
        tags: pushed
            .tags
            .iter()
            .map(|tag| Tag {
                tag: &tag.tag,
                moved: tag.moved,
                kept: tag.kept.as_ref().map(Digest::as_str),
            })
            .collect(),
        sent_bytes: pushed.sent_bytes,
        mounted_bytes: pushed.mounted_bytes,
        present_bytes: pushed.present_bytes,
        reread_blobs: pushed.reread.0,
        reread_bytes: pushed.reread.1,
        referrers: pushed.referrers,
        verified: image.verified.is_some(),
        doubts: image
            .verified
            .as_ref()
            .map(|verified| verified.doubts.as_slice())
            .unwrap_or_default(),
    }
}
