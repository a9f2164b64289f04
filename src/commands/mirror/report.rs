//! The reports of `mirror`: the plan of a dry run, the table of the results, and JSON.

use std::fmt;

use serde::Serialize;

use crate::ci::output::json;
use crate::ci::table::{Table, bytes};
use crate::commands::mirror::{ImageOutcome, MirrorPlan, SyncState};
use crate::commands::pull_secret::PullSecretResult;
use crate::commands::pull_secret::report::{PullSecretJson, PullSecretTable};
use crate::diagnostics::sanitize::sanitize;
use crate::oci::digest::Digest;
use crate::push::result::Status;

/// The printed report of `mirror`: one line for each image, then the failed destinations.
#[derive(Clone, Debug)]
pub(super) struct MirrorReport<'a> {
    /// The outcome of each image.
    pub outcomes: &'a [ImageOutcome],
    /// The created pull secret. `None` if none was created.
    pub pull_secret: Option<PullSecretResult>,
    /// The errors, each with its causes and hints.
    pub errors: Vec<String>,
}

/// The plan of `mirror`, as `dry_run` prints it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanReport<'a>(pub &'a MirrorPlan);

impl fmt::Display for PlanReport<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["IMAGE", "DESTINATION", "NEED"]);
        for image in &self.0.images {
            for (target, state) in &image.destinations {
                let need = match state {
                    SyncState::Missing => "missing",
                    SyncState::Outdated => "differs",
                    SyncState::ReferrersMissing => "lacks referrers",
                    SyncState::Unknown => "unknown",
                    SyncState::UpToDate => "nothing",
                };
                let tags = target.tags.join(",");
                let name = format!("{}/{}:{tags}", target.endpoint, target.repository);
                table.row([image.name.clone(), name, need.to_owned()]);
            }
        }
        for ImageOutcome { image, failed, .. } in &self.0.unplanned {
            for failed in failed {
                let name = format!("{}:{}", failed.name, failed.tags.join(","));
                table.row([image.name.clone(), name, "cannot be read".to_owned()]);
            }
        }
        writeln!(formatter, "{table}{}", self.0)
    }
}

/// The result of an image for all of its destinations together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ImageResult {
    /// It was copied to every destination that lacked it.
    Copied,
    /// Every destination had it.
    Unchanged,
    /// Some destinations failed.
    Partial,
    /// All destinations failed, and none of them is required.
    Skipped,
    /// All destinations failed.
    Failed,
}

impl ImageResult {
    const ALL: [Self; 5] = [
        Self::Copied,
        Self::Unchanged,
        Self::Partial,
        Self::Skipped,
        Self::Failed,
    ];

    fn of(outcome: &ImageOutcome) -> Self {
        let is_required = outcome.failed.iter().any(|failed| !failed.best_effort);
        match (outcome.image.state(), outcome.pushed.is_empty()) {
            (SyncState::UpToDate, _) => Self::Unchanged,
            (_, false) if outcome.failed.is_empty() => Self::Copied,
            (_, false) => Self::Partial,
            (_, true) if is_required => Self::Failed,
            (_, true) => Self::Skipped,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Unchanged => "unchanged",
            Self::Partial => "partial",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

fn sent_bytes(outcome: &ImageOutcome) -> u64 {
    let pushed = outcome.pushed.iter();
    pushed.map(|image| image.pushed.sent_bytes).sum()
}

impl fmt::Display for MirrorReport<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["IMAGE", "RESULT", "SENT"]);
        for outcome in self.outcomes {
            let result = ImageResult::of(outcome).word().to_owned();
            let sent = bytes(sent_bytes(outcome));
            table.row([outcome.image.name.clone(), result, sent]);
        }
        write!(formatter, "{table}")?;
        for failed in self.outcomes.iter().flat_map(|outcome| &outcome.failed) {
            let word = if failed.best_effort {
                "skipped"
            } else {
                "failed"
            };
            let (name, tags) = (&failed.name, failed.tags.join(","));
            let reason = failed.reason();
            writeln!(formatter, "{word}: {name}:{tags}: {}", sanitize(&reason))?;
        }
        writeln!(formatter, "{}", self.sum())?;
        match &self.pull_secret {
            Some(secret) => PullSecretTable(secret).fmt(formatter),
            None => Ok(()),
        }
    }
}

