//! The request of `setup`: the action, the resources and their names.

use std::path::PathBuf;

use crate::ci::output::ResultFiles;
use crate::commands::session::Session;
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// A repository on GitHub or a project on GitLab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forge {
    /// The forge.
    pub kind: ForgeKind,
    /// `OWNER/REPO`, or `GROUP/PROJECT` with any number of groups.
    pub path: String,
    /// The numeric ids. `None` if they must be requested from the forge.
    pub ids: Option<ForgeIds>,
}

/// The forge of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForgeKind {
    /// github.com.
    GitHub,
    /// A GitLab instance, by its host.
    GitLab(String),
}

/// The numeric ids of a repository, which do not change when it is renamed and are never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgeIds {
    /// The id of its owner: a user, an organisation or a group.
    pub owner: u64,
    /// The id of the repository.
    pub repository: u64,
}

/// The input of `setup`.
#[derive(Clone, Debug)]
pub struct SetupRequest {
    /// Sign-in, network and console.
    pub session: Session,
    /// The files that the results are written to.
    pub files: ResultFiles,
    /// The action: plan, apply or remove.
    pub action: SetupAction,
    /// True if the plan is only printed.
    pub dry_run: bool,
    /// The storage of the images.
    pub backend: Backend,
    /// The id of the project.
    pub project: String,
    /// The registries, each with its Artifact Registry repository.
    pub registries: Vec<SetupRegistry>,
    /// The id of the account that pushes.
    pub pusher: String,
    /// The id of the account that pulls.
    pub puller: String,
    /// The repositories whose jobs may push without a key.
    pub forges: Vec<Forge>,
    /// The requested keys, each with the account's role and the file.
    pub keys: Vec<(Role, PathBuf)>,
    /// The token for requests to GitHub. `None` if they are anonymous.
    pub github_token: Option<Secret>,
}

/// The action of `setup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupAction {
    /// The plan is printed.
    Plan,
    /// The missing resources are created.
    Apply,
    /// The resources that setup created are removed.
    Remove,
}

/// The storage of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Repositories of Artifact Registry, as in every project today.
    ArtifactRegistry,
    /// The buckets of Container Registry.
    Storage,
}

/// A registry host and its Artifact Registry repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupRegistry {
    /// The host in image names.
    pub host: Endpoint,
    /// The location of the repository: `us`, `europe-west1`, ….
    pub location: String,
    /// The name of the repository. For a `gcr.io` host it is the host.
    pub repository: String,
}

/// The role of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The account pushes.
    Pusher,
    /// The account only pulls.
    Puller,
}

/// The host in the email addresses of a project's accounts. For a project of a domain, such as
/// `example.com:acme`, the parts are reversed.
pub(crate) fn account_host(project: &str) -> String {
    match project.split_once(':') {
        Some((domain, project)) => format!("{project}.{domain}.iam.gserviceaccount.com"),
        None => format!("{project}.iam.gserviceaccount.com"),
    }
}
