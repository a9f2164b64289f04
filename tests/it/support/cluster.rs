//! Kubeconfigs for the stand-in's cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standin::Rule;

use super::google::Google;

/// The default user of the tests.
pub const DEPLOYER: &str = "deployer";

/// A kubeconfig for a user who may do anything.
pub fn administrator(google: &Google) -> String {
    google.standin.cluster().allow(DEPLOYER, Rule::everything());
    kubeconfig(google, DEPLOYER)
}

/// A kubeconfig for a user with the permissions that the test grants.
pub fn kubeconfig(google: &Google, user: &str) -> String {
    let token = google.standin.cluster().user(user);
    let server = format!("https://{}", google.standin.tls_address());
    with(&google.standin, &server, &format!("{{token: {token}}}"))
}

/// A kubeconfig for a server and a user's entry, with the CA of the stand-in.
pub fn with(standin: &standin::Standin, server: &str, user: &str) -> String {
    let ca = STANDARD.encode(standin.ca_pem());
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: test\n\
         clusters:\n- name: test\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {ca}\n\
         users:\n- name: test\n  user: {user}\n\
         contexts:\n- name: test\n  context: {{cluster: test, user: test, namespace: shop}}\n"
    )
}
