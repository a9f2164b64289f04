//! A strict, in-process stand-in for gcr.io, Artifact Registry and Google's OAuth endpoint,
//! for tests that drive the real program and have no Google account.
//!
//! It answers under Google's own names through a CONNECT proxy, whose certificates come
//! from a test CA, so a client under test needs nothing but the proxy and CA settings that
//! its users have too. The same registry is there as a plain one on two addresses, without
//! and with TLS. What it does was written from Google's documents and from what others saw
//! of the live services; what nobody has seen is a switch of [`Behaviour`].
//!
//! ```text
//! server ─► connection ─► route ─► registry ─► storage
//!  (TLS,     (log,         │        (auth, uploads, blobs, manifests, listing)
//!  CONNECT)   faults)      └────► oauth            upstream: a real registry instead
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a stand-in that is broken shall fail the test loudly, where it broke"
)]

mod accounts;
mod answer;
mod behaviour;
mod body;
mod builder;
mod call;
mod certificates;
mod cloud;
mod connection;
mod faults;
mod forges;
mod gitlab;
mod iam;
mod issuers;
mod keys;
mod kubernetes;
mod log;
mod metadata;
mod mishap;
mod oauth;
mod proxy;
mod quota;
mod random;
mod registry;
mod route;
mod server;
mod site;
mod storage;
mod sts;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use behaviour::{
    Behaviour, BlobDownload, Challenge, DeniedWording, Machine, Mount, NotMigrated, PlainAuth,
    Referrers, Statuses, UploadLocation,
};
pub use builder::Builder;
pub use cloud::{Project, Switches};
pub use faults::{Fault, FaultAction, Times};
pub use kubernetes::{Cluster, Rule};
pub use log::{Request, RequestKind};
pub use quota::Quota;
pub use registry::RepositoryOptions;
pub use storage::Storage;

use server::{Server, Shared};
use site::{Family, Place};

/// A running stand-in. It lives on threads of its own and stops when it is dropped.
pub struct Standin {
    shared: Arc<Shared>,
    server: Server,
}

