//! A strict, in-process stand-in for gcr.io, Artifact Registry and Google's OAuth endpoint,
//! for tests that drive the real program and have no Google account.
//!
//! It answers under Google's own names through a CONNECT proxy with certificates of a test
//! CA, so a client under test needs only the proxy and CA settings that its users have too.
//! The same registry is a plain one on two addresses, without and with TLS. Its behaviour
//! follows Google's documents and users' reports of the live services; what is unknown is a
//! switch of [`Behaviour`].
//!
//! ```text
//! server ─► connection ─► route ─► registry ─► storage
//!  (TLS,     (log,         │        (auth, uploads, blobs, manifests, listing)
//!  CONNECT)   faults)      └────► oauth            upstream: a real registry instead
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken stand-in fails the test where it broke"
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
mod fault_effects;
mod faults;
mod forges;
mod gitlab;
mod hosts;
mod iam;
mod issuers;
mod keys;
mod kubernetes;
mod log;
mod metadata;
mod oauth;
mod proxy;
mod quota;
mod random;
mod registry;
mod route;
mod server;
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

use hosts::{HostKind, ImagePath};
use server::{Server, Shared};

/// A running stand-in on its own threads. Dropping it stops it.
pub struct Standin {
    shared: Arc<Shared>,
    server: Server,
}

impl Standin {
    /// Starts one with all defaults.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Configures one before it starts.
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

    /// A client certificate that the TLS address accepts, and its key, as PEM.
    pub fn client_pem(&self) -> String {
        self.shared.certificates.client_pem()
    }

    /// Creates a service account's key (RSA 2048). Returns its file in Google's form. A second call
    /// for the same account creates a second key. Key pairs are generated once in a process and
    /// shared by its stand-ins under other ids.
    pub fn service_account(&self, email: &str, project: &str) -> String {
        self.shared.accounts.key_file(email, project)
    }

    /// Issues an OAuth token to this account, which is created if it does not exist.
    pub fn access_token(&self, email: &str) -> String {
        let lifetime = self.shared.behaviour().oauth_lifetime;
        self.shared.accounts.access_token(email, lifetime)
    }

    /// A user's login in the form of `gcloud auth application-default login`.
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

