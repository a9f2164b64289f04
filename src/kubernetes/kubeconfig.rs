//! Where a cluster is and how to sign in to it: a kubeconfig, or what a pod is given.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use serde::Deserialize as _;

/// Where a pod finds the token with which it may sign in to its own cluster.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api>
pub const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Where it finds the name of its namespace.
pub const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where it finds who signs the cluster's certificate.
const POD_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// A kubeconfig with the one context in it that is used. `Debug` shows no more than its name,
/// because tokens and keys stand in it.
#[derive(Clone)]
pub struct Access {
    pub(super) kubeconfig: Kubeconfig,
    /// True in a pod of the cluster, from where no proxy leads to it.
    pub(super) is_own_cluster: bool,
    /// Variables that no program is given that the kubeconfig signs in with.
    pub(super) withheld: Vec<OsString>,
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Access")
            .field("context", &self.kubeconfig.current_context)
            .finish_non_exhaustive()
    }
}

/// A text that gives no access to a cluster. No message quotes it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccessError {
    /// Not the YAML of a kubeconfig.
    #[error("it is no kubeconfig: expected YAML with `clusters`, `users` and `contexts`")]
    NotYaml,
    /// Several files, of different kinds.
    #[error("its files are of different kinds and cannot be merged")]
    Different,
    /// Nothing says which context to take.
    #[error("it has no `current-context`: choose one in `kubeconfig_context`{}", known(.0))]
    NoContext(Vec<String>),
    /// A context that is not there.
    #[error("it has no context `{name}`{}", known(contexts))]
    UnknownContext {
        /// The one that was asked for.
        name: String,
        /// Those that are there.
        contexts: Vec<String>,
    },
    /// A context that leads nowhere.
    #[error("its context `{0}` names the cluster `{1}`, which is not in it")]
    UnknownCluster(String, String),
    /// A context without rights.
    #[error("its context `{0}` names the user `{1}`, which is not in it")]
    UnknownUser(String, String),
    /// A cluster that cannot be reached.
    #[error("its cluster `{0}` has no `server` that is a URL")]
    NoServer(String),
}

fn known(contexts: &[String]) -> String {
    if contexts.is_empty() {
        return "; it has none at all".to_owned();
    }
    let names: Vec<_> = contexts.iter().map(|name| format!("`{name}`")).collect();
    format!(": it has {}", names.join(", "))
}

impl Access {
    /// Reads a kubeconfig. Paths in it are relative to `directory`, where its file is.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(yaml: &str, directory: Option<&Path>) -> Result<Self, AccessError> {
        let mut kubeconfig = read(yaml)?;
        // One of several files may hold no more than the name of a context.
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

    /// What a pod has: the cluster that it runs in, as its service account.
    pub fn of_pod(host: &str, port: &str, namespace: Option<&str>) -> Self {
        // An IPv6 address stands in brackets in a URL.
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
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

    /// Adds what another file has and this one has not, as kubectl merges the files of `KUBECONFIG`.
    ///
    /// # Errors
    ///
    /// When they are of different kinds.
    pub fn merge(self, next: Self) -> Result<Self, AccessError> {
        Ok(Self {
            kubeconfig: self
                .kubeconfig
                .merge(next.kubeconfig)
                .map_err(|_| AccessError::Different)?,
            ..self
        })
    }

    /// The same, with variables that no program is given that the kubeconfig signs in with.
    pub fn withholding(self, withheld: &[OsString]) -> Self {
        Self {
            withheld: withheld.to_vec(),
            ..self
        }
    }

    /// Settles which context is used: the one that is named, or the current one.
    ///
    /// # Errors
    ///
    /// When there is no such context, or it leads nowhere.
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

    /// The cluster of the context that is used.
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

/// The documents of a kubeconfig as one. Not by kube's own `from_yaml`: its YAML library would read
/// the whole of a kubeconfig too, for which the binary has one already.
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

/// Every path that is read relative to the file which it stands in. A plugin is one only when it has
/// a slash, like any command.
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

    fn access() -> Access {
        Access::parse(YAML, Some(Path::new("/etc/kube"))).unwrap()
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
    fn the_context_must_lead_somewhere() {
        let told = |context| access().with_context(context).unwrap_err().to_string();
        assert_eq!(
            told(None),
            "it has no `current-context`: choose one in `kubeconfig_context`: it has `a`, `b`, `d`"
        );
        assert_eq!(
            told(Some("x")),
            "it has no context `x`: it has `a`, `b`, `d`"
        );
        assert_eq!(
            told(Some("b")),
            "its context `b` names the user `w`, which is not in it"
        );
        assert_eq!(
            told(Some("d")),
            "its context `d` names the cluster `e`, which is not in it"
        );
        assert!(access().with_context(Some("a")).is_ok());
    }

    #[test]
    fn what_is_no_kubeconfig_is_told_without_being_quoted() {
        for text in ["", "token", "a: [", "{}"] {
            assert_eq!(Access::parse(text, None).unwrap_err(), AccessError::NotYaml);
        }
        let shown = format!("{:?}", access());
        assert!(!shown.contains("example"), "{shown}");
    }

    #[test]
    fn a_pod_knows_its_own_cluster() {
        let access = Access::of_pod("fd00::1", "443", Some("ci"))
            .with_context(None)
            .unwrap();
        assert_eq!(
            access.cluster().unwrap().server.as_deref(),
            Some("https://[fd00::1]:443")
        );
    }
}
