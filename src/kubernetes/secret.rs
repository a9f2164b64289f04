//! The Secret with which a cluster pulls.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::ci::table::timestamp;
use crate::diagnostics::secret::Secret;

/// The type of a Secret that holds registry logins.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets>
pub const TYPE: &str = "kubernetes.io/dockerconfigjson";

/// The one key of its data.
pub const KEY: &str = ".dockerconfigjson";

/// The annotation that says when the token in a Secret stops working: RFC 3339, in UTC.
pub const EXPIRY: &str = "gcr-push.github.io/expires-at";

/// The most bytes that a Secret may hold.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size>
pub const MAX_SECRET_SIZE: usize = 1 << 20;

/// A Secret of type `kubernetes.io/dockerconfigjson`.
#[derive(Clone, Debug)]
pub struct PullSecret {
    name: String,
    labels: BTreeMap<String, String>,
    expires_at: Option<SystemTime>,
    docker_config: Secret,
}

impl PullSecret {
    /// The Secret that holds the login file `docker_config`; `expires_at` is when the logins in it
    /// stop working.
    pub fn new(
        name: &str,
        labels: &BTreeMap<String, String>,
        docker_config: Secret,
        expires_at: Option<SystemTime>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            labels: labels.clone(),
            expires_at,
            docker_config,
        }
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object for one namespace, or for whichever is current. It hides nothing any more.
    pub(crate) fn object(&self, namespace: Option<&str>) -> Value {
        let mut metadata = json!({ "name": self.name });
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        if !self.labels.is_empty() {
            metadata["labels"] = json!(self.labels);
        }
        if let Some(time) = self.expires_at {
            metadata["annotations"] = json!({ EXPIRY: utc(time) });
        }
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": TYPE,
            "data": { KEY: STANDARD.encode(self.docker_config.expose()) },
        })
    }

    /// When the logins in it stop working, where that is known.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// What stands under `.dockerconfigjson`, decoded.
    pub fn docker_config(&self) -> &Secret {
        &self.docker_config
    }
}

/// A time as Kubernetes writes one: RFC 3339 to the second, in UTC.
pub(crate) fn utc(time: SystemTime) -> String {
    format!("{}Z", timestamp(time))
}