    /// Creates a workload identity provider, `POOL/PROVIDER`, in a described project: it accepts
    /// tokens of this issuer for these audiences (by default its own name) on this condition.
    /// Returns its full name.
    pub fn provider(
        &self,
        project: &str,
        id: &str,
        issuer: &str,
        audiences: Option<&[&str]>,
        condition: &str,
    ) -> String {
        let mut state = self.shared.cloud.state();
        let held = state
            .project_state(project)
            .expect("the project was described");
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

    /// Creates a GitHub job that may request OIDC tokens with these claims. Returns its
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

    /// Disables or deletes an account: its keys and tokens become invalid.
    pub fn disable_account(&self, email: &str) {
        self.shared.accounts.disable(email);
    }

    /// Deletes all keys of an account.
    pub fn delete_keys(&self, email: &str) {
        self.shared.accounts.delete_keys(email);
    }

    /// Expires every token issued so far.
    pub fn expire_tokens(&self) {
        self.shared.accounts.expire_tokens();
    }

    /// Adds a user of the plain registry.
    pub fn basic_user(&self, user: &str, password: &str) {
        self.shared.accounts.add_user(user, password);
    }

    /// Restricts a user of the plain registry to what is below a path.
    pub fn restrict_user(&self, user: &str, path: &str) {
        self.shared.accounts.restrict_user(user, path);
    }

    /// Issues a refresh token to a user of the plain registry; each use returns another one.
    pub fn identity_token(&self, user: &str) -> String {
        self.shared.accounts.identity_token(user)
    }

    /// Grants a role of Artifact Registry to an e-mail address or to `allUsers`, on
    /// `projects/P` or on `projects/P/locations/L/repositories/R`.
    pub fn grant(&self, email: &str, role: &str, resource: &str) {
        self.shared.grants.add(email, role, resource);
    }

    /// Revokes a role.
    pub fn revoke(&self, email: &str, role: &str, resource: &str) {
        self.shared.grants.remove(email, role, resource);
    }

    /// Creates a repository, `projects/P/locations/L/repositories/R`.
    pub fn create_repository(&self, name: &str, options: RepositoryOptions) {
        let valid = iam::is_resource(name) && name.contains("/repositories/");
        assert!(valid, "{name} is no repository name");
        self.shared.store.create(name, options);
    }

    /// True if a repository exists, created by a test or by a push.
    pub fn has_repository(&self, name: &str) -> bool {
        self.shared.store.has_repository(name)
    }

    /// Describes a project to the APIs; what is in it already is kept.
    pub fn project(&self, id: &str, project: Project) {
        self.shared.cloud.state().set_project(id, project);
    }

    /// Changes a project.
    pub fn change_project(&self, id: &str, change: impl FnOnce(&mut Project)) {
        let mut state = self.shared.cloud.state();
        change(
            &mut state
                .project_state(id)
                .expect("the project was described")
                .project,
        );
    }

    /// Creates a bucket, with the policy that Google gives to new ones.
    pub fn create_bucket(&self, name: &str, project: &str) {
        self.shared.create_bucket(name, project);
    }

    /// True if a bucket exists.
    pub fn has_bucket(&self, name: &str) -> bool {
        self.shared.cloud.state().buckets.contains_key(name)
    }

    /// Adds a key to a service account with this creation time (RFC 3339).
    pub fn add_old_key(&self, email: &str, id: &str, since: &str) {
        let mut state = self.shared.cloud.state();
        let account = state.account(email).expect("the account was made");
        account.add_key(id, since);
    }

    /// The bindings of a policy, whoever set them.
    pub fn bindings(&self, resource: &str) -> serde_json::Value {
        self.shared
            .grants
            .change(resource, |policy| policy.bindings.clone().into())
    }

    /// Replaces the bindings of a policy, including conditions.
    pub fn set_bindings(&self, resource: &str, bindings: serde_json::Value) {
        let bindings = bindings.as_array().expect("bindings are a list").clone();
        self.shared
            .grants
            .change(resource, |policy| policy.replace(bindings));
    }

    /// Changes this number of policies concurrently, just before they are written.
    pub fn interfere(&self, times: u32) {
        self.shared.cloud.state().interfere(times);
    }

    /// Everything that the APIs hold, in a comparable form: services, accounts with the number of
    /// their keys, pools, repositories, policies.
    pub fn snapshot(&self) -> serde_json::Value {
        let mut snapshot = self.shared.cloud.state().snapshot();
        snapshot["policies"] = serde_json::json!(self.shared.grants.all());
        let repositories = self.shared.store.repositories("projects/");
        snapshot["repositories"] = serde_json::json!(repositories);
        snapshot
    }

    /// Waits until the log meets a condition, and returns it; the condition is checked whenever a
    /// request arrives or is answered.
    pub fn wait_for(&self, condition: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        self.shared.log.wait_for(condition)
    }

    /// The cluster behind `plain_address` and `tls_address`, and behind the names that were added
    /// to the builder.
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

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Changes switches of a running stand-in; requests in progress keep the old ones.
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
        let image_path = image_path(host, repository);
        self.shared.store.manifest(&image_path, reference)
    }

    /// The bytes of a blob. `None` if this repository does not have it.
    pub fn blob(&self, host: &str, repository: &str, digest: &str) -> Option<Vec<u8>> {
        self.shared
            .store
            .blob(&image_path(host, repository), digest)
    }

    /// Tags and their digests.
    pub fn tags(&self, host: &str, repository: &str) -> BTreeMap<String, String> {
        self.shared.store.tags(&image_path(host, repository))
    }

    /// Puts a blob without a request. Returns its digest. The repository of Artifact Registry is
    /// created if necessary.
    pub fn put_blob(&self, host: &str, repository: &str, bytes: &[u8]) -> String {
        let image_path = image_path(host, repository);
        self.shared.store.add_blob(&image_path, bytes)
    }

    /// Puts a manifest without a request or a check, under a tag or (with any text that contains
    /// `:`) under its digest only. Returns its digest.
    pub fn put_manifest(
        &self,
        host: &str,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let image_path = image_path(host, repository);
        let store = &self.shared.store;
        store.add_manifest(&image_path, reference, media_type, bytes)
    }

    /// Removes a blob from a repository.
    pub fn forget_blob(&self, host: &str, repository: &str, digest: &str) {
        let image_path = image_path(host, repository);
        self.shared.store.forget_blob(&image_path, digest);
    }

    /// Removes a tag, or a manifest with all its tags, from a repository.
    pub fn forget_manifest(&self, host: &str, repository: &str, reference: &str) {
        let image_path = image_path(host, repository);
        self.shared.store.forget_manifest(&image_path, reference);
    }

    /// Every token and private key that it issued, every credential that it received, and the
    /// secrets in the URLs of uploads and downloads: what no log may contain.
    pub fn secrets(&self) -> Vec<String> {
        self.shared.accounts.secrets()
    }
}

fn image_path(host: &str, repository: &str) -> ImagePath {
    let image_path = ImagePath::resolve(&HostKind::of(host), host, repository);
    image_path.unwrap_or_else(|_| panic!("{host} has no repository {repository}"))
}
