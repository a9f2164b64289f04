//! What became of the pull secret, and how a Pod uses it.

use std::fmt;

use crate::ci::table::Table;
use crate::commands::pull_secret::{PullSecretResult, utc};

/// A pull secret that was given out, set apart from what stands before it.
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
