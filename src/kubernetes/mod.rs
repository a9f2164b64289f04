//! A Kubernetes cluster, as far as a pull secret needs one. This folder alone knows kube.
//!
//! kube signs in, connects and makes the requests. Answers are read here, because kube logs those
//! that it cannot read, and ours hold secrets.

pub mod apply;
mod check;
mod client;
mod error;
mod failed_request;
pub mod kubeconfig;
mod objects;
mod secret;
pub mod state;

pub use apply::WriteKind;
pub use check::CheckedWrites;
pub use client::Cluster;
pub use error::KubernetesError;
pub use kubeconfig::{AccessError, ClusterAccess, POD_NAMESPACE, POD_TOKEN};
pub use objects::FoundSecret;
pub(crate) use secret::utc;
pub use secret::{EXPIRY, KEY, MAX_SECRET_SIZE, PullSecret, TYPE};
pub use state::ClusterState;

/// Who we are in `metadata.managedFields`.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers>
const FIELD_MANAGER: &str = "gcr-push";

/// What a cluster is to hold, but for the content of the Secret.
#[derive(Clone, Copy, Debug)]
pub struct DesiredState<'a> {
    /// The Secret's name.
    pub name: &'a str,
    /// Where it is to be; none means the namespace that is current.
    pub namespaces: &'a [String],
    /// The service accounts of each namespace whose pods are to pull with it.
    pub service_accounts: &'a [String],
    /// Whether a namespace that is missing is made.
    pub creates_namespaces: bool,
    /// Whether what others wrote into the Secret is taken over.
    pub replaces: bool,
}
