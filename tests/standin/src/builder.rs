//! Configuring a stand-in before it starts.

use std::sync::{Arc, Mutex};

use crate::Standin;
use crate::accounts::Accounts;
use crate::behaviour::Behaviour;
use crate::certificates::Certificates;
use crate::cloud::Cloud;
use crate::faults::Faults;
use crate::gitlab::GitLab;
use crate::hosts::ServedNames;
use crate::iam::Grants;
use crate::issuers::Issuers;
use crate::kubernetes::Cluster;
use crate::log::Log;
use crate::quota::Counted;
use crate::registry::Store;
use crate::server::{Server, Shared};
use crate::storage::Storage;
use crate::upstream::Upstream;

/// Collects the settings of a stand-in.
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    behaviour: Behaviour,
    storage: Storage,
    names: Vec<String>,
    upstream: Option<String>,
    upstream_names: Vec<String>,
}

impl Builder {
    /// Sets all switches.
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// Sets where blobs are stored.
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Adds a name that the proxy answers for; it leads to the plain registry.
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// Puts a real registry (`http://HOST:PORT`) behind `plain_address` and `tls_address`.
    pub fn upstream(mut self, url: &str) -> Self {
        self.upstream = Some(url.to_owned());
        self
    }

    /// Puts the real registry behind this name of the proxy as well.
    pub fn upstream_name(mut self, name: &str) -> Self {
        self.upstream_names.push(name.to_owned());
        self
    }

    /// Starts it.
    pub fn start(self) -> Standin {
        let mut names = self.names;
        names.extend(self.upstream_names.iter().cloned());
        let upstream_names = self.upstream_names;
        let upstream = self.upstream.map(|url| Upstream::new(&url, upstream_names));
        let shared = Arc::new(Shared {
            certificates: Certificates::new(&self.behaviour),
            behaviour: Mutex::new(Arc::new(self.behaviour)),
            log: Log::default(),
            faults: Faults::default(),
            names: ServedNames::new(names),
            accounts: Accounts::default(),
            issuers: Issuers::default(),
            grants: Grants::default(),
            cloud: Cloud::default(),
            store: Store::new(self.storage),
            cluster: Cluster::default(),
            counted: Counted::default(),
            gitlab: GitLab::default(),
            upstream,
        });
        let server = Server::start(&shared);
        Standin { shared, server }
    }
}
