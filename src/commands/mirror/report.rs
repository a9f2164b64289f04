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
    /// What objects of a cluster name as an image and is none.
    pub unreadable: &'a [String],
    /// The created pull secret. `None` if none was created.
    pub pull_secret: Option<PullSecretResult>,
    /// The errors, each with its causes and hints.
    pub errors: Vec<String>,
}

const UNREADABLE: &str = "cannot be read";

/// The plan of `mirror`, as `dry_run` prints it.
#[derive(Clone, Debug)]
pub(super) struct PlanReport<'a> {
    pub plan: &'a MirrorPlan,
    /// The errors, each with its causes and hints.
    pub errors: Vec<String>,
}

impl PlanReport<'_> {
    /// The name of each image, its name at each destination, and its state there.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, String, &'static str)> {
        let images = self.plan.images.iter().flat_map(|image| {
            let destinations = image.destinations.iter();
            destinations
                .map(|(target, state)| (image.name.as_str(), image.name_at(target), state.word()))
        });
        let unplanned = self.plan.unplanned.iter().flat_map(|outcome| {
            let image = &outcome.image;
            let targets = image.pending();
            targets.map(|target| (image.name.as_str(), image.name_at(target), UNREADABLE))
        });
        let unreadable = self.plan.unreadable.iter();
        let unreadable = unreadable.map(|name| (name.as_str(), "-".to_owned(), UNREADABLE));
        images.chain(unplanned).chain(unreadable)
    }

    /// The report as one JSON document with a newline at its end.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Row<'a> {
            image: &'a str,
            destination: String,
            state: &'a str,
        }
        let rows = self.rows();
        let rows = rows.map(|(image, destination, state)| Row {
            image,
            destination,
            state,
        });
        json(&serde_json::json!({
            "status": self.status(),
            "errors": self.errors,
            "images": rows.collect::<Vec<_>>(),
        }))
    }

    /// The status of the whole run.
    pub(super) fn status(&self) -> Status {
        if self.errors.is_empty() {
            Status::DryRun
        } else {
            Status::Failed
        }
    }
}

impl fmt::Display for PlanReport<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["IMAGE", "DESTINATION", "STATE"]);
        for (image, destination, state) in self.rows() {
            table.row([image.to_owned(), destination, state.to_owned()]);
        }
        writeln!(formatter, "{table}{}", self.plan)
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

/// `host/repository:tag`, or without a tag `host/repository`.
fn name_with_tags(name: &str, tags: &[String]) -> String {
    match tags {
        [] => name.to_owned(),
        tags => format!("{name}:{}", tags.join(",")),
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
        for name in self.unreadable {
            let failed = ImageResult::Failed.word().to_owned();
            table.row([name.clone(), failed, bytes(0)]);
        }
        write!(formatter, "{table}")?;
        for failed in self.outcomes.iter().flat_map(|outcome| &outcome.failed) {
            let word = if failed.best_effort {
                "skipped"
            } else {
                "failed"
            };
            let name = name_with_tags(&failed.name, &failed.tags);
            let reason = failed.reason();
            writeln!(formatter, "{word}: {name}: {}", sanitize(&reason))?;
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
            self.outcomes.len() + self.unreadable.len(),
            if self.outcomes.len() + self.unreadable.len() == 1 {
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
        let unreadable = match result {
            ImageResult::Failed => self.unreadable.len(),
            _ => 0,
        };
        results.filter(|of_image| *of_image == result).count() + unreadable
    }

    /// The name, the result and the sent bytes of each image.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, ImageResult, u64)> {
        let outcomes = self.outcomes.iter().map(|outcome| {
            let result = ImageResult::of(outcome);
            (outcome.image.name.as_str(), result, sent_bytes(outcome))
        });
        let unreadable = self.unreadable.iter();
        outcomes.chain(unreadable.map(|name| (name.as_str(), ImageResult::Failed, 0)))
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
                let names = pushed.tags.iter();
                let mut names: Vec<_> = names
                    .map(|tag| format!("{}:{}", pushed.name, tag.tag))
                    .collect();
                if names.is_empty() {
                    names.push(format!("{}@{}", pushed.name, pushed.digest));
                }
                names.into_iter().map(|image| Destination {
                    image,
                    digest: Some(pushed.digest.as_str()),
                    error: None,
                })
            });
            let failed = outcome.failed.iter().map(|failed| Destination {
                image: name_with_tags(&failed.name, &failed.tags),
                digest: None,
                error: Some(failed.reason()),
            });
            let unchanged = outcome.image.up_to_date().map(|target| Destination {
                image: outcome.image.name_at(target),
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
        let unreadable = self.unreadable.iter().map(|name| Image {
            image: name,
            result: ImageResult::Failed,
            sent_bytes: 0,
            destinations: Vec::new(),
        });
        json(&Document {
            status: self.status(),
            errors: &self.errors,
            images: images.chain(unreadable).collect(),
            pull_secret: self.pull_secret.as_ref().map(PullSecretJson::from),
        })
    }

    /// The status of the whole run.
    pub(super) fn status(&self) -> Status {
        use ImageResult::{Copied, Partial, Unchanged};
        let [copied, unchanged, partial] = [Copied, Unchanged, Partial].map(|r| self.count(r));
        if copied + unchanged == self.outcomes.len() + self.unreadable.len()
            && self.errors.is_empty()
        {
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