impl Standin {
    /// Starts one with all defaults.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts one in steps.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The proxy, `http://127.0.0.1:PORT`. It answers CONNECT to port 443 of Google's names
    /// and of those given to the builder, and refuses everything else with 403.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.server.proxy)
    }

    /// `127.0.0.1:PORT` of the plain registry without TLS.
    pub fn plain_address(&self) -> String {
        self.server.plain.to_string()
    }

    /// `127.0.0.1:PORT` of the plain registry over TLS, for `127.0.0.1` and `localhost`.
    pub fn tls_address(&self) -> String {
        self.server.tls.to_string()
    }

    /// The certificate of the test CA.
    pub fn ca_pem(&self) -> &str {
        self.shared.certificates.ca_pem()
    }

    /// A certificate that the TLS address takes where it asks for one, and its key, as PEM.
    pub fn client_pem(&self) -> String {
        self.shared.certificates.client_pem()
    }

    /// Makes a service account's key (RSA 2048) and gives its file in Google's form. A
    /// second call for the same account makes a second key. Key pairs are made once in a
    /// process and used again by other stand-ins, under other ids.
    pub fn service_account(&self, email: &str, project: &str) -> String {
        self.shared.accounts.key_file(email, project)
    }

    /// An OAuth token for this account, which is made if it is not there.
    pub fn access_token(&self, email: &str) -> String {
        let lifetime = self.shared.behaviour().oauth_lifetime;
        self.shared.accounts.access_token(email, lifetime)
    }

    /// The login of a person, in the form that `gcloud auth application-default login` leaves it.
    pub fn user_login(&self, email: &str) -> serde_json::Value {
        serde_json::json!({
            "type": "authorized_user",
            "account": "",
            "client_id": oauth::CLIENT_ID,
            "client_secret": oauth::CLIENT_SECRET,
            "refresh_token": self.shared.accounts.refresh_token(email),
            "universe_domain": "googleapis.com",
        })
    }

    /// A workload identity provider, `POOL/PROVIDER`, in a project that was described: it takes
    /// tokens of this issuer, for these audiences (none is its own name), on this condition. Gives
    /// its full name.
    pub fn provider(
        &self,
        project: &str,
        id: &str,
        issuer: &str,
        audiences: Option<&[&str]>,
        condition: &str,
    ) -> String {
        let mut state = self.shared.cloud.state();
        let held = state.held(project).expect("the project was described");
        let (pool, provider) = id.split_once('/').expect("a pool and a provider");
        let pool_name = format!(
            "projects/{}/locations/global/workloadIdentityPools/{pool}",
            held.project.number
        );
        let name = format!("{pool_name}/providers/{provider}");
        let mut described = serde_json::json!({
            "name": name,
            "state": "ACTIVE",
            "oidc": {"issuerUri": issuer},
            "attributeCondition": condition,
            "attributeMapping": {
                "google.subject": "assertion.sub",
                "attribute.repository": "assertion.repository",
                "attribute.project_path": "assertion.project_path",
            },
        });
        if let Some(audiences) = audiences {
            described["oidc"]["allowedAudiences"] = audiences.into();
        }
        let described_pool = serde_json::json!({"name": pool_name, "state": "ACTIVE"});
        held.pools.insert(pool.to_owned(), described_pool);
        held.providers.insert(id.to_owned(), described);
        name
    }

    /// A job of GitHub's that may have OIDC tokens with these claims: its
    /// `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub fn github_job(&self, claims: serde_json::Value) -> (String, String) {
        let opens = self.shared.issuers.job(issuers::GITHUB_ISSUER, claims);
        self.shared.accounts.keep_secret(&opens);
        let url = format!(
            "https://{}/abc/00000000/_apis/distributedtask/idtoken?api-version=2.0",
            issuers::GITHUB
        );
        (url, opens)
    }

    /// An OIDC token of an issuer, as a CI puts it into a variable or a file.
    pub fn oidc_token(&self, issuer: &str, claims: &serde_json::Value) -> String {
        let lifetime = self.shared.behaviour().oidc_lifetime;
        let token = self.shared.issuers.token(issuer, claims, lifetime);
        self.shared.accounts.keep_secret(&token);
        token
    }

    /// Disables or deletes an account: its keys and tokens work no more.
    pub fn disable_account(&self, email: &str) {
        self.shared.accounts.disable(email);
    }

    /// Deletes all keys of an account.
    pub fn delete_keys(&self, email: &str) {
        self.shared.accounts.delete_keys(email);
    }

    /// Makes every token that was given out stop working.
    pub fn expire_tokens(&self) {
        self.shared.accounts.expire_tokens();
    }

    /// Adds a user of the plain registry.
    pub fn basic_user(&self, user: &str, password: &str) {
        self.shared.accounts.add_user(user, password);
    }

    /// Keeps a user of the plain registry to what is below a path.
    pub fn confine_user(&self, user: &str, path: &str) {
        self.shared.accounts.confine_user(user, path);
    }

    /// A refresh token of a user of the plain registry; each use of it gives another one for it.
    pub fn identity_token(&self, user: &str) -> String {
        self.shared.accounts.identity_token(user)
    }

    /// Grants a role of Artifact Registry to an e-mail address or to `allUsers`, on
    /// `projects/P` or on `projects/P/locations/L/repositories/R`.
    pub fn grant(&self, email: &str, role: &str, resource: &str) {
        self.shared.grants.add(email, role, resource);
    }

    /// Takes a grant back.
    pub fn revoke(&self, email: &str, role: &str, resource: &str) {
        self.shared.grants.remove(email, role, resource);
    }

    /// Makes a repository, `projects/P/locations/L/repositories/R`.
    pub fn create_repository(&self, name: &str, options: RepositoryOptions) {
        let valid = iam::is_resource(name) && name.contains("/repositories/");
        assert!(valid, "{name} is no repository name");
        self.shared.store.create(name, options);
    }

    /// Whether a repository is there, made by us or by a push.
    pub fn has_repository(&self, name: &str) -> bool {
        self.shared.store.has_repository(name)
    }

    /// Describes a project to the APIs; what is in it already stays.
    pub fn project(&self, id: &str, project: Project) {
        self.shared.cloud.state().set_project(id, project);
    }

    /// Changes a project.
    pub fn change_project(&self, id: &str, change: impl FnOnce(&mut Project)) {
        let mut state = self.shared.cloud.state();
        change(&mut state.held(id).expect("the project was described").project);
    }

    /// Makes a bucket, with the policy that Google gives to new ones.
    pub fn create_bucket(&self, name: &str, project: &str) {
        self.shared.create_bucket(name, project);
    }

    /// Whether a bucket is there.
    pub fn has_bucket(&self, name: &str) -> bool {
        self.shared.cloud.state().buckets.contains_key(name)
    }

    /// Adds a key to a service account that somebody made at this time (RFC 3339).
    pub fn add_old_key(&self, email: &str, id: &str, since: &str) {
        let mut state = self.shared.cloud.state();
        let account = state.account(email).expect("the account was made");
        account.add_key(id, since);
    }

    /// The bindings of a policy, whoever made them.
    pub fn bindings(&self, resource: &str) -> serde_json::Value {
        self.shared
            .grants
            .change(resource, |policy| policy.bindings.clone().into())
    }

    /// Replaces the bindings of a policy, conditions and all.
    pub fn set_bindings(&self, resource: &str, bindings: serde_json::Value) {
        let bindings = bindings.as_array().expect("bindings are a list").clone();
        self.shared
            .grants
            .change(resource, |policy| policy.replace(bindings));
    }

    /// The next so many policies that are written were changed by somebody else just before.
    pub fn interfere(&self, times: u32) {
        self.shared.cloud.state().interfere(times);
    }

    /// Everything that the APIs hold, in a form that can be compared: services, accounts with the
    /// number of their keys, pools, repositories, policies.
    pub fn picture(&self) -> serde_json::Value {
        let mut picture = self.shared.cloud.state().picture();
        picture["policies"] = serde_json::json!(self.shared.grants.all());
        let repositories = self.shared.store.repositories("projects/");
        picture["repositories"] = serde_json::json!(repositories);
        picture
    }

    /// Waits until the log fulfils a condition, and gives it; it is looked at again whenever a
    /// request arrives or is answered.
    pub fn wait_for(&self, condition: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        self.shared.log.wait_for(condition)
    }

    /// The cluster that stands behind `plain_address` and `tls_address`, and behind the names that
    /// were added to the builder.
    pub fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    /// All requests since the start or the last `clear_requests`, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.requests()
    }

    /// Empties the request log.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Arms a fault.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Changes switches while it runs; requests that are under way keep the old ones.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = self.shared.behaviour.lock().unwrap();
        change(Arc::make_mut(&mut behaviour));
    }

    /// Type and bytes of a manifest, by tag or digest. `host` is one of Google's registry
    /// hosts; any other means the plain registry.
    pub fn manifest(
        &self,
        host: &str,
        repository: &str,
        reference: &str,
    ) -> Option<(String, Vec<u8>)> {
        let place = place(host, repository);
        self.shared.store.manifest(&place, reference)
    }

    /// The bytes of a blob, if this repository has it.
    pub fn blob(&self, host: &str, repository: &str, digest: &str) -> Option<Vec<u8>> {
        self.shared.store.blob(&place(host, repository), digest)
    }

    /// Tags and the digests they stand for.
    pub fn tags(&self, host: &str, repository: &str) -> BTreeMap<String, String> {
        self.shared.store.tags(&place(host, repository))
    }

    /// Puts a blob there without a request; gives its digest. The repository of Artifact
    /// Registry is made if need be.
    pub fn put_blob(&self, host: &str, repository: &str, bytes: &[u8]) -> String {
        let place = place(host, repository);
        self.shared.store.add_blob(&place, bytes)
    }

    /// Puts a manifest there without a request and unchecked, under a tag or (with any
    /// text that has a `:`) under its digest only; gives its digest.
    pub fn put_manifest(
        &self,
        host: &str,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let place = place(host, repository);
        let store = &self.shared.store;
        store.add_manifest(&place, reference, media_type, bytes)
    }

    /// Makes a repository forget a blob.
    pub fn forget_blob(&self, host: &str, repository: &str, digest: &str) {
        let place = place(host, repository);
        self.shared.store.forget_blob(&place, digest);
    }

    /// Makes a repository forget a tag, or a manifest with all its tags.
    pub fn forget_manifest(&self, host: &str, repository: &str, reference: &str) {
        let place = place(host, repository);
        self.shared.store.forget_manifest(&place, reference);
    }

    /// Every token and private key it gave out, every credential it was shown, and the
    /// secrets in the URLs of uploads and downloads: what no log may contain.
    pub fn secrets(&self) -> Vec<String> {
        self.shared.accounts.secrets()
    }
}

fn place(host: &str, repository: &str) -> Place {
    let place = Place::resolve(&Family::of(host), host, repository);
    place.unwrap_or_else(|_| panic!("{host} has no repository {repository}"))
}
