//! Requests for objects: routing, authorization, and the verbs.

use http::{Method, header};
use serde_json::{Value, json};

use super::Inner;
use super::apply::{apply, fields, merge};
use super::object::{Object, ObjectKey, Operation, Owners};
use super::rbac::Access;
use super::status::Status;
use super::{discovery, list, validation};
use crate::answer::{self, Answer};
use crate::call::Call;

/// kube-apiserver's limit for a body.
const LARGEST_BODY: usize = 3 << 20;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Answers one request.
pub(crate) async fn handle(call: &mut Call, path: &str) -> Answer {
    let body = match call.body.whole(LARGEST_BODY).await {
        Ok(Some(body)) => body,
        _ => return Status::bad_request("the body is too long, or broke off").into(),
    };
    let mut inner = call.shared.cluster.inner.lock().unwrap();
    answer_to(&mut inner, call, path, &body).unwrap_or_else(Answer::from)
}

fn answer_to(inner: &mut Inner, call: &Call, path: &str, body: &[u8]) -> Result<Answer, Status> {
    let user = inner.users.of(&call.headers)?;
    if let Some(found) = discovery::answer(path) {
        return Ok(answer::json_body(200, &found));
    }
    if path == REVIEWS && call.method == Method::POST {
        return review(inner, &user, &parse(body)?);
    }
    if call.method == Method::GET
        && let Some(listed) = list::answer(inner, call, &user, path)
    {
        return listed;
    }
    let (object_key, names_one) = object_key(path).ok_or_else(Status::no_such_path)?;
    let verb = match (call.method.as_str(), names_one) {
        ("GET", true) => "get",
        ("POST", false) => "create",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        _ => return Err(Status::no_such_method()),
    };
    inner.users.check(&user, access(&object_key, verb))?;
    match verb {
        "get" => get(inner, &object_key),
        "create" => create(inner, call, object_key, parse(body)?),
        "patch" => patch(inner, call, &user, &object_key, &parse(body)?),
        _ => delete(inner, &object_key, &parse(body).unwrap_or_default()),
    }
}

/// The object or collection of a path. True for an object.
fn object_key(path: &str) -> Option<(ObjectKey, bool)> {
    let rest = path.strip_prefix("/api/v1/namespaces")?;
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    let resource = |name: &str| {
        let known = ["secrets", "serviceaccounts"];
        known.into_iter().find(|known| *known == name)
    };
    Some(match parts.as_slice() {
        [] => (ObjectKey::namespace(""), false),
        [name] => (ObjectKey::namespace(name), true),
        [namespace, kind] => {
            let object_key = ObjectKey {
                resource: resource(kind)?,
                namespace: (*namespace).to_owned(),
                name: String::new(),
            };
            (object_key, false)
        }
        [namespace, kind, name] => {
            let object_key = ObjectKey {
                resource: resource(kind)?,
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            };
            (object_key, true)
        }
        _ => return None,
    })
}

/// RBAC treats a namespace as being in itself (apiserver, `requestinfo.go`).
fn access<'a>(object_key: &'a ObjectKey, verb: &'a str) -> Access<'a> {
    Access {
        verb,
        resource: object_key.resource,
        namespace: match object_key.resource {
            "namespaces" => &object_key.name,
            _ => &object_key.namespace,
        },
        name: &object_key.name,
    }
}

fn parse(body: &[u8]) -> Result<Value, Status> {
    let unreadable = |error| Status::bad_request(format!("the body is no JSON: {error}"));
    serde_json::from_slice(body).map_err(unreadable)
}

fn review(inner: &Inner, user: &str, review: &Value) -> Result<Answer, Status> {
    let wanted = &review["spec"]["resourceAttributes"];
    let text = |key: &str| wanted[key].as_str().unwrap_or_default().to_owned();
    let (verb, resource) = (text("verb"), text("resource"));
    let (namespace, name) = (text("namespace"), text("name"));
    let allowed = inner.users.may(
        user,
        Access {
            verb: &verb,
            resource: &resource,
            namespace: &namespace,
            name: &name,
        },
    );
    let mut review = review.clone();
    review["status"] = json!({ "allowed": allowed });
    Ok(answer::json_body(201, &review))
}

fn get(inner: &mut Inner, object_key: &ObjectKey) -> Result<Answer, Status> {
    let missing = || Status::not_found(object_key.resource, &object_key.name);
    let object = inner.objects.get_mut(object_key).ok_or_else(missing)?;
    if object.hidden_for > 0 {
        object.hidden_for -= 1;
        return Err(missing());
    }
    let answer = answer::json_body(200, &object.document());
    if object_key.resource == "serviceaccounts" && inner.meddling > 0 {
        inner.meddling -= 1;
        let mut changed = inner.objects[object_key].clone();
        let list = &mut changed.value["imagePullSecrets"];
        if list.is_null() {
            *list = json!([]);
        }
        let name = format!("somebody-else-{}", inner.meddling);
        list.as_array_mut().unwrap().push(json!({ "name": name }));
        inner.store(object_key.clone(), changed.value, changed.owners);
    }
    Ok(answer)
}

