use crate::auth::google::key::ServiceAccountKey;
use crate::kubernetes::ClusterAccess;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The pull secret as it was asked for.
#[derive(Clone, Debug)]
pub struct PullSecretRequest {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; several make several Secrets, none leaves it out.
    pub namespaces: Vec<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// What signs in to Google's hosts; none when no destination is Google's.
    pub credential: Option<PullCredential>,
    /// Whether a login that can push may go into it.
    pub allow_push_key: bool,
    /// Where it is written; none when it is only applied.
    pub output: Option<PullSecretOutput>,
    /// How it is written.
    pub form: PullSecretForm,
    /// The cluster that it goes to, and how.
    pub apply: Option<ApplyRequest>,
}

impl PullSecretRequest {
    /// The file that it is written to.
    pub fn file(&self) -> Option<&PathBuf> {
        match &self.output {
            Some(PullSecretOutput::File(file)) => Some(file),
            Some(PullSecretOutput::Stdout) | None => None,
        }
    }
}

/// What a pull secret signs in to Google's registries with.
#[derive(Clone, Debug)]
pub enum PullCredential {
    /// A key, which works until it is deleted.
    Key {
        /// The key.
        key: ServiceAccountKey,
        /// True when it is a key of the account that pushes, which is worth a warning.
        pushes: bool,
    },
    /// A token of the run's own sign-in, which has no key: it works for an hour at most.
    Token,
}

/// Where a pull secret is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullSecretOutput {
    /// A file, for its owner alone.
    File(PathBuf),
    /// Standard output, which is asked for by `-` and which no CI gets.
    Stdout,
}

/// How a pull secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullSecretForm {
    /// A Secret as YAML.
    Yaml,
    /// A Secret as JSON.
    Json,
    /// The login file in the Secret alone.
    DockerConfigJson,
}

/// How a pull secret goes into a cluster.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// Which cluster, and how to sign in to it.
    pub access: ClusterAccess,
    /// The service accounts whose pods are to pull with it.
    pub service_accounts: Vec<String>,
    /// Whether a namespace that is missing is made.
    pub create_namespace: bool,
    /// Whether what others wrote into a Secret of that name is taken over.
    pub replace: bool,
}
