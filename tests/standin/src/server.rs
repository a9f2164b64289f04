//! The state that all connections share, and the three listeners.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use tokio::runtime::Runtime;

use crate::accounts::Accounts;
use crate::behaviour::Behaviour;
use crate::certificates::Certificates;
use crate::cloud::Cloud;
use crate::connection::{self, Endpoint};
use crate::faults::Faults;
use crate::gitlab::GitLab;
use crate::hosts::ServedNames;
use crate::iam::Grants;
use crate::issuers::Issuers;
use crate::kubernetes::Cluster;
use crate::log::Log;
use crate::quota::Counted;
use crate::registry::Store;
use crate::upstream::Upstream;

/// The state of a running stand-in.
pub(crate) struct Shared {
    pub(crate) behaviour: Mutex<Arc<Behaviour>>,
    pub(crate) log: Log,
    pub(crate) faults: Faults,
    pub(crate) certificates: Certificates,
    pub(crate) names: ServedNames,
    pub(crate) accounts: Accounts,
    pub(crate) issuers: Issuers,
    pub(crate) grants: Grants,
    pub(crate) cloud: Cloud,
    pub(crate) store: Store,
    pub(crate) cluster: Cluster,
    pub(crate) counted: Counted,
    pub(crate) gitlab: GitLab,
    pub(crate) upstream: Option<Upstream>,
}

impl Shared {
    /// Creates a bucket, with the policy that Google gives to new ones.
    pub(crate) fn create_bucket(&self, name: &str, project: &str) {
        let mut state = self.cloud.state();
        state.buckets.insert(name.to_owned(), project.to_owned());
        drop(state);
        let resource = format!("projects/{project}/buckets/{name}");
        for kind in ["projectEditor", "projectOwner"] {
            let member = format!("{kind}:{project}");
            self.grants
                .add(&member, "roles/storage.legacyBucketOwner", &resource);
        }
    }

    /// The current switches; a request keeps those it started with.
    pub(crate) fn behaviour(&self) -> Arc<Behaviour> {
        Arc::clone(&self.behaviour.lock().unwrap())
    }

    /// The real registry that answers for this listener or tunnel, if any.
    pub(crate) fn upstream_for(&self, endpoint: &Endpoint) -> Option<&Upstream> {
        let upstream = self.upstream.as_ref()?;
        match endpoint {
            Endpoint::Address { .. } => Some(upstream),
            Endpoint::Name(name) => upstream.answers_for(name).then_some(upstream),
            Endpoint::Proxy => None,
        }
    }
}

/// The listeners and the threads that serve them.
pub(crate) struct Server {
    pub(crate) proxy: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Opens the listeners on free ports of the loopback interface and serves them on threads of
    /// their own, so that callers need no runtime.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("standin")
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let listen = |endpoint: fn(String) -> Endpoint| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
            listener
                .set_nonblocking(true)
                .expect("sockets can be non-blocking");
            let address = listener
                .local_addr()
                .expect("bound listeners have an address");
            let endpoint = endpoint(address.to_string());
            runtime.spawn(accept(Arc::clone(shared), listener, endpoint));
            address
        };
        Self {
            proxy: listen(|_| Endpoint::Proxy),
            plain: listen(|address| Endpoint::Address {
                secure: false,
                address,
            }),
            tls: listen(|address| Endpoint::Address {
                secure: true,
                address,
            }),
            runtime: Some(runtime),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, and panics inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, endpoint: Endpoint) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of ours");
    loop {
        // Running out of file descriptors shows as hanging connections.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection::serve(
                Arc::clone(&shared),
                stream,
                endpoint.clone(),
            ));
        }
    }
}
