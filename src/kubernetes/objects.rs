//! The Kubernetes objects that are read and written, and the requests for them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1;
use kube::Resource;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{Request, request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::failed_request::Task;
use super::secret::{KEY, PullSecret};
use crate::diagnostics::secret::Secret;

/// A request that kube has built.
pub(super) type ApiRequest = Result<http::Request<Vec<u8>>, request::Error>;

/// An existing Secret. It has no `Debug`, because base64 does not hide the data.
#[derive(Clone, Deserialize)]
pub struct FoundSecret {
    metadata: Metadata,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    immutable: bool,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl FoundSecret {
    /// The type of the Secret.
    pub fn r#type(&self) -> &str {
        &self.r#type
    }

    /// The value of a label. `None` if there is none.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.get(key).map(String::as_str)
    }

    /// The value of an annotation. `None` if there is none.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }

    /// The Docker config in the Secret. `None` if there is none, or if it is not UTF-8.
    pub fn docker_config(&self) -> Option<Secret> {
        let content = STANDARD.decode(self.data.get(KEY)?).ok()?;
        String::from_utf8(content).ok().map(Secret::new)
    }

    /// True if the data cannot be changed.
    pub(super) fn is_immutable(&self) -> bool {
        self.immutable
    }
}

/// An existing service account, of which only the pull secrets are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceAccount {
    metadata: Metadata,
    #[serde(default)]
    image_pull_secrets: Vec<Value>,
}

impl ServiceAccount {
    /// True if its pods already pull with the Secret `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        let mut listed = self.image_pull_secrets.iter();
        listed.any(|entry| entry["name"] == name)
    }

    /// Builds the patch that adds the Secret `name`. Every kind of patch replaces the whole list
    /// (it is atomic in the schema), so the patch includes the resource version that was read, and
    /// a change in between is a conflict.
    fn with(&self, name: &str) -> Value {
        let mut list = self.image_pull_secrets.clone();
        list.push(json!({ "name": name }));
        json!({
            "metadata": { "resourceVersion": self.metadata.resource_version },
            "imagePullSecrets": list,
        })
    }
}

/// A reference to an object by kind, name and namespace, which builds the requests for it.
#[derive(Clone, Debug)]
pub(super) struct ObjectRef {
    /// The resource in the plural, as in RBAC.
    pub(super) resource: &'static str,
    pub(super) name: String,
    /// `None` for a namespace.
    pub(super) namespace: Option<String>,
    pub(super) requests: Request,
}

impl ObjectRef {
    pub(super) fn secret(namespace: &str, name: &str) -> Self {
        Self::of::<v1::Secret>(Some(namespace), name)
    }

    pub(super) fn service_account(namespace: &str, name: &str) -> Self {
        Self::of::<v1::ServiceAccount>(Some(namespace), name)
    }

    pub(super) fn namespace(name: &str) -> Self {
        Self::of::<v1::Namespace>(None, name)
    }

    pub(super) fn of<K: k8s_openapi::Resource + Resource<DynamicType = ()>>(
        namespace: Option<&str>,
        name: &str,
    ) -> Self {
        Self {
            resource: K::URL_PATH_SEGMENT,
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            requests: Request::new(K::url_path(&(), namespace)),
        }
    }

    /// The namespace for messages. Empty if there is none.
    pub(super) fn namespace_name(&self) -> String {
        self.namespace.clone().unwrap_or_default()
    }

    /// Describes a request to this object. `verb` is a verb of RBAC.
    pub(super) fn task(&self, verb: &'static str) -> Task {
        let object = self.clone();
        Task { verb, object }
    }

    pub(super) fn get(&self) -> ApiRequest {
        self.requests.get(&self.name, &GetParams::default())
    }

    /// Builds the server-side apply of our fields of the Secret.
    pub(super) fn apply(&self, secret: &PullSecret, force: bool, dry_run: bool) -> ApiRequest {
        let object = secret.object(self.namespace.as_deref());
        let params = PatchParams {
            force,
            ..patch_params(dry_run)
        };
        let patch = Patch::Apply(object);
        self.requests.patch(&self.name, &params, &patch)
    }

    /// Builds the deletion of exactly the object that was read.
    pub(super) fn delete(&self, found: &FoundSecret, dry_run: bool) -> ApiRequest {
        let params = DeleteParams {
            dry_run,
            preconditions: Some(Preconditions {
                uid: found.metadata.uid.clone(),
                resource_version: found.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        self.requests.delete(&self.name, &params)
    }

    /// Builds the patch that adds a Secret to the pull secrets of the service account.
    pub(super) fn add(&self, found: &ServiceAccount, secret: &str, dry_run: bool) -> ApiRequest {
        let patch = Patch::Merge(found.with(secret));
        self.requests
            .patch(&self.name, &patch_params(dry_run), &patch)
    }

    /// Builds the creation of the namespace.
    pub(super) fn create(&self, dry_run: bool) -> ApiRequest {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": self.name },
        });
        let params = PostParams {
            dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
        };
        self.requests.create(&params, object.to_string().into())
    }
}

/// The parameters of a patch with our field manager. With `dry_run` the server checks everything
/// but writes nothing.
fn patch_params(dry_run: bool) -> PatchParams {
    PatchParams {
        dry_run,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::json::{self, variants};

    proptest! {
        #[test]
        fn secret_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!({"type": "a", "metadata": {"uid": "1", "labels": {"Type": "x"}}}),
                variants::Fields {
                    all: &["type", "metadata", "uid", "labels"],
                    optional: &["data", "immutable", "annotations", "resourceVersion"],
                },
            )
        ) {
            let secret: FoundSecret = json::from_str(&text).unwrap();
            prop_assert_eq!(secret.r#type(), "a");
            prop_assert_eq!(secret.label("Type"), Some("x"));
            prop_assert!(secret.docker_config().is_none() && !secret.is_immutable());
        }
    }

    fn query(request: ApiRequest) -> String {
        request.unwrap().uri().query().unwrap().to_owned()
    }

    #[test]
    fn every_write_can_be_tried_and_is_ours() {
        let secret = PullSecret::new("s", &[].into(), Secret::new("{}"), None);
        let (at, account) = (
            ObjectRef::secret("ns", "s"),
            ObjectRef::service_account("ns", "a"),
        );
        let found: ServiceAccount = json::from_str(r#"{"metadata": {}}"#).unwrap();
        for dry_run in [true, false] {
            let queries = [
                query(at.apply(&secret, false, dry_run)),
                query(account.add(&found, "s", dry_run)),
                query(ObjectRef::namespace("ns").create(dry_run)),
            ];
            for query in queries {
                assert!(query.contains("fieldManager=gcr-push"), "{query}");
                assert_eq!(query.contains("dryRun=All"), dry_run, "{query}");
                assert!(!query.contains("force=true"), "{query}");
            }
            let found: FoundSecret = json::from_str(r#"{"metadata": {}}"#).unwrap();
            let delete = at.delete(&found, dry_run).unwrap();
            let options: Value = serde_json::from_slice(delete.body()).unwrap();
            assert_eq!(options["dryRun"] == json!(["All"]), dry_run);
        }
        assert!(query(at.apply(&secret, true, false)).contains("force=true"));
    }
}
