//! The state: projects with their services, accounts, pools and settings, buckets, and running
//! operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

use super::accounts::ServiceAccount;
use super::error;
use crate::answer::Refusal;

/// A project, as a test describes it.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its number.
    pub number: String,
    /// The project is deleted, and can still be restored.
    pub deleted: bool,
    /// The project has a billing account.
    pub billing: bool,
    /// The enabled APIs.
    pub services: BTreeSet<String>,
    /// The enforced constraints of the organisation: `iam.disableServiceAccountKeyCreation`, ….
    pub constraints: BTreeSet<String>,
    /// `legacyRedirectionState`; `None` if Google leaves it out.
    pub redirection: Option<String>,
}

impl Project {
    /// An active project with billing and nothing else.
    pub fn new(number: &str) -> Self {
        // Resource Manager and Service Usage are enabled in every project that a user creates.
        let services = ["cloudresourcemanager", "serviceusage"];
        Self {
            number: number.to_owned(),
            deleted: false,
            billing: true,
            services: services.map(full).into(),
            constraints: BTreeSet::new(),
            redirection: Some("REDIRECTION_FROM_GCR_IO_FINALIZED".to_owned()),
        }
    }

    /// Enables an API, by the first part of its name.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.services.insert(full(name));
        self
    }
}

fn full(name: &str) -> String {
    format!("{name}.googleapis.com")
}

/// A project with everything in it.
pub(crate) struct ProjectState {
    pub(crate) project: Project,
    /// Enabled services that have not propagated, with the number of uses that are still refused.
    pub(crate) settling: BTreeMap<String, u32>,
    /// By e-mail address.
    pub(crate) accounts: BTreeMap<String, ServiceAccount>,
    /// Workload identity pools by id, in their JSON form.
    pub(crate) pools: BTreeMap<String, Value>,
    /// Providers by `POOL/ID`.
    pub(crate) providers: BTreeMap<String, Value>,
}

/// The effect of an operation when it is done.
type Effect = Box<dyn FnOnce(&mut State) + Send>;

struct Running {
    left: u32,
    effect: Option<Effect>,
    result: Result<Value, Value>,
}

/// The state of all projects.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) projects: BTreeMap<String, ProjectState>,
    /// Repositories that the API created, by resource, in their JSON form.
    pub(crate) repositories: BTreeMap<String, Value>,
    /// The project of each bucket.
    pub(crate) buckets: BTreeMap<String, String>,
    operations: BTreeMap<String, Running>,
    serial: u32,
    interferences: u32,
}

/// The cloud of a stand-in.
#[derive(Default)]
pub(crate) struct Cloud {
    state: Mutex<State>,
}

impl Cloud {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A handler that panicked has failed its test already; others may still read the state.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// Creates a project, or replaces its description and keeps what is in it.
    pub(crate) fn set_project(&mut self, id: &str, project: Project) {
        let held = self
            .projects
            .entry(id.to_owned())
            .or_insert_with(|| ProjectState {
                project: project.clone(),
                settling: BTreeMap::new(),
                accounts: BTreeMap::new(),
                pools: BTreeMap::new(),
                providers: BTreeMap::new(),
            });
        held.project = project;
    }

    /// A project, deleted or not.
    pub(crate) fn project_state(&mut self, id: &str) -> Option<&mut ProjectState> {
        self.projects.get_mut(id)
    }

    /// Refuses a request for a service that is disabled or has not propagated.
    pub(crate) fn need_service(&mut self, id: &str, service: &str) -> Result<(), Refusal> {
        let Some(held) = self.projects.get_mut(id) else {
            return Ok(());
        };
        if let Some(left) = held.settling.get_mut(service)
            && *left > 0
        {
            *left -= 1;
            return Err(error::disabled(service, &held.project.number));
        }
        if held.project.services.contains(service) {
            return Ok(());
        }
        Err(error::disabled(service, &held.project.number))
    }

    /// An account by its address, in any project.
    pub(crate) fn account(&mut self, email: &str) -> Option<&mut ServiceAccount> {
        let mut projects = self.projects.values_mut();
        projects.find_map(|held| held.accounts.get_mut(email))
    }

    /// True if a policy may name this account. Accounts of projects that no test described are
    /// accepted.
    pub(crate) fn can_be_bound(&mut self, email: &str) -> bool {
        let known = self
            .projects
            .contains_key(&super::accounts::of_email(email));
        match self.account(email) {
            Some(account) => {
                let ready = account.unbindable == 0;
                account.unbindable = account.unbindable.saturating_sub(1);
                ready
            }
            None => !known,
        }
    }

    /// Changes this number of policies concurrently, just before they are written.
    pub(crate) fn interfere(&mut self, times: u32) {
        self.interferences = times;
    }

    /// The concurrent change to make before the caller's, if any.
    pub(crate) fn interferes(&mut self) -> Option<String> {
        if self.interferences == 0 {
            return None;
        }
        self.interferences -= 1;
        Some(format!("user:somebody-{}@example.com", self.interferences))
    }

    /// A unique number.
    pub(crate) fn next(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Starts an operation. Without a delay its effect is immediate, but a client still has to
    /// poll.
    pub(crate) fn begin(
        &mut self,
        name: &str,
        delay: u32,
        result: Result<Value, Value>,
        effect: impl FnOnce(&mut State) + Send + 'static,
    ) -> Value {
        let running = Running {
            left: delay,
            effect: Some(Box::new(effect)),
            result,
        };
        self.operations.insert(name.to_owned(), running);
        if delay == 0 {
            self.work(name);
        }
        json!({"name": name})
    }

    /// Advances every operation: each request does so, polling or not.
    pub(crate) fn advance(&mut self) {
        let names: Vec<String> = self.operations.keys().cloned().collect();
        for name in names {
            if let Some(running) = self.operations.get_mut(&name)
                && running.left > 0
            {
                running.left -= 1;
                if running.left == 0 {
                    self.work(&name);
                }
            }
        }
    }

    fn work(&mut self, name: &str) {
        let running = self.operations.get_mut(name);
        if let Some(effect) = running.and_then(|running| running.effect.take()) {
            effect(self);
        }
    }

    /// An operation in its JSON form.
    pub(crate) fn operation(&self, name: &str) -> Result<Value, Refusal> {
        if name == "operations/noop.DONE_OPERATION" {
            return Ok(json!({"name": name, "done": true}));
        }
        let running = self.operations.get(name);
        let running = running.ok_or_else(|| error::not_found("Operation not found."))?;
        if running.left > 0 {
            return Ok(json!({"name": name}));
        }
        Ok(match &running.result {
            Ok(response) => json!({"name": name, "done": true, "response": response}),
            Err(status) => json!({"name": name, "done": true, "error": status}),
        })
    }

    /// Everything that a test may compare, without what differs between runs.
    pub(crate) fn snapshot(&self) -> Value {
        let projects: BTreeMap<&String, Value> = self
            .projects
            .iter()
            .map(|(id, held)| {
                let accounts: BTreeMap<&String, Value> = held
                    .accounts
                    .iter()
                    .map(|(email, account)| (email, account.snapshot()))
                    .collect();
                let snapshot = json!({
                    "services": held.project.services,
                    "accounts": accounts,
                    "pools": held.pools,
                    "providers": held.providers,
                });
                (id, snapshot)
            })
            .collect();
        json!({"projects": projects, "repositories": self.repositories})
    }
}
