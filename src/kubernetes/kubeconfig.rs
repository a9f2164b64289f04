//! The address of a cluster and the login to it, from a kubeconfig or from the files of a pod.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use serde::Deserialize as _;

/// The path of the token with which a pod signs in to its own cluster.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api>
pub const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The path of the file with the pod's namespace.
pub const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The path of the certificate authority of the pod's cluster.
const POD_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// A kubeconfig and the one context of it that is used. `Debug` shows only the name of the type,
/// because a kubeconfig holds tokens and keys.
#[derive(Clone)]
pub struct ClusterAccess {
    pub(super) kubeconfig: Kubeconfig,
    /// True in a pod of the cluster, which is reached without a proxy.
    pub(super) is_own_cluster: bool,
    /// Variables that are removed from the environment of the kubeconfig's login program.
    pub(super) withheld: Vec<OsString>,
}

impl fmt::Debug for ClusterAccess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Access")
            .field("context", &self.kubeconfig.current_context)
            .finish_non_exhaustive()
    }
}

/// An error in a kubeconfig. No message quotes its text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccessError {
    /// The text is not the YAML of a kubeconfig.
    #[error("it is not a kubeconfig: expected YAML with `clusters`, `users` and `contexts`")]
    NotYaml,
    /// Several files have different kinds or versions.
    #[error("its files are of different kinds and cannot be merged")]
    Different,
    /// Neither the kubeconfig nor the user chooses a context.
    #[error("it has no `current-context`: choose one in `kubeconfig_context`{}", known(.0))]
    NoContext(Vec<String>),
    /// The chosen context does not exist.
    #[error("it has no context `{name}`{}", known(contexts))]
    UnknownContext {
        /// The chosen context.
        name: String,
        /// The existing contexts.
        contexts: Vec<String>,
    },
    /// The cluster of the context does not exist.
    #[error("its context `{0}` names the cluster `{1}`, which is not in it")]
    UnknownCluster(String, String),
    /// The user of the context does not exist.
    #[error("its context `{0}` names the user `{1}`, which is not in it")]
    UnknownUser(String, String),
    /// The cluster has no valid URL.
    #[error("its cluster `{0}` has no valid URL in `server`")]
    NoServer(String),
}

fn known(contexts: &[String]) -> String {
    if contexts.is_empty() {
        return "; it has no contexts".to_owned();
    }
    let names: Vec<_> = contexts.iter().map(|name| format!("`{name}`")).collect();
    format!(": it has {}", names.join(", "))
}

impl ClusterAccess {
    /// Parses a kubeconfig. Paths in it are relative to `directory`, the directory of its file.
    ///
    /// # Errors
    ///
    /// If the text is not a kubeconfig.
    pub fn parse(yaml: &str, directory: Option<&Path>) -> Result<Self, AccessError> {
        let mut kubeconfig = read(yaml)?;
        // One of several files may contain only the name of a context.
        let is_empty = kubeconfig.clusters.is_empty()
            && kubeconfig.auth_infos.is_empty()
            && kubeconfig.contexts.is_empty()
            && kubeconfig.current_context.is_none();
        if is_empty {
            return Err(AccessError::NotYaml);
        }
        if let Some(directory) = directory {
            for path in paths(&mut kubeconfig) {
                *path = directory.join(&*path).display().to_string();
            }
        }
        Ok(Self {
            kubeconfig,
            is_own_cluster: false,
            withheld: Vec::new(),
        })
    }

    /// The access of a pod to its own cluster, as its service account.
    pub fn of_pod(host: &str, port: &str, namespace: Option<&str>) -> Self {
        // An IPv6 address is in brackets in a URL.
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let name = "pod".to_owned();
        let cluster = Cluster {
            server: Some(format!("https://{host}:{port}")),
            certificate_authority: Some(POD_CA.to_owned()),
            ..Cluster::default()
        };
        let user = AuthInfo {
            token_file: Some(POD_TOKEN.to_owned()),
            ..AuthInfo::default()
        };
        let context = Context {
            cluster: name.clone(),
            user: Some(name.clone()),
            namespace: namespace.map(str::to_owned),
            ..Context::default()
        };
        Self {
            kubeconfig: Kubeconfig {
                clusters: vec![NamedCluster {
                    name: name.clone(),
                    cluster: Some(cluster),
                    ..NamedCluster::default()
                }],
                auth_infos: vec![NamedAuthInfo {
                    name: name.clone(),
                    auth_info: Some(user),
                    ..NamedAuthInfo::default()
                }],
                contexts: vec![NamedContext {
                    name: name.clone(),
                    context: Some(context),
                    ..NamedContext::default()
                }],
                current_context: Some(name),
                ..Kubeconfig::default()
            },
            is_own_cluster: true,
            withheld: Vec::new(),
        }
    }

    /// Adds the entries of another file that this one does not have, as kubectl merges the files of
    /// `KUBECONFIG`.
    ///
    /// # Errors
    ///
    /// If the files have different kinds or versions.
    pub fn merge(self, next: Self) -> Result<Self, AccessError> {
        Ok(Self {
            kubeconfig: self
                .kubeconfig
                .merge(next.kubeconfig)
                .map_err(|_| AccessError::Different)?,
            ..self
        })
    }

    /// Sets the variables that are removed from the environment of the kubeconfig's login program.
    pub fn withholding(self, withheld: &[OsString]) -> Self {
        Self {
            withheld: withheld.to_vec(),
            ..self
        }
    }

