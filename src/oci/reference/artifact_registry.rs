//! Artifact Registry repositories, derived from the names of images.

use super::{Endpoint, HostKind};
use crate::diagnostics::render::shell_word;

/// An Artifact Registry repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactRegistryRepository {
    /// The project ID.
    pub project: String,
    /// The location, which the host implies.
    pub location: String,
    /// The repository ID. For `gcr.io` names it is the host.
    pub repository: String,
}

impl ArtifactRegistryRepository {
    /// Returns the repository of a path at a Google host. `None` for other hosts, or if the path
    /// names no repository.
    pub fn of(endpoint: &Endpoint, path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let mut project = parts.next()?.to_owned();
        if project.contains('.') {
            // A domain-scoped project is written `example.com:project` everywhere else.
            // <https://cloud.google.com/artifact-registry/docs/docker/names#domain>
            project = format!("{project}:{}", parts.next()?);
        }
        let (location, repository) = match endpoint.kind() {
            HostKind::Gcr { location } => (location.to_owned(), endpoint.host().to_owned()),
            HostKind::ArtifactRegistry { location } => (location, parts.next()?.to_owned()),
            HostKind::Other => return None,
        };
        Some(Self {
            project,
            location,
            repository,
        })
    }

    /// Its resource name in Google's APIs.
    pub fn resource(&self) -> String {
        let Self {
            project,
            location,
            repository,
        } = self;
        format!("projects/{project}/locations/{location}/repositories/{repository}")
    }

    /// The path of its images at `endpoint`.
    pub fn path(&self, endpoint: &Endpoint) -> String {
        let project = self.project.replace(':', "/");
        match endpoint.kind() {
            HostKind::ArtifactRegistry { .. } => format!("{project}/{}", self.repository),
            HostKind::Gcr { .. } | HostKind::Other => project,
        }
    }

    /// The command that creates it.
    pub fn create(&self) -> String {
        let Self {
            project,
            location,
            repository,
        } = self;
        format!(
            "`gcloud artifacts repositories create {repository} --repository-format=docker \
             --location={location} --project={project}`"
        )
    }

    /// The command that grants `member` a role of Artifact Registry on it: `writer`, `reader`.
    pub fn grant(&self, member: &str, role: &str) -> String {
        let Self {
            project,
            location,
            repository,
        } = self;
        format!(
            "`gcloud artifacts repositories add-iam-policy-binding {repository} \
             --location={location} --project={project} --member={} \
             --role=roles/artifactregistry.{role}`",
            shell_word(member)
        )
    }

    /// The command that lets `member` create the project's `gcr.io` repositories by pushing to
    /// them.
    pub fn let_create(&self, member: &str) -> String {
        format!(
            "`gcloud projects add-iam-policy-binding {} --member={} \
             --role=roles/artifactregistry.createOnPushWriter --condition=None`",
            self.project,
            shell_word(member)
        )
    }
}
