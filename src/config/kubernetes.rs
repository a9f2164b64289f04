//! The access to the cluster that a pull secret is applied to, or whose images are mirrored: a kubeconfig as text, base64 or a
//! path, the files of `KUBECONFIG`, or the pod's own cluster.

use std::path::Path;

use super::document::{NO_FILE, looks_like_a_path, read_text};
use super::environment::Environment;
use crate::diagnostics::sanitize::base64;
use crate::kubernetes::{AccessError, ClusterAccess, POD_NAMESPACE, POD_TOKEN};

const VARIABLE: &str = "kubeconfig";

/// Reads `kubeconfig` and `kubeconfig_context`, or their defaults. `wanted_by` is what needs the
/// cluster, for messages.
pub(super) fn access(environment: &Environment<'_>, wanted_by: &str) -> Option<ClusterAccess> {
    let context = environment.inputs.kubeconfig_context.text();
    let (variable, access) = match environment.inputs.kubeconfig.text() {
        Some(text) => (VARIABLE, of_text(environment, text)?),
        None => match environment.ambient("KUBECONFIG") {
            Some(files) => ("KUBECONFIG", of_files(environment, files)?),
            None => (VARIABLE, of_pod(environment, wanted_by)?),
        },
    };
    let chosen = access
        .withholding(&environment.withheld)
        .with_context(context);
    chosen
        .map_err(|fault| match fault {
            AccessError::UnknownContext { .. } if context.is_some() => {
                environment.errors.invalid("kubeconfig_context", fault);
            }
            fault => environment.errors.invalid(variable, fault),
        })
        .ok()
}

/// Reads a kubeconfig from its YAML, its base64, or its path.
fn of_text(environment: &Environment<'_>, text: &str) -> Option<ClusterAccess> {
    let input = &environment.inputs.kubeconfig;
    let is_path = looks_like_a_path(text) || base64(text).is_none();
    let may_be_path = !text.contains(['\n', '{']);
    match environment.paths.named_by(text) {
        _ if !may_be_path => {}
        Ok(Some(path)) => return of_file(environment, VARIABLE, &path),
        Ok(None) if is_path => {
            input.invalid(NO_FILE);
            return None;
        }
        Err(fault) if is_path => {
            input.unseen(fault);
            return None;
        }
        Ok(None) | Err(_) => {}
    }
    let decoded = base64(text)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|decoded| decoded.contains(':'));
    let yaml = decoded.as_deref().unwrap_or(text);
    let parsed = ClusterAccess::parse(yaml, None)
        .map_err(|fault| format!("{fault}; its value is not shown"));
    input.accept(parsed)
}

/// Reads the files of `KUBECONFIG`. Missing files are skipped, as in kubectl.
fn of_files(environment: &Environment<'_>, files: &str) -> Option<ClusterAccess> {
    const KUBECONFIG: &str = "KUBECONFIG";
    let mut all: Option<ClusterAccess> = None;
    for file in files.split(':').filter(|file| !file.is_empty()) {
        let Ok(path) = environment.paths.input(file) else {
            continue;
        };
        if !environment.paths.files().exists(&path) {
            continue;
        }
        let next = of_file(environment, KUBECONFIG, &path)?;
        all = match all {
            Some(first) => Some(environment.errors.accept(KUBECONFIG, first.merge(next))?),
            None => Some(next),
        };
    }
    if all.is_none() {
        environment
            .errors
            .invalid(KUBECONFIG, "none of its files exists");
    }
    all
}

fn of_file(environment: &Environment<'_>, variable: &str, path: &Path) -> Option<ClusterAccess> {
    let text = read_text(environment, path)
        .map_err(|fault| format!("the file that it names cannot be read: {fault}"));
    let text = environment.errors.accept(variable, text)?;
    let parsed = ClusterAccess::parse(&text, path.parent())
        .map_err(|fault| format!("the file that it names cannot be used: {fault}"));
    environment.errors.accept(variable, parsed)
}

/// The access of a pod to its own cluster.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
fn of_pod(environment: &Environment<'_>, wanted_by: &str) -> Option<ClusterAccess> {
    let host = environment.ambient("KUBERNETES_SERVICE_HOST");
    let port = environment.ambient("KUBERNETES_SERVICE_PORT");
    match (host, port) {
        (Some(host), Some(port)) if environment.paths.files().exists(Path::new(POD_TOKEN)) => {
            let namespace = read_text(environment, Path::new(POD_NAMESPACE)).ok();
            let namespace = namespace.as_deref().map(str::trim);
            Some(ClusterAccess::of_pod(host, port, namespace))
        }
        _ => {
            environment.errors.missing(
                VARIABLE,
                format!(
                    "{wanted_by} needs a cluster: set this to a kubeconfig, or set \
                         `KUBECONFIG`; in a Pod, its service account is used"
                ),
            );
            None
        }
    }
}
