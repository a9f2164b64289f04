//! A Secret as an object of Kubernetes, in the order in which kubectl writes its fields as JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::kubernetes::{KEY, PullSecret, TYPE};

/// One object, for one namespace or for whichever is current. It has no `Debug`: base64 hides
/// nothing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) metadata: Metadata<'a>,
    pub(super) data: BTreeMap<&'static str, String>,
    pub(super) r#type: &'static str,
}

/// `creationTimestamp: null` says nothing, but stands in what kubectl prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'a str>,
    creation_timestamp: (),
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl<'a> Document<'a> {
    pub(super) fn of(secret: &'a PullSecret, namespace: Option<&'a str>) -> Self {
        let data = STANDARD.encode(secret.docker_config().expose());
        Self {
            kind: "Secret",
            api_version: "v1",
            metadata: Metadata {
                name: secret.name(),
                namespace,
                creation_timestamp: (),
                labels: secret.labels(),
                annotations: secret.annotations(),
            },
            data: BTreeMap::from([(KEY, data)]),
            r#type: TYPE,
        }
    }
}
