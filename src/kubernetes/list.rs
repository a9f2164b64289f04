//! Lists what a cluster runs.

use http::StatusCode;
use k8s_openapi::api::{apps, batch, core};
use kube::Resource;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::Value;

use super::client::Cluster;
use super::error::KubernetesError;
use super::objects::{ApiRequest, ObjectRef};
use super::workloads::Workloads;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};

/// The objects of a page. Pods have some 10 KB each.
const PAGE: u32 = 250;

/// How often a list is begun, because the server forgets where a long one was.
const TRIES: usize = 3;

/// An error of a list of workloads.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadListError {
    /// A role is missing.
    #[error(
        "the cluster at {server} does not allow {} to `list` {}",
        quoted_user(user),
        in_words(lists)
    )]
    Refused {
        /// The URL of the cluster.
        server: String,
        /// The user. `None` if the cluster does not name it.
        user: Option<String>,
        /// Each refused resource, with its namespace if not all are listed.
        lists: Vec<(String, Option<String>)>,
    },
    /// The cluster cannot be used or asked.
    #[error(transparent)]
    Cluster(#[from] KubernetesError),
}

fn quoted_user(user: &Option<String>) -> String {
    user.as_ref()
        .map_or_else(|| "this login".to_owned(), |user| format!("`{user}`"))
}

/// `` `pods`, `jobs.batch` in `shop` ``.
fn in_words(lists: &[(String, Option<String>)]) -> String {
    let mut text = String::new();
    for (number, (resource, namespace)) in lists.iter().enumerate() {
        let next = lists.get(number + 1);
        text.push_str(&format!("`{resource}`"));
        if next.is_none_or(|(_, other)| other != namespace) {
            text.push_str(&match namespace {
                Some(namespace) => format!(" in `{namespace}`"),
                None => " in all namespaces".to_owned(),
            });
        }
        if next.is_some() {
            text.push_str(", ");
        }
    }
    text
}

impl Diagnostic for WorkloadListError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused { .. } => ExitCode::Denied,
            Self::Cluster(cause) => cause.exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let (user, lists) = match self {
            Self::Refused { user, lists, .. } => (user, lists),
            Self::Cluster(cause) => return cause.hints(),
        };
        let user = user.as_deref().unwrap_or("USER");
        let subject = match user.strip_prefix("system:serviceaccount:") {
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user='{user}'"),
        };
        let mut places: Vec<_> = lists.iter().map(|(_, namespace)| namespace).collect();
        places.dedup();
        let binding = |namespace: &Option<String>| match namespace {
            Some(namespace) => format!(
                "`kubectl create rolebinding gcr-push-images --clusterrole=gcr-push-images \
                 {subject} --namespace={namespace}`"
            ),
            None => format!(
                "`kubectl create clusterrolebinding gcr-push-images \
                 --clusterrole=gcr-push-images {subject}`"
            ),
        };
        let bindings: Vec<_> = places.into_iter().map(binding).collect();
        vec![
            format!(
                "allow it to `list` them, and nothing else: `kubectl create clusterrole \
                 gcr-push-images --verb=list --resource={}`",
                WorkloadList::all(None).map(|list| list.rbac_name).join(",")
            ),
            format!("and bind the role: {}", bindings.join(", ")),
        ]
    }
}

/// A list that is read.
struct WorkloadList {
    kind: &'static str,
    /// `jobs.batch`, as RBAC and kubectl name it.
    rbac_name: String,
    objects: ObjectRef,
}

impl WorkloadList {
    /// Every list of a namespace, or of all. A `ReplicaSet` is not among them: a Deployment keeps ten
    /// of them for its earlier images, and those of the current one have Pods.
    fn all(namespace: Option<&str>) -> [Self; 7] {
        [
            Self::of::<core::v1::Pod>(namespace),
            Self::of::<core::v1::ReplicationController>(namespace),
            Self::of::<apps::v1::Deployment>(namespace),
            Self::of::<apps::v1::StatefulSet>(namespace),
            Self::of::<apps::v1::DaemonSet>(namespace),
            Self::of::<batch::v1::Job>(namespace),
            Self::of::<batch::v1::CronJob>(namespace),
        ]
    }

