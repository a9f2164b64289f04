//! The few objects of Kubernetes that are read and written, as far as they are.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::client::ApiRequest;
use super::failed_request::Task;
use super::secret::{KEY, PullSecret, TYPE};
use crate::diagnostics::secret::Secret;

/// A Secret that is in the cluster.
#[derive(Clone, Debug)]
pub struct FoundSecret {
    /// What kind of Secret it is.
    pub r#type: String,
    /// Its data, decoded, as far as it is text.
    pub data: BTreeMap<String, Secret>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// True when nothing about its data can be changed.
    pub(super) is_immutable: bool,
    /// Which object it is, whatever it is called.
    pub(super) uid: String,
    /// Which state of it this is.
    pub(super) version: String,
}

impl<'de> Deserialize<'de> for FoundSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
            #[serde(default)]
            r#type: String,
            #[serde(default)]
            data: Option<BTreeMap<String, Secret64>>,
            #[serde(default)]
            immutable: bool,
        }
        let object = Object::deserialize(deserializer)?;
        let data = object.data.unwrap_or_default();
        Ok(Self {
            r#type: object.r#type,
            data: data
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect(),
            labels: object.metadata.labels.unwrap_or_default(),
            annotations: object.metadata.annotations.unwrap_or_default(),
            is_immutable: object.immutable,
            uid: object.metadata.uid,
            version: object.metadata.resource_version,
        })
    }
}

/// A value of a Secret's `data`; what is no text in it is none that we wrote.
struct Secret64(Secret);

impl<'de> Deserialize<'de> for Secret64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).unwrap_or_default();
        Ok(Self(Secret::new(
            String::from_utf8(bytes).unwrap_or_default(),
        )))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// A service account, as far as pods pull with it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceAccount {
    pub(super) metadata: Metadata,
    #[serde(default)]
    image_pull_secrets: Option<Vec<Value>>,
}

impl ServiceAccount {
    /// True when its pods pull with the Secret `name` already.
    pub(super) fn has(&self, name: &str) -> bool {
        let listed = self.image_pull_secrets.iter().flatten();
        listed.into_iter().any(|entry| entry["name"] == name)
    }

    /// The patch that adds it. Every kind of patch replaces the list as a whole (it is atomic in
    /// the schema), so the list goes with the state that it was read in, and a change in between
    /// is a conflict.
    pub(super) fn with(&self, name: &str) -> Value {
        let mut list = self.image_pull_secrets.clone().unwrap_or_default();
        list.push(json!({ "name": name }));
        json!({
            "metadata": { "resourceVersion": self.metadata.resource_version },
            "imagePullSecrets": list,
        })
    }
}

/// A Secret in a namespace, and what is done to it.
#[derive(Clone, Debug)]
pub(super) struct SecretAt {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl SecretAt {
    pub(super) fn task(&self, verb: &'static str) -> Task {
        Task {
            verb,
            resource: "secrets",
            name: self.name.clone(),
            namespace: Some(self.namespace.clone()),
        }
    }

    pub(super) fn path(&self) -> String {
        let Self { namespace, name } = self;
        format!("/api/v1/namespaces/{namespace}/secrets/{name}")
    }

    /// Server-side apply of exactly what is ours in it.
    pub(super) fn apply(&self, secret: &PullSecret, force: bool, dry_run: bool) -> ApiRequest {
        let mut metadata = json!({ "name": self.name, "namespace": self.namespace });
        for (field, entries) in [
            ("labels", secret.labels().clone()),
            ("annotations", secret.annotations()),
        ] {
            if !entries.is_empty() {
                metadata[field] = json!(entries);
            }
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": TYPE,
            "data": { KEY: STANDARD.encode(secret.docker_config().expose()) },
        });
        ApiRequest::apply(self.path(), &object)
            .writing(dry_run)
            .with(force, "force", "true")
    }

    /// Deletes exactly the object that was looked at.
    pub(super) fn delete(&self, found: &FoundSecret, dry_run: bool) -> ApiRequest {
        let mut options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": found.uid, "resourceVersion": found.version },
        });
        if dry_run {
            options["dryRun"] = json!(["All"]);
        }
        ApiRequest::delete(self.path(), &options)
    }
}

/// A service account in a namespace, and what is done to it.
#[derive(Clone, Debug)]
pub(super) struct AccountAt {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl AccountAt {
    pub(super) fn task(&self, verb: &'static str) -> Task {
        Task {
            verb,
            resource: "serviceaccounts",
            name: self.name.clone(),
            namespace: Some(self.namespace.clone()),
        }
    }

    pub(super) fn path(&self) -> String {
        let Self { namespace, name } = self;
        format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
    }

    pub(super) fn add(&self, found: &ServiceAccount, secret: &str, dry_run: bool) -> ApiRequest {
        ApiRequest::merge(self.path(), &found.with(secret)).writing(dry_run)
    }
}

/// What is done to make a namespace.
pub(super) fn namespace_task(name: &str) -> Task {
    Task {
        verb: "create",
        resource: "namespaces",
        name: name.to_owned(),
        namespace: None,
    }
}

/// Makes a namespace.
pub(super) fn create_namespace(name: &str, dry_run: bool) -> ApiRequest {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name },
    });
    ApiRequest::create("/api/v1/namespaces".to_owned(), &object).writing(dry_run)
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
            prop_assert_eq!(&secret.r#type, "a");
            prop_assert_eq!(&secret.labels["Type"], "x");
            prop_assert!(secret.data.is_empty() && !secret.is_immutable);
        }
    }
}
