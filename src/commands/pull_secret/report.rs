//! The pull secret in the reports: as a table, as JSON and in the step summary.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::ci::github::summary::code;
use crate::ci::table::Table;
use crate::commands::pull_secret::{PullSecretResult, utc};

/// The table of a created pull secret and a Pod that uses it, after an empty line.
pub(crate) struct PullSecretTable<'a>(pub(crate) &'a PullSecretResult);

impl fmt::Display for PullSecretTable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(secret) = self;
        writeln!(formatter)?;
        let mut hosts = Table::new(["PULL SECRET", "HOSTS", "EXPIRES"]);
        hosts.row([
            secret.name.clone(),
            secret.hosts.join(","),
            secret.expires_at.map(utc).unwrap_or_default(),
        ]);
        write!(formatter, "{hosts}")?;
        match &secret.pod {
            Some(pod) => write!(formatter, "\n{pod}"),
            None => Ok(()),
        }
    }
}

/// A created pull secret in the JSON reports.
#[derive(Serialize)]
pub(crate) struct PullSecretJson<'a> {
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

impl<'a> From<&'a PullSecretResult> for PullSecretJson<'a> {
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

/// A created pull secret in the step summary, with a Pod to be copied.
pub(crate) fn pull_secret_summary(secret: &PullSecretResult) -> String {
    let hosts: Vec<_> = secret.hosts.iter().map(|host| code(host)).collect();
    let end = match secret.expires_at {
        Some(time) => format!(" until {}", utc(time)),
        None => String::new(),
    };
    let mut text = format!(
        "The pull secret {} lets a cluster pull from {}{end}.\n",
        code(&secret.name),
        hosts.join(", ")
    );
    for change in &secret.changes {
        text.push_str(&format!("- {change}\n"));
    }
    if let Some(pod) = &secret.pod {
        text.push_str(&format!("\n```yaml\n{pod}```\n\n"));
    }
    text
}
