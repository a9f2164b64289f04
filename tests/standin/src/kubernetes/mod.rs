//! An API server of Kubernetes, as far as pull secrets need one: namespaces, Secrets and service
//! accounts, with server-side apply, field owners, dry runs, optimistic locking and RBAC.
//!
//! It was written from Kubernetes' documents and the text of kube-apiserver's own handlers; where
//! it is narrower than that, it refuses.

mod apply;
mod discovery;
mod object;
mod rbac;
mod requests;
mod status;
mod validation;

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use object::{Object, Operation, Place};
pub use rbac::Rule;
use rbac::Users;
pub(crate) use requests::handle;

/// A cluster. It has the namespaces `default` and `kube-system` from the start.
pub struct Cluster {
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    objects: BTreeMap<Place, Object>,
    users: Users,
    version: u64,
    made: u64,
    /// How many reads of a service account others still follow with a change of their own.
    meddling: u32,
    /// How many reads it takes until a new namespace has its service account.
    delay: u32,
}

impl Default for Cluster {
    fn default() -> Self {
        let cluster = Self {
            inner: Mutex::default(),
        };
        for namespace in ["default", "kube-system"] {
            cluster.create_namespace(namespace);
        }
        cluster
    }
}

impl Cluster {
    /// Makes a user without any rights, and the bearer token of it; a service account is called
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub fn user(&self, name: &str) -> String {
        self.inner.lock().unwrap().users.add(name)
    }

    /// Allows a user something.
    pub fn allow(&self, user: &str, rule: Rule) {
        self.inner.lock().unwrap().users.allow(user, rule);
    }

    /// Takes back all that a user was allowed.
    pub fn forbid(&self, user: &str) {
        self.inner.lock().unwrap().users.forbid(user);
    }

    /// Makes a namespace, with the service account that each has.
    pub fn create_namespace(&self, name: &str) {
        self.inner.lock().unwrap().add_namespace(name, 0);
    }

    /// A namespace that is made by a request has its service account only when somebody has looked
    /// for it so often in vain.
    pub fn delay_service_accounts(&self, looks: u32) {
        self.inner.lock().unwrap().delay = looks;
    }

    /// Marks a namespace as one that is being deleted.
    pub fn terminate_namespace(&self, name: &str) {
        let mut inner = self.inner.lock().unwrap();
        let namespace = inner.objects.get_mut(&Place::namespace(name)).unwrap();
        namespace.value["status"] = json!({ "phase": "Terminating" });
    }

    /// Puts an object there as another client would (`kubectl-create`, …), by an update and not by
    /// apply.
    pub fn put(&self, resource: &'static str, namespace: &str, object: Value, manager: &str) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let place = Place {
            resource,
            namespace: namespace.to_owned(),
            name,
        };
        let mut inner = self.inner.lock().unwrap();
        let fields = apply::fields(&object);
        let owners = BTreeMap::from([((manager.to_owned(), Operation::Update), fields)]);
        inner.store(place, object, owners);
    }

    /// An object as it is now, with its metadata.
    pub fn get(&self, resource: &'static str, namespace: &str, name: &str) -> Option<Value> {
        let place = Place {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let inner = self.inner.lock().unwrap();
        inner.objects.get(&place).map(Object::shown)
    }

    /// Has somebody else add a pull secret of their own to a service account right after it was
    /// read, so many times.
    pub fn meddle(&self, times: u32) {
        self.inner.lock().unwrap().meddling = times;
    }
}

impl Inner {
    fn add_namespace(&mut self, name: &str, delay: u32) {
        let place = Place::namespace(name);
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
            "status": { "phase": "Active" },
        });
        self.store(place, object, BTreeMap::new());
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": "default", "namespace": name },
        });
        let place = Place {
            resource: "serviceaccounts",
            namespace: name.to_owned(),
            name: "default".to_owned(),
        };
        self.store(place.clone(), account, BTreeMap::new());
        self.objects.get_mut(&place).unwrap().hidden_for = delay;
    }

    /// Stores an object under a new version, and as a new one where there was none.
    fn store(&mut self, place: Place, mut value: Value, owners: object::Owners) {
        self.version += 1;
        let metadata = &mut value["metadata"];
        let known = self.objects.get(&place);
        match known.map(|known| &known.value["metadata"]) {
            Some(old) => {
                metadata["uid"] = old["uid"].clone();
                metadata["creationTimestamp"] = old["creationTimestamp"].clone();
            }
            None => {
                self.made += 1;
                metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.made));
                metadata["creationTimestamp"] = json!("2026-11-24T06:00:00Z");
            }
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
        if place.resource != "namespaces" {
            metadata["namespace"] = json!(place.namespace);
        }
        let object = Object {
            value,
            owners,
            hidden_for: 0,
        };
        self.objects.insert(place, object);
    }
}
