use std::fmt;

use super::name_template::NameTemplate;
use super::shard::Shard;
use super::tag_filter::TagFilter;
use crate::ci::output::ResultFiles;
use crate::commands::pull_secret::request::PullSecretOptions;
use crate::commands::session::{MissingCredentials, Session};
use crate::oci::platform::Platforms;
use crate::oci::reference::{Endpoint, Reference};
use crate::push::PushOptions;

/// What `mirror` is asked to do.
#[derive(Debug)]
pub struct MirrorRequest {
    /// How it signs in, connects and talks.
    pub session: Session,
    /// What is mirrored.
    pub file: MirrorFile,
    /// How the images are pushed.
    pub options: PushOptions,
    /// What happens if there is no credential.
    pub missing_credentials: MissingCredentials,
    /// The pull secret. `None` if none is asked for.
    pub pull_secret: Option<PullSecretOptions>,
    /// Where the results go.
    pub files: ResultFiles,
}

/// What is to be mirrored.
#[derive(Clone, Debug)]
pub struct MirrorFile {
    /// What the images are put below, each image below each of them.
    pub destinations: Vec<MirrorDestination>,
    /// The images.
    pub entries: Vec<MirrorEntry>,
    /// This runner's share. `None` if it does everything.
    pub shard: Option<Shard>,
}

impl MirrorFile {
    /// The registries that are written to, each once.
    pub fn hosts(&self) -> Vec<Endpoint> {
        distinct(self.destinations.iter().map(|one| &one.endpoint))
    }

    /// Every registry that is read from or written to.
    pub fn all_hosts(&self) -> Vec<Endpoint> {
        [self.hosts(), self.source_hosts()].concat()
    }

    /// The registries that are read from, each once.
    pub fn source_hosts(&self) -> Vec<Endpoint> {
        distinct(self.entries.iter().map(|entry| match &entry.source {
            MirrorSource::Repository(reference) | MirrorSource::Image(reference) => {
                &reference.endpoint
            }
            MirrorSource::Prefix(endpoint, _) => endpoint,
        }))
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

/// A registry and a path that images are put below.
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

/// One line of the file: images from one place.
#[derive(Clone, Debug)]
pub struct MirrorEntry {
    /// Where they are.
    pub source: MirrorSource,
    /// What they are called below each destination.
    pub to: NameTemplate,
    /// Which tags.
    pub tags: TagFilter,
    /// Which platforms.
    pub platforms: Platforms,
    /// Whether signatures, SBOMs and attestations come along.
    pub referrers: bool,
    /// True where a failure fails nothing.
    pub best_effort: bool,
}

/// Where images are read from.
#[derive(Clone, Debug)]
pub enum MirrorSource {
    /// One image, by its tag, perhaps pinned to a digest.
    Image(Reference),
    /// The chosen tags of one repository.
    Repository(Reference),
    /// The chosen tags of every repository below a path.
    Prefix(Endpoint, String),
}

impl fmt::Display for MirrorSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reference) | Self::Repository(reference) => reference.fmt(formatter),
            Self::Prefix(endpoint, path) if path.is_empty() => write!(formatter, "{endpoint}/**"),
            Self::Prefix(endpoint, path) => write!(formatter, "{endpoint}/{path}/**"),
        }
    }
}