    /// Selects the context that is used: the named one, else the current one.
    ///
    /// # Errors
    ///
    /// If the context, its cluster or its user does not exist.
    pub fn with_context(mut self, named: Option<&str>) -> Result<Self, AccessError> {
        let known = || {
            let contexts = self.kubeconfig.contexts.iter();
            contexts.map(|context| context.name.clone()).collect()
        };
        let current = self.kubeconfig.current_context.as_deref();
        let name = named
            .or(current.filter(|name| !name.is_empty()))
            .ok_or_else(|| AccessError::NoContext(known()))?
            .to_owned();
        let context = self
            .kubeconfig
            .contexts
            .iter()
            .find(|context| context.name == name)
            .and_then(|named| named.context.as_ref())
            .ok_or_else(|| AccessError::UnknownContext {
                name: name.clone(),
                contexts: known(),
            })?;
        let cluster = self
            .kubeconfig
            .clusters
            .iter()
            .find(|cluster| cluster.name == context.cluster)
            .and_then(|named| named.cluster.as_ref())
            .ok_or_else(|| AccessError::UnknownCluster(name.clone(), context.cluster.clone()))?;
        let server = cluster
            .server
            .as_deref()
            .and_then(|s| url::Url::parse(s).ok());
        if server.is_none_or(|url| !url.has_host() || !matches!(url.scheme(), "http" | "https")) {
            return Err(AccessError::NoServer(context.cluster.clone()));
        }
        if let Some(user) = &context.user
            && !user.is_empty()
            && !self
                .kubeconfig
                .auth_infos
                .iter()
                .any(|known| known.name == *user)
        {
            return Err(AccessError::UnknownUser(name, user.clone()));
        }
        self.kubeconfig.current_context = Some(name);
        Ok(self)
    }

    /// The cluster of the context that is used. `None` if there is none.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        let name = self.kubeconfig.current_context.as_deref()?;
        let mut contexts = self.kubeconfig.contexts.iter();
        let context = contexts.find(|c| c.name == name)?.context.as_ref()?;
        let mut clusters = self.kubeconfig.clusters.iter();
        clusters
            .find(|c| c.name == context.cluster)?
            .cluster
            .as_ref()
    }
}

/// Parses the documents of a kubeconfig and merges them. kube's own `from_yaml` would add a second YAML
/// library to the binary.
fn read(yaml: &str) -> Result<Kubeconfig, AccessError> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(Option::<Kubeconfig>::deserialize)
        .try_fold(Kubeconfig::default(), |merged, next| {
            let next = next.map_err(|_| AccessError::NotYaml)?;
            merged
                .merge(next.unwrap_or_default())
                .map_err(|_| AccessError::Different)
        })
}

/// Every path of the kubeconfig that is relative to its file. The command of a plugin is a path
/// only if it has a slash.
fn paths(kubeconfig: &mut Kubeconfig) -> Vec<&mut String> {
    let mut paths = Vec::new();
    for cluster in kubeconfig
        .clusters
        .iter_mut()
        .filter_map(|c| c.cluster.as_mut())
    {
        paths.extend(&mut cluster.certificate_authority);
    }
    for user in kubeconfig
        .auth_infos
        .iter_mut()
        .filter_map(|u| u.auth_info.as_mut())
    {
        paths.extend(&mut user.client_certificate);
        paths.extend(&mut user.client_key);
        paths.extend(&mut user.token_file);
        let command = user.exec.as_mut().and_then(|exec| exec.command.as_mut());
        paths.extend(command.filter(|command| command.contains('/')));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
clusters:
  - {name: c, cluster: {server: 'https://k8s.example', certificate-authority: ca.crt}}
users:
  - {name: u, user: {tokenFile: /run/token, exec: {command: bin/plugin}}}
  - {name: v, user: {exec: {command: plugin}}}
contexts:
  - {name: a, context: {cluster: c, user: u}}
  - {name: b, context: {cluster: c, user: w}}
  - {name: d, context: {cluster: e}}
";

    fn access() -> ClusterAccess {
        ClusterAccess::parse(YAML, Some(Path::new("/etc/kube"))).unwrap()
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let mut access = access();
        let paths: Vec<_> = paths(&mut access.kubeconfig)
            .into_iter()
            .map(|p| p.clone())
            .collect();
        assert_eq!(
            paths,
            ["/etc/kube/ca.crt", "/run/token", "/etc/kube/bin/plugin"]
        );
    }

    #[test]
    fn context_must_name_a_cluster_and_a_user() {
        let message = |context| access().with_context(context).unwrap_err().to_string();
        assert_eq!(
            message(None),
            "it has no `current-context`: choose one in `kubeconfig_context`: it has `a`, `b`, `d`"
        );
        assert_eq!(
            message(Some("x")),
            "it has no context `x`: it has `a`, `b`, `d`"
        );
        assert_eq!(
            message(Some("b")),
            "its context `b` names the user `w`, which is not in it"
        );
        assert_eq!(
            message(Some("d")),
            "its context `d` names the cluster `e`, which is not in it"
        );
        assert!(access().with_context(Some("a")).is_ok());
    }

    #[test]
    fn invalid_kubeconfig_is_reported_without_quoting_it() {
        for text in ["", "token", "a: [", "{}"] {
            assert_eq!(
                ClusterAccess::parse(text, None).unwrap_err(),
                AccessError::NotYaml
            );
        }
        let debug = format!("{:?}", access());
        assert!(!debug.contains("example"), "{debug}");
    }

    #[test]
    fn pod_knows_its_own_cluster() {
        let access = ClusterAccess::of_pod("fd00::1", "443", Some("ci"))
            .with_context(None)
            .unwrap();
        assert_eq!(
            access.cluster().unwrap().server.as_deref(),
            Some("https://[fd00::1]:443")
        );
    }
}
