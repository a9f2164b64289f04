//! The report of many images: a line an image, and what did not arrive with its reason.

use std::fmt;

use serde::Serialize;

use crate::ci::table::{Table, bytes};
use crate::commands::mirror::{ImageOutcome, MirrorPlan, SyncState};
use crate::commands::pull_secret::PullSecretResult;
use crate::commands::pull_secret::report::PullSecretTable;
use crate::commands::push::json::{self, PullSecret};
use crate::commands::push::table::Status;
use crate::diagnostics::sanitize::sanitize;
use crate::oci::digest::Digest;

/// The report of `mirror`, as it is printed.
#[derive(Clone, Debug)]
pub struct MirrorReport<'a> {
    /// What came of each image.
    pub outcomes: &'a [ImageOutcome],
    /// What became of the pull secret, when it was given out.
    pub pull_secret: Option<PullSecretResult>,
    /// What failed, each with its causes and hints.
    pub errors: Vec<String>,
}

/// The plan of `mirror`, as `dry_run` prints it.
#[derive(Clone, Copy, Debug)]
pub struct PlanReport<'a>(pub &'a MirrorPlan);

impl fmt::Display for PlanReport<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["IMAGE", "DESTINATION", "NEED"]);
        for item in &self.0.items {
            for (target, need) in &item.homes {
                let need = match need {
                    SyncState::Missing => "missing",
                    SyncState::Outdated => "differs",
                    SyncState::ReferrersMissing => "lacks referrers",
                    SyncState::Unknown => "to be looked at",
                    SyncState::UpToDate => "nothing",
                };
                let tags = target.tags.join(",");
                let name = format!("{}/{}:{tags}", target.endpoint, target.repository);
                table.row([item.name.clone(), name, need.to_owned()]);
            }
        }
        for ImageOutcome { item, missed, .. } in &self.0.unplanned {
            for missed in missed {
                let name = format!("{}:{}", missed.name, missed.tags.join(","));
                table.row([item.name.clone(), name, "cannot be read".to_owned()]);
            }
        }
        writeln!(formatter, "{table}{}", self.0)
    }
}

/// What became of an image at all its destinations together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Result {
    Same,
    Brought,
    Partly,
    Missed,
    Failed,
}

impl Result {
    fn of(outcome: &ImageOutcome) -> Self {
        let counts = outcome.missed.iter().any(|missed| !missed.best_effort);
        match (outcome.item.need(), outcome.arrivals.is_empty()) {
            (SyncState::UpToDate, _) => Self::Same,
            (_, false) if outcome.missed.is_empty() => Self::Brought,
            (_, false) => Self::Partly,
            (_, true) if counts => Self::Failed,
            (_, true) => Self::Missed,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Brought => "brought",
            Self::Partly => "partly",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }
}

fn sent(outcome: &ImageOutcome) -> u64 {
    let arrivals = outcome.arrivals.iter();
    arrivals.map(|arrival| arrival.pushed.sent_bytes).sum()
}

impl fmt::Display for MirrorReport<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["IMAGE", "RESULT", "SENT"]);
        for outcome in self.outcomes {
            let result = Result::of(outcome).word().to_owned();
            table.row([outcome.item.name.clone(), result, bytes(sent(outcome))]);
        }
        write!(formatter, "{table}")?;
        for missed in self.outcomes.iter().flat_map(|outcome| &outcome.missed) {
            let what = if missed.best_effort {
                "missed"
            } else {
                "failed"
            };
            let tags = missed.tags.join(",");
            writeln!(
                formatter,
                "{what}: {}:{tags}: {}",
                missed.name,
                sanitize(&missed.why)
            )?;
        }
        writeln!(formatter, "{}", self.sum())?;
        match &self.pull_secret {
            Some(secret) => PullSecretTable(secret).fmt(formatter),
            None => Ok(()),
        }
    }
}

impl MirrorReport<'_> {
    /// What became of all images together.
    pub(crate) fn sum(&self) -> String {
        let count = |result| {
            self.outcomes
                .iter()
                .filter(|o| Result::of(o) == result)
                .count()
        };
        let parts = [
            Result::Brought,
            Result::Same,
            Result::Partly,
            Result::Missed,
            Result::Failed,
        ];
        let parts = parts.map(|result| (count(result), result.word()));
        let told = parts.iter().filter(|(count, _)| *count > 0);
        let told: Vec<_> = told
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let images = if self.outcomes.len() == 1 {
            "image"
        } else {
            "images"
        };
        format!(
            "{} {images}{}{}, {} sent",
            self.outcomes.len(),
            if told.is_empty() { "" } else { ": " },
            told.join(", "),
            bytes(self.outcomes.iter().map(sent).sum())
        )
    }

    /// Each image's name, what became of it, and how many bytes were sent for it.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        self.outcomes.iter().map(|outcome| {
            let word = Result::of(outcome).word();
            (outcome.item.name.as_str(), word, sent(outcome))
        })
    }

    /// The report as one JSON document with a newline at its end.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            status: Status,
            errors: &'a [String],
            images: Vec<Image<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pull_secret: Option<PullSecret<'a>>,
        }
        #[derive(Serialize)]
        struct Image<'a> {
            image: &'a str,
            result: Result,
            sent_bytes: u64,
            destinations: Vec<Destination<'a>>,
        }
        #[derive(Serialize)]
        struct Destination<'a> {
            image: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            digest: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            why: Option<&'a str>,
        }

        let images = self.outcomes.iter().map(|outcome| {
            let arrived = outcome.arrivals.iter().flat_map(|arrival| {
                let pushed = &arrival.pushed;
                pushed.tags.iter().map(|tag| Destination {
                    image: format!("{}:{}", pushed.name, tag.tag),
                    digest: Some(pushed.digest.as_str()),
                    why: None,
                })
            });
            let missed = outcome.missed.iter().map(|missed| Destination {
                image: format!("{}:{}", missed.name, missed.tags.join(",")),
                digest: None,
                why: Some(&missed.why),
            });
            let there = outcome.item.there().map(|target| Destination {
                image: format!(
                    "{}/{}:{}",
                    target.endpoint,
                    target.repository,
                    target.tags.join(",")
                ),
                digest: outcome.item.digest.as_ref().map(Digest::as_str),
                why: None,
            });
            Image {
                image: &outcome.item.name,
                result: Result::of(outcome),
                sent_bytes: sent(outcome),
                destinations: there.chain(arrived).chain(missed).collect(),
            }
        });
        json::text(&Document {
            status: self.status(),
            errors: &self.errors,
            images: images.collect(),
            pull_secret: self.pull_secret.as_ref().map(PullSecret::from),
        })
    }

    /// What came of all images together.
    pub(crate) fn status(&self) -> Status {
        let outcomes = self.outcomes;
        let count = |result| outcomes.iter().filter(|o| Result::of(o) == result).count();
        let there = count(Result::Same) + count(Result::Brought);
        match there {
            there if there == outcomes.len() && self.errors.is_empty() => {
                match count(Result::Brought) {
                    0 => Status::Unchanged,
                    _ => Status::Pushed,
                }
            }
            0 if count(Result::Partly) == 0 => Status::Failed,
            _ => Status::Partial,
        }
    }
}
