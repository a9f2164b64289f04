//! Who may do what.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

use std::collections::BTreeMap;

use http::HeaderMap;

use super::status::Status;
use crate::call::bearer;
use crate::random::opaque;

/// A rule of a Role in one namespace, or of a ClusterRole.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `None` means all namespaces, and resources without one.
    pub namespace: Option<String>,
    /// `get`, `create`, …
    pub verbs: Vec<String>,
    /// `secrets`, …
    pub resources: Vec<String>,
    /// Only these objects; empty means all.
    pub names: Vec<String>,
}

impl Rule {
    /// Everything, everywhere.
    pub fn everything() -> Self {
        Self {
            verbs: vec!["*".to_owned()],
            resources: vec!["*".to_owned()],
            ..Self::default()
        }
    }

    /// These verbs on one resource of a namespace.
    pub fn of(namespace: &str, resource: &str, verbs: &[&str]) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
            resources: vec![resource.to_owned()],
            names: Vec::new(),
        }
    }

    fn allows(&self, wanted: &Access<'_>) -> bool {
        let has =
            |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let object_key = self.namespace.as_deref();
        object_key.is_none_or(|namespace| namespace == wanted.namespace)
            && has(&self.verbs, wanted.verb)
            && has(&self.resources, wanted.resource)
            // A request without an object name, such as a POST, matches no rule with names.
            && (self.names.is_empty() || self.names.iter().any(|name| name == wanted.name))
    }
}

/// The access that a request needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub(super) verb: &'a str,
    pub(super) resource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

#[derive(Default)]
pub(super) struct Users {
    tokens: BTreeMap<String, String>,
    rules: Vec<(String, Rule)>,
}

impl Users {
    pub(super) fn add(&mut self, name: &str) -> String {
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{}", opaque(60));
        self.tokens.insert(token.clone(), name.to_owned());
        token
    }

    pub(super) fn allow(&mut self, user: &str, rule: Rule) {
        self.rules.push((user.to_owned(), rule));
    }

    pub(super) fn forbid(&mut self, user: &str) {
        self.rules.retain(|(holder, _)| holder != user);
    }

    /// The user of a request. Without a credential it is `system:anonymous`, who may do nothing.
    pub(super) fn of(&self, headers: &HeaderMap) -> Result<String, Status> {
        match bearer(headers) {
            None => Ok("system:anonymous".to_owned()),
            Some(token) => self
                .tokens
                .get(token)
                .cloned()
                .ok_or_else(Status::unauthorized),
        }
    }

    pub(super) fn may(&self, user: &str, wanted: Access<'_>) -> bool {
        let mut own = self.rules.iter().filter(|(holder, _)| holder == user);
        own.any(|(_, rule)| rule.allows(&wanted))
    }

    pub(super) fn check(&self, user: &str, wanted: Access<'_>) -> Result<(), Status> {
        if self.may(user, wanted) {
            Ok(())
        } else {
            Err(Status::forbidden(user, wanted))
        }
    }
}
