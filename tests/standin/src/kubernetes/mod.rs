//! A Kubernetes API server, as far as pull secrets and mirrors need one: namespaces, Secrets,
//! service accounts, and lists of workloads, with server-side apply, field owners, dry runs, optimistic locking and RBAC.
//!
//! Written from Kubernetes' documents and the text of kube-apiserver's own handlers; what it does
//! not implement it refuses.

mod apply;
mod discovery;
mod list;
mod object;
mod rbac;
mod requests;
mod status;
mod validation;

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use object::{Object, ObjectKey, Operation};
pub use rbac::Rule;
use rbac::Users;
pub(crate) use requests::handle;

/// A cluster. It starts with the namespaces `default` and `kube-system`.
pub struct Cluster {
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    objects: BTreeMap<ObjectKey, Object>,
    users: Users,
    version: u64,
    made: u64,
    /// The number of service account reads that a concurrent change follows.
    meddling: u32,
    /// The number of lists that are forgotten after their first page.
    expired_lists: u32,
    /// The number of reads until a new namespace has its service account.
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
    /// Creates a user without permissions. Returns its bearer token; a service account is named
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub fn user(&self, name: &str) -> String {
        self.inner.lock().unwrap().users.add(name)
    }

    /// Grants a rule to a user.
    pub fn allow(&self, user: &str, rule: Rule) {
        self.inner.lock().unwrap().users.allow(user, rule);
    }

    /// Revokes everything from a user.
    pub fn forbid(&self, user: &str) {
        self.inner.lock().unwrap().users.forbid(user);
    }

    /// Creates a namespace with its default service account.
    pub fn create_namespace(&self, name: &str) {
        self.inner.lock().unwrap().add_namespace(name, 0);
    }

    /// Delays the service account of a namespace that a request creates, by this number of reads.
    pub fn delay_service_accounts(&self, reads: u32) {
        self.inner.lock().unwrap().delay = reads;
    }

    /// Marks a namespace as terminating.
    pub fn terminate_namespace(&self, name: &str) {
        let mut inner = self.inner.lock().unwrap();
        let namespace = inner.objects.get_mut(&ObjectKey::namespace(name)).unwrap();
        namespace.value["status"] = json!({ "phase": "Terminating" });
    }

    /// Puts an object as another client would (`kubectl-create`, …), by an update and not by apply.
    pub fn put(&self, resource: &'static str, namespace: &str, object: Value, manager: &str) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let object_key = ObjectKey {
            resource,
            namespace: namespace.to_owned(),
            name,
        };
        let mut inner = self.inner.lock().unwrap();
        let fields = apply::fields(&object);
        let owners = BTreeMap::from([((manager.to_owned(), Operation::Update), fields)]);
        inner.store(object_key, object, owners);
    }

    /// An object with its metadata.
    pub fn get(&self, resource: &'static str, namespace: &str, name: &str) -> Option<Value> {
        let object_key = ObjectKey {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let inner = self.inner.lock().unwrap();
        inner.objects.get(&object_key).map(Object::document)
    }

    /// Forgets where this number of lists were after their first page.
    pub fn expire_lists(&self, times: u32) {
        self.inner.lock().unwrap().expired_lists = times;
    }

    /// Has somebody else add a pull secret of their own to a service account right after it was
    /// read, this number of times.
    pub fn interfere(&self, times: u32) {
        self.inner.lock().unwrap().meddling = times;
    }
}

impl Inner {
    fn add_namespace(&mut self, name: &str, delay: u32) {
        let object_key = ObjectKey::namespace(name);
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
            "status": { "phase": "Active" },
        });
        self.store(object_key, object, BTreeMap::new());
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": "default", "namespace": name },
        });
        let object_key = ObjectKey {
            resource: "serviceaccounts",
            namespace: name.to_owned(),
            name: "default".to_owned(),
        };
        self.store(object_key.clone(), account, BTreeMap::new());
        self.objects.get_mut(&object_key).unwrap().hidden_for = delay;
    }

    /// Stores an object under a new version, and as a new one if there was none.
    fn store(&mut self, object_key: ObjectKey, mut value: Value, owners: object::Owners) {
        self.version += 1;
        let metadata = &mut value["metadata"];
        let known = self.objects.get(&object_key);
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
        if object_key.resource != "namespaces" {
            metadata["namespace"] = json!(object_key.namespace);
        }
        let object = Object {
            value,
            owners,
            hidden_for: 0,
        };
        self.objects.insert(object_key, object);
    }
}
