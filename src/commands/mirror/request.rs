//! The request of `mirror`: the entries of its file, the destinations and the options.

use std::fmt;
use std::path::PathBuf;

use super::WorkloadSource;
use super::name_template::NameTemplate;
use super::shard::Shard;
use super::tag_filter::{Pattern, TagFilter};
use crate::ci::output::ResultFiles;
use crate::commands::pull_secret::request::PullSecretOptions;
use crate::commands::session::{MissingCredentials, Session};
use crate::oci::platform::Platforms;
use crate::oci::reference::{Endpoint, Reference};
use crate::push::PushOptions;

/// The input of `mirror`.
#[derive(Debug)]
pub struct MirrorRequest {
    /// Sign-in, network and console.
    pub session: Session,
    /// The images and their destinations.
    pub file: MirrorFile,
    /// How the images are pushed.
    pub options: PushOptions,
    /// The behaviour if there is no credential.
    pub missing_credentials: MissingCredentials,
    /// The pull secret. `None` if none is requested.
    pub pull_secret: Option<PullSecretOptions>,
    /// The files that the results are written to.
    pub files: ResultFiles,
    /// True if a dry run fails where a required destination is not up to date.
    pub require_complete: bool,
    /// The folder for the configuration of nodes. `None` if none is written.
    pub failover_directory: Option<PathBuf>,
}

/// A mirror file: the images and the destinations that each of them is copied to.
#[derive(Clone, Debug)]
pub struct MirrorFile {
    /// The prefixes that the images are copied below: every image below every prefix.
    pub destinations: Vec<MirrorDestination>,
    /// The entries that select the images.
    pub entries: Vec<MirrorEntry>,
    /// The shard of this runner. `None` if it copies all images.
    pub shard: Option<Shard>,
}

impl MirrorFile {
    /// The registries of the destinations, without duplicates.
    pub fn hosts(&self) -> Vec<Endpoint> {
        distinct(self.destinations.iter().map(|one| &one.endpoint))
    }

    /// The registries of the destinations and of the sources.
    pub fn all_hosts(&self) -> Vec<Endpoint> {
        [self.hosts(), self.source_hosts()].concat()
    }

    /// The registries of the sources that the file names, without duplicates.
    pub fn source_hosts(&self) -> Vec<Endpoint> {
        distinct(self.entries.iter().filter_map(|entry| match &entry.source {
            MirrorSource::Repository(reference) | MirrorSource::Image(reference) => {
                Some(&reference.endpoint)
            }
            MirrorSource::Prefix(endpoint, _) => Some(endpoint),
            MirrorSource::Workloads { .. } => None,
        }))
    }

    /// True if the registries of some sources are known only when the sources are read.
    pub fn has_unknown_sources(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| matches!(entry.source, MirrorSource::Workloads { .. }))
    }
}

fn distinct<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Vec<Endpoint> {
    let mut seen = Vec::new();
    for endpoint in endpoints {
        if !seen.contains(endpoint) {
            seen.push(endpoint.clone());
        }
    }
    seen
}

/// A registry and a path that images are copied below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorDestination {
    /// The registry.
    pub endpoint: Endpoint,
    /// The path.
    pub path: String,
}

impl fmt::Display for MirrorDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.endpoint, self.path)
    }
}

/// One entry of the file: images of one source.
#[derive(Clone, Debug)]
pub struct MirrorEntry {
    /// The source of the images.
    pub source: MirrorSource,
    /// The name of each image below a destination.
    pub to: NameTemplate,
    /// The tags that are mirrored.
    pub tags: TagFilter,
    /// The platforms that are mirrored.
    pub platforms: Platforms,
    /// True if signatures, SBOMs and attestations are copied too.
    pub referrers: bool,
    /// True if a failure does not fail the run.
    pub best_effort: bool,
}

/// The source of images.
#[derive(Clone, Debug)]
pub enum MirrorSource {
    /// One image, by its tag and optionally its digest.
    Image(Reference),
    /// The selected tags of one repository.
    Repository(Reference),
    /// The selected tags of every repository below a path.
    Prefix(Endpoint, String),
    /// The images that workloads name.
    Workloads {
        /// Where the workloads are read.
        from: WorkloadSource,
        /// Patterns for names of images that are left out.
        exclude: Vec<Pattern>,
    },
}

impl fmt::Display for MirrorSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reference) | Self::Repository(reference) => reference.fmt(formatter),
            Self::Workloads { from, .. } => from.fmt(formatter),
            Self::Prefix(endpoint, path) if path.is_empty() => write!(formatter, "{endpoint}/**"),
            Self::Prefix(endpoint, path) => write!(formatter, "{endpoint}/{path}/**"),
        }
    }
}
