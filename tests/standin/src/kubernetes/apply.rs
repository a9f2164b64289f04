//! Server-side apply and merge patches.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::object::{Object, ObjectKey, Operation, Owners, Path};
use super::status::Status;

/// Fields without an owner: those that identify an object, and those that only the server writes.
const UNOWNED: [&[&str]; 9] = [
    &["apiVersion"],
    &["kind"],
    &["status"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "uid"],
    &["metadata", "resourceVersion"],
    &["metadata", "creationTimestamp"],
    &["metadata", "managedFields"],
];

/// Every field of an object that a manager can own. Maps are split, all else is one field:
/// `imagePullSecrets` too, which is atomic in the schema.
pub(super) fn fields(object: &Value) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    collect(object, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, path: &mut Path, found: &mut BTreeSet<Path>) {
    if UNOWNED.iter().any(|unowned| *unowned == path.as_slice()) {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                collect(value, path, found);
                path.pop();
            }
        }
        Value::Null => {}
        _ => {
            found.insert(path.clone());
        }
    }
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

fn set(value: &mut Value, path: &[String], new: Value) {
    let mut node = value;
    for key in path {
        if !node.is_object() {
            *node = Value::Object(Map::new());
        }
        node = &mut node[key.as_str()];
    }
    *node = new;
}

/// Removes a field, and every map that is empty without it: Go omits those (`omitempty`).
fn remove(value: &mut Value, path: &[String]) {
    let ([first, rest @ ..], Some(map)) = (path, value.as_object_mut()) else {
        return;
    };
    if rest.is_empty() {
        map.remove(first);
    } else if let Some(inner) = map.get_mut(first) {
        remove(inner, rest);
        if inner.as_object().is_some_and(Map::is_empty) {
            map.remove(first);
        }
    }
}

/// The object and the owners of its fields after `manager` applies `wanted`.
pub(super) fn apply(
    live: Option<&Object>,
    wanted: &Value,
    manager: &str,
    force: bool,
) -> Result<(Value, Owners), Status> {
    let new = fields(wanted);
    let own_key = (manager.to_owned(), Operation::Apply);
    let (mut value, mut owners) = match live {
        Some(live) => (live.value.clone(), live.owners.clone()),
        None => {
            let mut bare = wanted.clone();
            for path in &new {
                remove(&mut bare, path);
            }
            (bare, Owners::new())
        }
    };
    let mut conflicts: Vec<(String, Path)> = Vec::new();
    for path in &new {
        if at(&value, path) == at(wanted, path) {
            continue;
        }
        let others = owners
            .iter_mut()
            .filter(|(owner, fields)| **owner != own_key && fields.contains(path));
        for ((manager, _), fields) in others {
            if force {
                fields.remove(path);
            } else {
                conflicts.push((manager.clone(), path.clone()));
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(Status::apply_conflict(&conflicts));
    }
    // A field that was applied before and is missing now is given up, and removed with its last
    // owner.
    let given_up = owners.remove(&own_key).unwrap_or_default();
    for path in given_up.difference(&new) {
        if !owners.values().any(|fields| fields.contains(path)) {
            remove(&mut value, path);
        }
    }
    for path in &new {
        set(
            &mut value,
            path,
            at(wanted, path).cloned().unwrap_or_default(),
        );
    }
    owners.retain(|_, fields| !fields.is_empty());
    owners.insert(own_key, new);
    Ok((value, owners))
}

/// The same for a merge patch (RFC 7396): lists are replaced as a whole.
pub(super) fn merge(
    object_key: &ObjectKey,
    live: &Object,
    patch: &Value,
    manager: &str,
) -> Result<(Value, Owners), Status> {
    let requested_version = &patch["metadata"]["resourceVersion"];
    if !requested_version.is_null()
        && *requested_version != live.value["metadata"]["resourceVersion"]
    {
        return Err(Status::modified(object_key));
    }
    let mut value = live.value.clone();
    merge_into(&mut value, patch);
    let own_key = (manager.to_owned(), Operation::Update);
    let mut owners = live.owners.clone();
    let changed: BTreeSet<Path> = fields(&value)
        .into_iter()
        .filter(|path| at(&value, path) != at(&live.value, path))
        .collect();
    for fields in owners.values_mut() {
        fields.retain(|path| !changed.contains(path) && at(&value, path).is_some());
    }
    owners.entry(own_key).or_default().extend(changed);
    owners.retain(|_, fields| !fields.is_empty());
    Ok((value, owners))
}

fn merge_into(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    for (key, new) in patch {
        if new.is_null() {
            value.as_object_mut().unwrap().remove(key);
        } else {
            merge_into(&mut value[key.as_str()], new);
        }
    }
}
