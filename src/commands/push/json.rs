//! The report as JSON, for `report_file`.

use std::path::Path;

use serde::Serialize;

use super::table::{Report, Status};
use crate::commands::pull_secret::{PullSecretResult, utc};
use crate::oci::digest::Digest;
use crate::push::result::Arrival;

#[derive(Serialize)]
struct Document<'a> {
    status: Status,
    dry_run: bool,
    destinations: Vec<Destination<'a>>,
    missed: Vec<Missed<'a>>,
    notes: &'a [String],
    errors: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_secret: Option<PullSecret<'a>>,
    seconds: f64,
}

#[derive(Serialize)]
pub(crate) struct PullSecret<'a> {
    name: &'a str,
    hosts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    changes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
}

impl<'a> From<&'a PullSecretResult> for PullSecret<'a> {
    fn from(secret: &'a PullSecretResult) -> Self {
        Self {
            name: &secret.name,
            hosts: &secret.hosts,
            expires_at: secret.expires_at.map(utc),
            file: secret.file.as_deref(),
            changes: &secret.changes,
            pod: secret.pod.as_deref(),
        }
    }
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
struct Missed<'a> {
    image: &'a str,
    tags: &'a [String],
    best_effort: bool,
    why: &'a str,
}

/// Writes the report as one JSON document with a newline at its end.
pub fn write(report: &Report) -> String {
    let destinations = report.arrivals.iter().map(destination).collect();
    let document = Document {
        status: report.status(),
        dry_run: report.dry_run,
        destinations,
        missed: report.missed.iter().map(missed).collect(),
        notes: &report.notes,
        errors: &report.errors,
        pull_secret: report.pull_secret.as_ref().map(PullSecret::from),
        seconds: report.took.as_secs_f64(),
    };
    text(&document)
}

/// The report of a run that got to none of its own: what failed, each with its causes and hints.
pub(crate) fn of_failure(errors: &[String]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        status: Status,
        errors: &'a [String],
    }

    text(&Document {
        status: Status::Failed,
        errors,
    })
}

/// A document with a newline at its end.
pub(crate) fn text(document: &impl Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "strings, numbers and lists always make JSON"
    )]
    let mut text = serde_json::to_string_pretty(document).expect("a report is JSON");
    text.push('\n');
    text
}

fn missed(missed: &crate::push::result::Missed) -> Missed<'_> {
    Missed {
        image: &missed.name,
        tags: &missed.tags,
        best_effort: missed.best_effort,
        why: &missed.why,
    }
}

fn destination(arrival: &Arrival) -> Destination<'_> {
    let pushed = &arrival.pushed;
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
        verified: arrival.verified.is_some(),
        doubts: arrival
            .verified
            .as_ref()
            .map(|verified| verified.doubts.as_slice())
            .unwrap_or_default(),
    }
}
