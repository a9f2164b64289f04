//! Where an image goes, as it was asked for.

use crate::oci::reference::{Endpoint, Parts, Reference, ReferenceError};

/// Where an image goes: full references, and short tags under each endpoint's repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Items of `tags` that are full references.
    pub references: Vec<Reference>,
    /// Items of `tags` without `/`; empty means the source's own tags, else `latest`.
    pub tags: Vec<String>,
    /// The hosts that short tags go to.
    pub endpoints: Vec<Endpoint>,
    /// `project_id`, `repository` and `name`, with the defaults that `config` can know; a missing
    /// `name` is the source's.
    pub parts: Parts,
    /// Those whose failure fails nothing.
    pub best_effort: BestEffort,
    /// True when `parts.project` was not given but found: in the key, or in a variable of Google's.
    pub project_is_default: bool,
}

impl Destinations {
    /// Where an image named `name` lives at `endpoint`; without a `name`, the one that was given.
    ///
    /// A project that was only found, not given, is Google's business: elsewhere it is no part of
    /// the path.
    ///
    /// # Errors
    ///
    /// Names the part that is missing, or the name that no registry takes.
    pub fn at(&self, endpoint: &Endpoint, name: Option<&str>) -> Result<Reference, ReferenceError> {
        let mut parts = self.parts.clone();
        if self.project_is_default && !endpoint.is_google() {
            parts.project = None;
        }
        if parts.name.is_none() {
            parts.name = name.map(str::to_owned);
        }
        parts.at(endpoint)
    }

    /// The registries that have to be reached: all but those whose failure fails nothing, unless
    /// there are no others.
    pub fn required(&self) -> Vec<Endpoint> {
        let BestEffort { hosts, references } = &self.best_effort;
        let is_extra = |host: &Endpoint| {
            hosts.contains(host) || references.iter().any(|one| one.endpoint == *host)
        };
        let all = self.hosts();
        if all.iter().all(is_extra) {
            return all;
        }
        all.into_iter().filter(|host| !is_extra(host)).collect()
    }

    /// Every registry that is a destination, once, in the order in which they were given.
    pub fn hosts(&self) -> Vec<Endpoint> {
        let mut hosts: Vec<Endpoint> = Vec::new();
        let references = self.references.iter().map(|reference| &reference.endpoint);
        for host in references.chain(&self.endpoints) {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        hosts
    }
}

/// The destinations that nobody waits for, and whose failure fails nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BestEffort {
    /// Every destination on these hosts.
    pub hosts: Vec<Endpoint>,
    /// These repositories; with a tag, those that get no other.
    pub references: Vec<Reference>,
}
