//! A Kubernetes client for pull secrets, and for what a cluster runs. Only this module depends on kube.
//!
//! kube signs in, connects and builds the requests. Responses are parsed here, because kube logs
//! those that it cannot parse, and they may hold secrets.

pub mod apply;
mod check;
mod client;
mod error;
mod failed_request;
pub mod kubeconfig;
pub mod list;
mod objects;
mod secret;
pub mod state;
pub mod workloads;

pub use apply::WriteKind;
pub use check::CheckedWrites;
pub use client::Cluster;
pub use error::KubernetesError;
pub use kubeconfig::{AccessError, ClusterAccess, POD_NAMESPACE, POD_TOKEN};
pub use list::WorkloadListError;
pub use objects::FoundSecret;
pub(crate) use secret::utc;
pub use secret::{EXPIRY, KEY, MAX_SECRET_SIZE, PullSecret, TYPE};
pub use state::ClusterState;
pub use workloads::{NamedImage, RunningImage, Workloads};

/// Our name in `metadata.managedFields`.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers>
const FIELD_MANAGER: &str = "gcr-push";

/// The desired state of a cluster, without the content of the Secret.
#[derive(Clone, Copy, Debug)]
pub struct DesiredState<'a> {
    /// The name of the Secret.
    pub name: &'a str,
    /// The namespaces of the Secret. Empty for the current namespace.
    pub namespaces: &'a [String],
    /// The service accounts of each namespace whose pods pull with the Secret.
    pub service_accounts: &'a [String],
    /// True if missing namespaces are created.
    pub creates_namespaces: bool,
    /// True if fields of the Secret that others wrote are overwritten.
    pub replaces: bool,
}
