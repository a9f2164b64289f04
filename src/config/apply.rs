//! The options for applying a pull secret to a cluster.

use super::environment::Environment;
use super::fault::Faults;
use super::kubernetes;
use super::kubernetes_names::check_subdomain;
use super::paths::Paths;
use super::values::{boolean, list};
use crate::commands::pull_secret::request::ApplyRequest;
use crate::diagnostics::sanitize::quoted;

/// Reads the variables that need `pull_secret_apply`.
pub(super) fn apply_request(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ApplyRequest> {
    const ACCOUNTS: &str = "pull_secret_service_accounts";
    let inputs = &environment.inputs;
    let mut service_accounts = Vec::new();
    for name in list(inputs.pull_secret_service_accounts.as_deref().unwrap_or("")) {
        match check_subdomain(name) {
            Ok(()) => service_accounts.push(name.to_owned()),
            Err(fault) => faults.unusable(
                ACCOUNTS,
                format!(
                    "{} {}",
                    quoted(name),
                    fault.replace("Secret", "service account")
                ),
            ),
        }
    }
    let create_namespace = faults.switch(
        "pull_secret_create_namespace",
        inputs.pull_secret_create_namespace.as_deref(),
    );
    let replace = faults.switch("pull_secret_replace", inputs.pull_secret_replace.as_deref());
    Some(ApplyRequest {
        access: kubernetes::access(environment, paths, faults)?,
        service_accounts,
        create_namespace,
        replace,
    })
}

/// Reports variables that have no effect without `pull_secret_apply`. A kubeconfig is accepted,
/// because it may be set for other jobs.
pub(super) fn without_apply(environment: &Environment, faults: &mut Faults) {
    let inputs = &environment.inputs;
    let accounts = inputs.pull_secret_service_accounts.is_some();
    let create = inputs.pull_secret_create_namespace.as_deref();
    let replace = inputs.pull_secret_replace.as_deref();
    for (variable, is_set) in [
        ("pull_secret_service_accounts", accounts),
        (
            "pull_secret_create_namespace",
            create.is_some_and(|text| boolean(text) != Ok(false)),
        ),
        (
            "pull_secret_replace",
            replace.is_some_and(|text| boolean(text) != Ok(false)),
        ),
    ] {
        if is_set {
            faults.unusable(
                variable,
                "it does nothing without `pull_secret_apply: true`",
            );
        }
    }
}
