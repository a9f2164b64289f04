//! From a request to what is done with an object.

use http::{Method, header};
use serde_json::{Value, json};

use super::Inner;
use super::apply::{apply, fields, merge};
use super::object::{Object, Operation, Owners, Place};
use super::rbac::Access;
use super::status::Status;
use super::{discovery, validation};
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
    let (place, names_one) = place(path).ok_or_else(Status::no_such_path)?;
    let verb = match (call.method.as_str(), names_one) {
        ("GET", true) => "get",
        ("POST", false) => "create",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        _ => return Err(Status::no_such_method()),
    };
    inner.users.check(&user, access(&place, verb))?;
    match verb {
        "get" => get(inner, &place),
        "create" => create(inner, call, place, parse(body)?),
        "patch" => patch(inner, call, &user, &place, &parse(body)?),
        _ => delete(inner, &place, &parse(body).unwrap_or_default()),
    }
}

/// What a path names, and whether that is one object.
fn place(path: &str) -> Option<(Place, bool)> {
    let rest = path.strip_prefix("/api/v1/namespaces")?;
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    let resource = |name: &str| {
        let known = ["secrets", "serviceaccounts"];
        known.into_iter().find(|known| *known == name)
    };
    Some(match parts.as_slice() {
        [] => (Place::namespace(""), false),
        [name] => (Place::namespace(name), true),
        [namespace, kind] => {
            let place = Place {
                resource: resource(kind)?,
                namespace: (*namespace).to_owned(),
                name: String::new(),
            };
            (place, false)
        }
        [namespace, kind, name] => {
            let place = Place {
                resource: resource(kind)?,
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            };
            (place, true)
        }
        _ => return None,
    })
}

/// A namespace is in itself, where RBAC is concerned (apiserver, `requestinfo.go`).
fn access<'a>(place: &'a Place, verb: &'a str) -> Access<'a> {
    Access {
        verb,
        resource: place.resource,
        namespace: match place.resource {
            "namespaces" => &place.name,
            _ => &place.namespace,
        },
        name: &place.name,
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

fn get(inner: &mut Inner, place: &Place) -> Result<Answer, Status> {
    let missing = || Status::not_found(place.resource, &place.name);
    let object = inner.objects.get_mut(place).ok_or_else(missing)?;
    if object.hidden_for > 0 {
        object.hidden_for -= 1;
        return Err(missing());
    }
    let answer = answer::json_body(200, &object.shown());
    if place.resource == "serviceaccounts" && inner.meddling > 0 {
        inner.meddling -= 1;
        let mut changed = inner.objects[place].clone();
        let list = &mut changed.value["imagePullSecrets"];
        if list.is_null() {
            *list = json!([]);
        }
        let name = format!("somebody-else-{}", inner.meddling);
        list.as_array_mut().unwrap().push(json!({ "name": name }));
        inner.store(place.clone(), changed.value, changed.owners);
    }
    Ok(answer)
}

/// `dryRun=All` and nothing else is a dry run.
fn is_dry_run(call: &Call) -> Result<bool, Status> {
    match call.query.get("dryRun") {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(_) => Err(Status::bad_request("dryRun: Unsupported value")),
    }
}

fn create(inner: &mut Inner, call: &Call, place: Place, object: Value) -> Result<Answer, Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let place = Place {
        name: name.to_owned(),
        ..place
    };
    validation::check_kind(&place, &object)?;
    check_namespace(inner, &place)?;
    validation::check(&place, &object, None)?;
    if inner.objects.contains_key(&place) {
        return Err(Status::already_exists(&place));
    }
    if !is_dry_run(call)? {
        if place.resource == "namespaces" {
            inner.add_namespace(&place.name, inner.delay);
        } else {
            let own = (manager(call), Operation::Update);
            let owners = Owners::from([(own, fields(&object))]);
            inner.store(place.clone(), object.clone(), owners);
        }
    }
    let stored = inner.objects.get(&place).map_or(object, Object::shown);
    Ok(answer::json_body(201, &stored))
}

/// The manager, or what stands before the slash of the client's own name.
fn manager(call: &Call) -> String {
    let agent = call.header(header::USER_AGENT).unwrap_or("unknown");
    let fallback = agent.split('/').next().unwrap_or(agent);
    call.query
        .get("fieldManager")
        .unwrap_or(fallback)
        .to_owned()
}

/// Nothing new comes into a namespace that is not there, or is going (NamespaceLifecycle).
fn check_namespace(inner: &Inner, place: &Place) -> Result<(), Status> {
    if place.resource == "namespaces" {
        return Ok(());
    }
    match inner.objects.get(&Place::namespace(&place.namespace)) {
        None => Err(Status::not_found("namespaces", &place.namespace)),
        Some(found) if found.value["status"]["phase"] == "Terminating" => {
            Err(Status::terminating(place))
        }
        Some(_) => Ok(()),
    }
}

fn patch(
    inner: &mut Inner,
    call: &Call,
    user: &str,
    place: &Place,
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
        .get(place)
        .filter(|object| object.hidden_for == 0);
    let (value, owners) = match content_type {
        "application/apply-patch+yaml" => {
            let Some(manager) = call.query.get("fieldManager") else {
                return options(
                    "fieldManager",
                    "Required value: is required for apply patch",
                );
            };
            validation::check_applied(place, patch)?;
            if live.is_none() {
                // The handler asks again, for `create` and with the name (apiserver, `patch.go`).
                inner.users.check(user, access(place, "create"))?;
                check_namespace(inner, place)?;
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
            let missing = || Status::not_found(place.resource, &place.name);
            merge(place, live.ok_or_else(missing)?, patch, &manager(call))?
        }
        _ => return Err(Status::unsupported_media_type()),
    };
    let is_new = live.is_none();
    let old = live.cloned();
    validation::check(place, &value, old.as_ref().map(|old| &old.value))?;
    let is_same = old.is_some_and(|old| old.value == value && old.owners == owners);
    let shown = if dry_run || is_same {
        Object {
            value,
            owners,
            hidden_for: 0,
        }
        .shown()
    } else {
        inner.store(place.clone(), value, owners);
        inner.objects[place].shown()
    };
    Ok(answer::json_body(if is_new { 201 } else { 200 }, &shown))
}

fn delete(inner: &mut Inner, place: &Place, options: &Value) -> Result<Answer, Status> {
    let missing = || Status::not_found(place.resource, &place.name);
    let object = inner.objects.get(place).ok_or_else(missing)?;
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
            return Err(Status::conflict(place, &why));
        }
    }
    if options["dryRun"] != json!(["All"]) {
        inner.objects.remove(place);
    }
    let details = json!({ "name": place.name, "kind": place.resource });
    let done = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    });
    Ok(answer::json_body(200, &done))
}
