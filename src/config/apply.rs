//! The options for applying a pull secret to a cluster.

use super::environment::Environment;
use super::kubernetes;
use super::kubernetes_names::check_subdomain;
use crate::commands::pull_secret::request::ApplyRequest;
use crate::diagnostics::sanitize::quoted;

/// Reads the variables that need `pull_secret_apply`.
pub(super) fn apply_request(environment: &Environment<'_>) -> Option<ApplyRequest> {
    let inputs = &environment.inputs;
    let accounts = &inputs.pull_secret_service_accounts;
    let service_accounts = accounts.items().into_iter().filter_map(|name| {
        let checked = check_subdomain(name).map_err(|error| {
            let error = error.replace("Secret", "service account");
            format!("{} {error}", quoted(name))
        });
        accounts.accept(checked).map(|()| name.to_owned())
    });
    let service_accounts = service_accounts.collect();
    let create_namespace = inputs.pull_secret_create_namespace.switch();
    let replace = inputs.pull_secret_replace.switch();
    Some(ApplyRequest {
        access: kubernetes::access(environment, "`pull_secret_apply`")?,
        service_accounts,
        create_namespace,
        replace,
    })
}

/// Reports variables that have no effect without `pull_secret_apply`. A kubeconfig is accepted,
/// because it may be set for other jobs.
pub(super) fn without_apply(environment: &Environment<'_>) {
    let inputs = &environment.inputs;
    for input in [
        &inputs.pull_secret_service_accounts,
        &inputs.pull_secret_create_namespace,
        &inputs.pull_secret_replace,
    ] {
        input.refuse_without("`pull_secret_apply: true`");
    }
}