/// True for `dryRun=All` only.
fn is_dry_run(call: &Call) -> Result<bool, Status> {
    match call.query.get("dryRun") {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(_) => Err(Status::bad_request("dryRun: Unsupported value")),
    }
}

fn create(
    inner: &mut Inner,
    call: &Call,
    object_key: ObjectKey,
    object: Value,
) -> Result<Answer, Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let object_key = ObjectKey {
        name: name.to_owned(),
        ..object_key
    };
    validation::check_kind(&object_key, &object)?;
    check_namespace(inner, &object_key)?;
    validation::check(&object_key, &object, None)?;
    if inner.objects.contains_key(&object_key) {
        return Err(Status::already_exists(&object_key));
    }
    if !is_dry_run(call)? {
        if object_key.resource == "namespaces" {
            inner.add_namespace(&object_key.name, inner.delay);
        } else {
            let own_key = (manager(call), Operation::Update);
            let owners = Owners::from([(own_key, fields(&object))]);
            inner.store(object_key.clone(), object.clone(), owners);
        }
    }
    let stored = inner
        .objects
        .get(&object_key)
        .map_or(object, Object::document);
    Ok(answer::json_body(201, &stored))
}

/// The field manager, or the client's name up to the slash.
fn manager(call: &Call) -> String {
    let agent = call.header(header::USER_AGENT).unwrap_or("unknown");
    let fallback = agent.split('/').next().unwrap_or(agent);
    call.query
        .get("fieldManager")
        .unwrap_or(fallback)
        .to_owned()
}

/// Refuses new objects in a namespace that is missing or terminating (NamespaceLifecycle).
fn check_namespace(inner: &Inner, object_key: &ObjectKey) -> Result<(), Status> {
    if object_key.resource == "namespaces" {
        return Ok(());
    }
    match inner
        .objects
        .get(&ObjectKey::namespace(&object_key.namespace))
    {
        None => Err(Status::not_found("namespaces", &object_key.namespace)),
        Some(found) if found.value["status"]["phase"] == "Terminating" => {
            Err(Status::terminating(object_key))
        }
        Some(_) => Ok(()),
    }
}

fn patch(
    inner: &mut Inner,
    call: &Call,
    user: &str,
    object_key: &ObjectKey,
    patch: &Value,
) -> Result<Answer, Status> {
    let content_type = call.header(header::CONTENT_TYPE).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default();
    let dry_run = is_dry_run(call)?;
    let force = call.query.get("force");
    let options =
        |field: &str, what: &str| Err(Status::invalid("PatchOptions.meta.k8s.io", "", field, what));
    let live = inner
        .objects
        .get(object_key)
        .filter(|object| object.hidden_for == 0);
    let (value, owners) = match content_type {
        "application/apply-patch+yaml" => {
            let Some(manager) = call.query.get("fieldManager") else {
                return options(
                    "fieldManager",
                    "Required value: is required for apply patch",
                );
            };
            validation::check_applied(object_key, patch)?;
            if live.is_none() {
                // The handler checks again for `create` with the name (apiserver, `patch.go`).
                inner.users.check(user, access(object_key, "create"))?;
                check_namespace(inner, object_key)?;
            }
            apply(live, patch, manager, force == Some("true"))?
        }
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            if force.is_some() {
                return options(
                    "force",
                    "Forbidden: may not be specified for non-apply patch",
                );
            }
            let missing = || Status::not_found(object_key.resource, &object_key.name);
            merge(object_key, live.ok_or_else(missing)?, patch, &manager(call))?
        }
        _ => return Err(Status::unsupported_media_type()),
    };
    let is_new = live.is_none();
    let old = live.cloned();
    validation::check(object_key, &value, old.as_ref().map(|old| &old.value))?;
    let is_same = old.is_some_and(|old| old.value == value && old.owners == owners);
    let document = if dry_run || is_same {
        Object {
            value,
            owners,
            hidden_for: 0,
        }
        .document()
    } else {
        inner.store(object_key.clone(), value, owners);
        inner.objects[object_key].document()
    };
    Ok(answer::json_body(if is_new { 201 } else { 200 }, &document))
}

fn delete(inner: &mut Inner, object_key: &ObjectKey, options: &Value) -> Result<Answer, Status> {
    let missing = || Status::not_found(object_key.resource, &object_key.name);
    let object = inner.objects.get(object_key).ok_or_else(missing)?;
    for (field, name) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (asked, has) = (
            &options["preconditions"][field],
            &object.value["metadata"][field],
        );
        if !asked.is_null() && asked != has {
            let why = format!(
                "the {name} in the precondition ({asked}) does not match the {name} in record \
                 ({has}). The object might have been modified"
            );
            return Err(Status::conflict(object_key, &why));
        }
    }
    if options["dryRun"] != json!(["All"]) {
        inner.objects.remove(object_key);
    }
    let details = json!({ "name": object_key.name, "kind": object_key.resource });
    let done = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    });
    Ok(answer::json_body(200, &done))
}
