//! The pull secret: a Kubernetes Secret with registry logins.

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

/// The only key in the data of such a Secret.
pub const KEY: &str = ".dockerconfigjson";

/// The annotation with the time at which the token in a Secret expires: RFC 3339, in UTC.
pub const EXPIRY: &str = "gcr-push.github.io/expires-at";

/// The largest data of a Secret, in bytes.
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
    /// Creates a Secret with the Docker config `docker_config`. `expires_at` is the time at which
    /// the logins in it expire.
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

    /// Builds the object for a namespace, or for the current one if `namespace` is `None`. Its
    /// `Debug` does not hide the data.
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

    /// The time at which the logins expire. `None` if they do not, or if it is not known.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// The Docker config, which is the decoded value of `.dockerconfigjson`.
    pub fn docker_config(&self) -> &Secret {
        &self.docker_config
    }
}

/// Formats a time as Kubernetes does: RFC 3339 in UTC, to the second.
pub(crate) fn utc(time: SystemTime) -> String {
    format!("{}Z", timestamp(time))
}
