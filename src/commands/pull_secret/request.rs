//! The request of `pull-secret`: the logins of the Secret, and where it goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::auth::google::key::ServiceAccountKey;
use crate::ci::output::ResultFiles;
use crate::commands::session::Session;
use crate::kubernetes::ClusterAccess;
use crate::push::targets::Destinations;

/// The input of `pull-secret`.
#[derive(Debug)]
pub struct PullSecretRequest {
    /// Sign-in, network and console.
    pub session: Session,
    /// The images that a cluster will pull, as far as they are named.
    pub destinations: Destinations,
    /// The pull secret.
    pub options: PullSecretOptions,
    /// True if everything is checked and nothing is written.
    pub dry_run: bool,
    /// The files that the results are written to.
    pub files: ResultFiles,
}

/// The requested pull secret.
#[derive(Clone, Debug)]
pub struct PullSecretOptions {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`: one Secret for each. If there is none, the field is omitted.
    pub namespaces: Vec<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The credential for Google's hosts. `None` if no destination is Google's.
    pub credential: Option<PullCredential>,
    /// True if it may contain a login that can push.
    pub allow_push_key: bool,
    /// The output. `None` if it is only applied.
    pub output: Option<PullSecretOutput>,
    /// The format of the output.
    pub form: PullSecretForm,
    /// How it is applied to a cluster. `None` if it is only written.
    pub apply: Option<ApplyRequest>,
}

impl PullSecretOptions {
    /// The output file. `None` for standard output, and if it is only applied.
    pub fn file(&self) -> Option<&PathBuf> {
        match &self.output {
            Some(PullSecretOutput::File(file)) => Some(file),
            Some(PullSecretOutput::Stdout) | None => None,
        }
    }
}

/// The credential of a pull secret for Google's registries.
#[derive(Clone, Debug)]
pub enum PullCredential {
    /// A service-account key, which works until it is deleted.
    Key {
        /// The key.
        key: ServiceAccountKey,
        /// True if it is a key of the account that pushes, which causes a warning.
        pushes: bool,
    },
    /// An access token of the run's own sign-in, for sign-ins without a key. It works for an hour
    /// at most.
    Token,
}

/// The output of a pull secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullSecretOutput {
    /// A file that only its owner can read.
    File(PathBuf),
    /// Standard output, requested by `-`. It is refused in a CI.
    Stdout,
}

/// The format of a written pull secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullSecretForm {
    /// A Secret as YAML.
    Yaml,
    /// A Secret as JSON.
    Json,
    /// Only the Docker config in the Secret.
    DockerConfigJson,
}

/// How a pull secret is applied to a cluster.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// The cluster, and how to sign in to it.
    pub access: ClusterAccess,
    /// The service accounts whose pods pull with it.
    pub service_accounts: Vec<String>,
    /// True if a missing namespace is created.
    pub create_namespace: bool,
    /// True if fields that others wrote into a Secret of that name are overwritten.
    pub replace: bool,
}
