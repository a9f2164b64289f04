//! Kubernetes' discovery API.

use serde_json::{Value, json};

/// The answer to a discovery path. `None` for another path.
pub(super) fn answer(path: &str) -> Option<Value> {
    Some(match path {
        "/version" => json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.4" }),
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/apis" => {
            let version = json!({
                "groupVersion": "authorization.k8s.io/v1", "version": "v1",
            });
            let group = json!({
                "name": "authorization.k8s.io",
                "versions": [version],
                "preferredVersion": version,
            });
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] })
        }
        "/api/v1" => {
            let resource = |name: &str, singular: &str, kind: &str, verbs: &[&str]| {
                json!({
                    "name": name, "singularName": singular, "kind": kind,
                    "namespaced": name != "namespaces", "verbs": verbs,
                })
            };
            let resources = [
                resource("namespaces", "namespace", "Namespace", &["create", "get"]),
                resource(
                    "secrets",
                    "secret",
                    "Secret",
                    &["create", "delete", "get", "patch"],
                ),
                resource(
                    "serviceaccounts",
                    "serviceaccount",
                    "ServiceAccount",
                    &["get", "patch"],
                ),
            ];
            json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": resources })
        }
        "/apis/authorization.k8s.io/v1" => json!({
            "kind": "APIResourceList",
            "groupVersion": "authorization.k8s.io/v1",
            "resources": [{
                "name": "selfsubjectaccessreviews", "singularName": "", "namespaced": false,
                "kind": "SelfSubjectAccessReview", "verbs": ["create"],
            }],
        }),
        _ => return None,
    })
}
