//! What `setup` is asked to do.

use std::path::PathBuf;

use crate::ci::output::ResultFiles;
use crate::commands::session::Session;
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// A repository on GitHub or a project on GitLab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forge {
    /// Which forge it is.
    pub kind: ForgeKind,
    /// `OWNER/REPO`, or `GROUP/PROJECT` with as many groups as there are.
    pub path: String,
    /// The numbers of its owner and of itself, where they are known.
    pub ids: Option<ForgeIds>,
}

/// Which forge a repository is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForgeKind {
    /// github.com.
    GitHub,
    /// A GitLab, by its host.
    GitLab(String),
}

/// The numbers of a repository, which stay when it is renamed and which nobody else gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgeIds {
    /// Of its owner: a user, an organisation, a group.
    pub owner: u64,
    /// Of itself.
    pub repository: u64,
}

/// What `setup` is to do, and with which names.
#[derive(Clone, Debug)]
pub struct SetupRequest {
    /// How it signs in, connects and talks.
    pub session: Session,
    /// Where the results go.
    pub files: ResultFiles,
    /// Plan, apply or remove.
    pub action: SetupAction,
    /// Whether it stays at showing what would be done.
    pub dry_run: bool,
    /// What the images are kept in.
    pub backend: Backend,
    /// The project's id.
    pub project: String,
    /// The registries, each with the repository behind it.
    pub registries: Vec<SetupRegistry>,
    /// The account that pushes, by its id.
    pub pusher: String,
    /// The account that pulls, by its id.
    pub puller: String,
    /// The repositories whose jobs may push without a key.
    pub forges: Vec<Forge>,
    /// The keys that are asked for.
    pub keys: Vec<(Role, PathBuf)>,
    /// What GitHub is shown that is asked for the numbers of a repository.
    pub github_token: Option<Secret>,
}

/// What is done about what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupAction {
    /// Nothing: it is shown.
    Plan,
    /// What is missing is made.
    Apply,
    /// What setup made is taken away.
    Remove,
}

/// What images are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Repositories of Artifact Registry, as in every project today.
    ArtifactRegistry,
    /// The buckets of the old Container Registry.
    Storage,
}

/// A registry, and the repository of Artifact Registry behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupRegistry {
    /// The host that is pushed to.
    pub host: Endpoint,
    /// Where the repository is: `us`, `europe-west1`, ….
    pub location: String,
    /// What it is called; for `gcr.io` hosts, like the host.
    pub repository: String,
}

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It pushes.
    Pusher,
    /// It pulls, and does nothing else.
    Puller,
}

/// What follows the `@` in the addresses of a project's accounts. A project of a domain,
/// `example.com:acme`, turns itself round.
pub(crate) fn account_host(project: &str) -> String {
    match project.split_once(':') {
        Some((domain, project)) => format!("{project}.{domain}.iam.gserviceaccount.com"),
        None => format!("{project}.iam.gserviceaccount.com"),
    }
}
