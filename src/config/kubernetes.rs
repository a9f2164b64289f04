//! The access to the cluster that a pull secret is applied to: a kubeconfig as text, base64 or a
//! path, the files of `KUBECONFIG`, or the pod's own cluster.

use std::path::Path;

use super::document::{looks_like_a_path, read_text};
use super::environment::Environment;
use super::fault::Faults;
use super::paths::Paths;
use crate::diagnostics::sanitize::base64;
use crate::kubernetes::{AccessError, ClusterAccess, POD_NAMESPACE, POD_TOKEN};

const VARIABLE: &str = "kubeconfig";

/// Reads `kubeconfig` and `kubeconfig_context`, or their defaults.
pub(super) fn access(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ClusterAccess> {
    let context = environment.inputs.kubeconfig_context.as_deref();
    let (variable, access) = match environment.inputs.kubeconfig.as_deref() {
        Some(text) => (VARIABLE, of_text(text, paths, faults)?),
        None => match environment.ambient("KUBECONFIG") {
            Some(files) => ("KUBECONFIG", of_files(files, paths, faults)?),
            None => (VARIABLE, of_pod(environment, paths, faults)?),
        },
    };
    let chosen = access
        .withholding(&environment.withheld)
        .with_context(context);
    chosen
        .map_err(|fault| match fault {
            AccessError::UnknownContext { .. } if context.is_some() => {
                faults.unusable("kubeconfig_context", fault);
            }
            fault => faults.unusable(variable, fault),
        })
        .ok()
}

/// Reads a kubeconfig from its YAML, its base64, or its path.
fn of_text(text: &str, paths: &Paths<'_>, faults: &mut Faults) -> Option<ClusterAccess> {
    let is_path = text.len() < 4096 && !text.contains(['\n', '\0', '{']);
    if is_path {
        match paths.input(text) {
            Ok(path) if paths.files().exists(&path) => {
                return of_file(VARIABLE, &path, paths, faults);
            }
            Ok(_) if looks_like_a_path(text) || base64(text).is_none() => {
                let fault = "no file is there, if it is meant as a path; its value is not shown";
                faults.unusable(VARIABLE, fault);
                return None;
            }
            Err(fault) if looks_like_a_path(text) || base64(text).is_none() => {
                faults.unusable(VARIABLE, fault.about("the file that it names"));
                faults.hint(fault.hint());
                return None;
            }
            Ok(_) | Err(_) => {}
        }
    }
    let decoded = base64(text)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|decoded| decoded.contains(':'));
    let yaml = decoded.as_deref().unwrap_or(text);
    let parsed = ClusterAccess::parse(yaml, None)
        .map_err(|fault| format!("{fault}; its value is not shown"));
    faults.accept(VARIABLE, parsed)
}

/// Reads the files of `KUBECONFIG`. Missing files are skipped, as in kubectl.
fn of_files(files: &str, paths: &Paths<'_>, faults: &mut Faults) -> Option<ClusterAccess> {
    const KUBECONFIG: &str = "KUBECONFIG";
    let mut all: Option<ClusterAccess> = None;
    for file in files.split(':').filter(|file| !file.is_empty()) {
        let Ok(path) = paths.input(file) else {
            continue;
        };
        if !paths.files().exists(&path) {
            continue;
        }
        let next = of_file(KUBECONFIG, &path, paths, faults)?;
        all = match all {
            Some(first) => Some(faults.accept(KUBECONFIG, first.merge(next))?),
            None => Some(next),
        };
    }
    if all.is_none() {
        faults.unusable(KUBECONFIG, "none of its files is there");
    }
    all
}

fn of_file(
    variable: &str,
    path: &Path,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ClusterAccess> {
    let text = read_text(path, paths)
        .map_err(|fault| format!("the file that it names cannot be read: {fault}"));
    let text = faults.accept(variable, text)?;
    let parsed = ClusterAccess::parse(&text, path.parent())
        .map_err(|fault| format!("the file that it names cannot be used: {fault}"));
    faults.accept(variable, parsed)
}

/// The access of a pod to its own cluster.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
fn of_pod(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ClusterAccess> {
    let host = environment.ambient("KUBERNETES_SERVICE_HOST");
    let port = environment.ambient("KUBERNETES_SERVICE_PORT");
    match (host, port) {
        (Some(host), Some(port)) if paths.files().exists(Path::new(POD_TOKEN)) => {
            let namespace = read_text(Path::new(POD_NAMESPACE), paths).ok();
            let namespace = namespace.as_deref().map(str::trim);
            Some(ClusterAccess::of_pod(host, port, namespace))
        }
        _ => {
            faults.missing(
                VARIABLE,
                "`pull_secret_apply` needs a cluster: give a kubeconfig here or in `KUBECONFIG`; in a pod its service account is taken",
            );
            None
        }
    }
}
