//! One stored object, and the owners of its fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The key of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) resource: &'static str,
    /// Empty for a namespace itself.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn namespace(name: &str) -> Self {
        Self {
            resource: "namespaces",
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    /// The `kind` of an object of this resource.
    pub(super) fn kind(&self) -> &'static str {
        match self.resource {
            "secrets" => "Secret",
            "serviceaccounts" => "ServiceAccount",
            _ => "Namespace",
        }
    }
}

/// How a manager came to own a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// The path of a field that is owned as a whole: a string, a number, a list.
pub(super) type Path = Vec<String>;

/// The fields of each manager.
pub(super) type Owners = BTreeMap<(String, Operation), BTreeSet<Path>>;

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) value: Value,
    pub(super) owners: Owners,
    /// The number of reads that still do not find it.
    pub(super) hidden_for: u32,
}

impl Object {
    /// The object as it is answered, with `managedFields`.
    pub(super) fn document(&self) -> Value {
        let mut document = self.value.clone();
        let managed: Vec<Value> = self.owners.iter().map(managed).collect();
        if !managed.is_empty() {
            document["metadata"]["managedFields"] = json!(managed);
        }
        document
    }
}

fn managed(((manager, operation), fields): (&(String, Operation), &BTreeSet<Path>)) -> Value {
    let mut tree = json!({});
    for path in fields {
        let mut node = &mut tree;
        for part in path {
            node = &mut node[format!("f:{part}")];
            if node.is_null() {
                *node = json!({});
            }
        }
    }
    json!({
        "manager": manager,
        "operation": format!("{operation:?}"),
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    })
}
