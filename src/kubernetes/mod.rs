//! A Kubernetes cluster, as far as a pull secret needs one. This folder alone knows kube.
//!
//! kube reads kubeconfigs; what is asked and answered is written here. kube's own client logs the
//! whole text of an answer that it cannot read, and our answers hold secrets; and with it come a
//! second YAML library, JSONPath and a clock, which are a tenth of the binary.

pub mod apply;
pub mod auth;
mod check;
mod client;
mod connect;
mod error;
mod failed_request;
pub mod kubeconfig;
mod objects;
mod plugin;
pub mod state;
mod tls;

pub use apply::WriteKind;
pub use check::CheckedWrites;
pub use client::Cluster;
pub use error::KubernetesError;
pub use kubeconfig::{AccessError, ClusterAccess, POD_NAMESPACE, POD_TOKEN};
pub use objects::FoundSecret;
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