impl MirrorReport<'_> {
    /// The counts of the results and the sent bytes, in one line.
    pub(super) fn sum(&self) -> String {
        let counts = ImageResult::ALL.map(|result| (self.count(result), result.word()));
        let counts: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        format!(
            "{} {}{}{}, {} sent",
            self.outcomes.len(),
            if self.outcomes.len() == 1 {
                "image"
            } else {
                "images"
            },
            if counts.is_empty() { "" } else { ": " },
            counts.join(", "),
            bytes(self.outcomes.iter().map(sent_bytes).sum())
        )
    }

    fn count(&self, result: ImageResult) -> usize {
        let results = self.outcomes.iter().map(ImageResult::of);
        results.filter(|of_image| *of_image == result).count()
    }

    /// The name, the result and the sent bytes of each image.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, ImageResult, u64)> {
        self.outcomes.iter().map(|outcome| {
            let result = ImageResult::of(outcome);
            (outcome.image.name.as_str(), result, sent_bytes(outcome))
        })
    }

    /// The report as one JSON document with a newline at its end.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            status: Status,
            errors: &'a [String],
            images: Vec<Image<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pull_secret: Option<PullSecretJson<'a>>,
        }
        #[derive(Serialize)]
        struct Image<'a> {
            image: &'a str,
            result: ImageResult,
            sent_bytes: u64,
            destinations: Vec<Destination<'a>>,
        }
        #[derive(Serialize)]
        struct Destination<'a> {
            image: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            digest: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<String>,
        }

        let images = self.outcomes.iter().map(|outcome| {
            let pushed = outcome.pushed.iter().flat_map(|image| {
                let pushed = &image.pushed;
                pushed.tags.iter().map(|tag| Destination {
                    image: format!("{}:{}", pushed.name, tag.tag),
                    digest: Some(pushed.digest.as_str()),
                    error: None,
                })
            });
            let failed = outcome.failed.iter().map(|failed| Destination {
                image: format!("{}:{}", failed.name, failed.tags.join(",")),
                digest: None,
                error: Some(failed.reason()),
            });
            let unchanged = outcome.image.up_to_date().map(|target| Destination {
                image: format!(
                    "{}/{}:{}",
                    target.endpoint,
                    target.repository,
                    target.tags.join(",")
                ),
                digest: outcome.image.digest.as_ref().map(Digest::as_str),
                error: None,
            });
            Image {
                image: &outcome.image.name,
                result: ImageResult::of(outcome),
                sent_bytes: sent_bytes(outcome),
                destinations: unchanged.chain(pushed).chain(failed).collect(),
            }
        });
        json(&Document {
            status: self.status(),
            errors: &self.errors,
            images: images.collect(),
            pull_secret: self.pull_secret.as_ref().map(PullSecretJson::from),
        })
    }

    /// The status of the whole run.
    pub(super) fn status(&self) -> Status {
        use ImageResult::{Copied, Partial, Unchanged};
        let [copied, unchanged, partial] = [Copied, Unchanged, Partial].map(|r| self.count(r));
        if copied + unchanged == self.outcomes.len() && self.errors.is_empty() {
            if copied == 0 {
                Status::Unchanged
            } else {
                Status::Pushed
            }
        } else if copied + unchanged + partial == 0 {
            Status::Failed
        } else {
            Status::Partial
        }
    }
}

/// The JSON report of a run that was skipped because there is no credential.
pub(super) fn skipped_json(notice: &str) -> String {
    json(&serde_json::json!({
        "status": Status::Skipped,
        "notes": [notice],
        "errors": [],
        "images": [],
    }))
}
