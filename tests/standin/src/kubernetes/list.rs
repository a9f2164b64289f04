//! Lists of workloads, in pages.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>

use serde_json::{Value, json};

use super::Inner;
use super::object::Object;
use super::rbac::Access;
use super::status::Status;
use crate::answer::{self, Answer};
use crate::call::Call;

/// The API version and the resource of each list, with the kind of its items.
const LISTS: [(&str, &str, &str); 7] = [
    ("/api/v1", "pods", "Pod"),
    ("/api/v1", "replicationcontrollers", "ReplicationController"),
    ("/apis/apps/v1", "deployments", "Deployment"),
    ("/apis/apps/v1", "statefulsets", "StatefulSet"),
    ("/apis/apps/v1", "daemonsets", "DaemonSet"),
    ("/apis/batch/v1", "jobs", "Job"),
    ("/apis/batch/v1", "cronjobs", "CronJob"),
];

/// The answer to a list of workloads. `None` for another path.
pub(super) fn answer(
    inner: &mut Inner,
    call: &Call,
    user: &str,
    path: &str,
) -> Option<Result<Answer, Status>> {
    LISTS.iter().find_map(|(version, resource, kind)| {
        let rest = path.strip_prefix(version)?.strip_prefix('/')?;
        let namespace = if rest == *resource {
            ""
        } else {
            let rest = rest.strip_prefix("namespaces/")?;
            rest.strip_suffix(resource)?.strip_suffix('/')?
        };
        let wanted = Access {
            verb: "list",
            resource,
            namespace,
            name: "",
        };
        let allowed = inner.users.check(user, wanted);
        Some(allowed.and_then(|()| list(inner, call, (version, resource, kind), namespace)))
    })
}

fn list(
    inner: &mut Inner,
    call: &Call,
    (version, resource, kind): (&str, &str, &str),
    namespace: &str,
) -> Result<Answer, Status> {
    let number = |name: &str| {
        call.query
            .get(name)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let (from, limit) = (number("continue").unwrap_or(0), number("limit"));
    if from > 0 && inner.expired_lists > 0 {
        inner.expired_lists -= 1;
        return Err(Status::expired());
    }
    let objects = inner.objects.iter().filter(|(key, _)| {
        key.resource == resource && (namespace.is_empty() || key.namespace == namespace)
    });
    let all: Vec<&Object> = objects.map(|(_, object)| object).collect();
    let until = limit.map_or(all.len(), |limit| (from + limit).min(all.len()));
    let items: Vec<Value> = all[from.min(until)..until]
        .iter()
        .map(|object| {
            // Items of a list have no type of their own.
            let mut document = object.document();
            let fields = document.as_object_mut().unwrap();
            fields.remove("kind");
            fields.remove("apiVersion");
            document
        })
        .collect();
    let next = if until < all.len() {
        until.to_string()
    } else {
        String::new()
    };
    let version = version
        .trim_start_matches("/apis/")
        .trim_start_matches("/api/");
    Ok(answer::json_body(
        200,
        &json!({
            "kind": format!("{kind}List"),
            "apiVersion": version,
            "metadata": { "resourceVersion": inner.version.to_string(), "continue": next },
            "items": items,
        }),
    ))
}