    fn of<K: k8s_openapi::Resource + Resource<DynamicType = ()>>(namespace: Option<&str>) -> Self {
        let rbac_name = match K::GROUP {
            "" => K::URL_PATH_SEGMENT.to_owned(),
            group => format!("{}.{group}", K::URL_PATH_SEGMENT),
        };
        Self {
            kind: K::KIND,
            rbac_name,
            objects: ObjectRef::of::<K>(namespace, ""),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue", default)]
    next: String,
}

impl ObjectRef {
    fn list(&self, next: &str) -> ApiRequest {
        let params = ListParams {
            limit: Some(PAGE),
            continue_token: Some(next.to_owned()).filter(|next| !next.is_empty()),
            ..ListParams::default()
        };
        self.requests.list(&params)
    }
}

impl Cluster {
    /// Lists the Pods, and what makes Pods, of `namespaces`, or of all if there are none. What may
    /// not be listed is one error; the rest is returned beside it.
    pub async fn workloads(&self, namespaces: &[String]) -> (Workloads, Vec<WorkloadListError>) {
        let mut found = Workloads::default();
        let (mut user, mut lists) = (None, Vec::new());
        let all = [None];
        let named: Vec<_> = namespaces.iter().map(|one| Some(one.as_str())).collect();
        let places = if named.is_empty() { &all[..] } else { &named };
        for namespace in places.iter().copied() {
            let (known, refused) = (found.images.len(), lists.len());
            for list in WorkloadList::all(namespace) {
                let error = match self.list(&list.objects).await {
                    Ok(items) => {
                        items
                            .iter()
                            .for_each(|item| found.add_object(list.kind, item));
                        continue;
                    }
                    Err(error) => error,
                };
                match error.refusal() {
                    // The cluster has no such kind.
                    Some(refusal) if refusal.status == StatusCode::NOT_FOUND => {}
                    Some(refusal) if refusal.status == StatusCode::FORBIDDEN => {
                        user = user.or_else(|| refused_user(&refusal.message));
                        lists.push((list.rbac_name, namespace.map(str::to_owned)));
                    }
                    // Every other list would fail in the same way.
                    _ => return (found, vec![WorkloadListError::Cluster(error)]),
                }
            }
            if let Some(namespace) = namespace
                && (known, refused) == (found.images.len(), lists.len())
            {
                tracing::warn!("nothing runs in the namespace `{namespace}`: check its name");
            }
        }
        let refused = (!lists.is_empty()).then(|| WorkloadListError::Refused {
            server: self.server().to_owned(),
            user,
            lists,
        });
        (found, refused.into_iter().collect())
    }

    /// The objects of a list, page by page.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>
    async fn list(&self, list: &ObjectRef) -> Result<Vec<Value>, KubernetesError> {
        let (mut items, mut next, mut tries) = (Vec::new(), String::new(), 1);
        loop {
            let page: Result<Page, _> = self.ask(list.task("list"), list.list(&next)).await;
            match page {
                Ok(page) => {
                    items.extend(page.items.into_iter().map(without_unused));
                    next = page.metadata.next;
                    if next.is_empty() {
                        return Ok(items);
                    }
                }
                Err(error) => {
                    let is_expired = error.status() == Some(410);
                    if !is_expired || tries == TRIES {
                        return Err(error);
                    }
                    (items, next) = (Vec::new(), String::new());
                    tries += 1;
                }
            }
        }
    }
}

/// The object without its largest fields, none of which names an image.
fn without_unused(mut item: Value) -> Value {
    for key in ["managedFields", "annotations", "labels"] {
        if let Some(metadata) = item["metadata"].as_object_mut() {
            metadata.remove(key);
        }
    }
    item
}

/// The user in `pods is forbidden: User "x" cannot list resource …`.
fn refused_user(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, _) = rest.split_once('"')?;
    Some(sanitize(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_lists_are_told_by_namespace() {
        let list = |resource: &str, namespace: Option<&str>| {
            (resource.to_owned(), namespace.map(str::to_owned))
        };
        let lists = [
            list("pods", Some("shop")),
            list("jobs.batch", Some("shop")),
            list("pods", Some("blog")),
        ];
        assert_eq!(
            in_words(&lists),
            "`pods`, `jobs.batch` in `shop`, `pods` in `blog`"
        );
        assert_eq!(in_words(&[list("pods", None)]), "`pods` in all namespaces");
        let message = "pods is forbidden: User \"system:serviceaccount:ci:x\" cannot list resource";
        assert_eq!(
            refused_user(message).as_deref(),
            Some("system:serviceaccount:ci:x")
        );
    }
}
