//! The options of the pull secret: names, checked by Kubernetes' rules, the credential in it, and
//! the output.

use std::collections::BTreeMap;

use super::apply::{apply_request, without_apply};
use super::environment::Environment;
use super::fault::Faults;
use super::kubernetes_names::{check_label, check_label_key, check_label_value, check_subdomain};
use super::paths::Paths;
use super::values::{boolean, list, word};
use super::{CommandName, credentials};
use crate::auth::GoogleCredential;
use crate::ci::Ci;
use crate::commands::pull_secret::request::PullCredential;
use crate::commands::pull_secret::request::PullSecretForm;
use crate::commands::pull_secret::request::PullSecretOptions;
use crate::commands::pull_secret::request::PullSecretOutput;
use crate::commands::pull_secret::too_large;
use crate::diagnostics::sanitize::quoted;
use crate::oci::reference::Endpoint;

/// The parts of the request that the pull secret depends on.
pub(super) struct PushContext<'a> {
    pub(super) command: CommandName,
    pub(super) google: Option<&'a GoogleCredential>,
    /// Every registry that is pushed to. Empty if they are not known yet.
    pub(super) hosts: &'a [Endpoint],
    pub(super) ci: Option<Ci>,
}

/// Reads every `pull_secret*` variable, and those of the cluster.
pub(super) fn pull_secret(
    environment: &Environment,
    context: &PushContext<'_>,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<PullSecretOptions> {
    let inputs = &environment.inputs;
    let allow_push_key = inputs.pull_secret_allow_push_key.as_deref().map(|text| {
        boolean(text).unwrap_or_else(|fault| {
            faults.unusable("pull_secret_allow_push_key", fault);
            // One error is enough, so the missing key is not reported as well.
            true
        })
    });
    let apply = faults.switch("pull_secret_apply", inputs.pull_secret_apply.as_deref());
    let Some(name) = inputs.pull_secret.as_deref() else {
        if context.command == CommandName::PullSecret {
            faults.missing("pull_secret", "name the Secret, such as `gcr-pull`");
            return None;
        }
        without_its_name(environment, allow_push_key, apply, faults);
        return None;
    };
    if let Err(fault) = check_subdomain(name) {
        faults.unusable("pull_secret", format!("{} {fault}", quoted(name)));
    }
    let namespaces = namespaces(environment, faults);
    let labels = labels(environment, faults);
    let form = form(environment, faults);
    let output = output(environment, context.ci, apply, paths, faults);
    let apply = if apply {
        apply_request(environment, paths, faults).map(Some)
    } else {
        without_apply(environment, faults);
        Some(None)
    };
    let allow_push_key = allow_push_key.unwrap_or(false);
    let hosts = context.hosts;
    let credential = if hosts.is_empty() || hosts.iter().any(Endpoint::is_google) {
        let credential = credential(environment, context, allow_push_key, paths, faults);
        let credential = credential?;
        if let PullCredential::Key { key, .. } = &credential
            && let Some(size) = too_large(hosts.iter().filter(|host| host.is_google()), key)
        {
            faults.unusable(
                "pull_secret_credentials_json",
                format!("with it the pull secret would hold {size} bytes, more than the 1 MiB that Kubernetes takes: a service-account key has about 2400 bytes; is it the right file?"),
            );
        }
        Some(credential)
    } else {
        if !allow_push_key {
            faults.unusable(
                "pull_secret",
                "no destination is Google's, and the logins of `docker_config` go into it only with `pull_secret_allow_push_key: true`, because they can push",
            );
        }
        None
    };
    Some(PullSecretOptions {
        name: name.to_owned(),
        namespaces,
        labels,
        credential,
        allow_push_key,
        output,
        form,
        apply: apply?,
    })
}

/// Reports variables that have no effect without `pull_secret`.
fn without_its_name(
    environment: &Environment,
    allow_push_key: Option<bool>,
    apply: bool,
    faults: &mut Faults,
) {
    let inputs = &environment.inputs;
    for (variable, is_set) in [
        (
            "pull_secret_namespaces",
            inputs.pull_secret_namespaces.is_some(),
        ),
        ("pull_secret_labels", inputs.pull_secret_labels.is_some()),
        (
            "pull_secret_credentials_json",
            inputs.pull_secret_credentials_json.is_some(),
        ),
        ("pull_secret_allow_push_key", allow_push_key == Some(true)),
        ("pull_secret_file", inputs.pull_secret_file.is_some()),
        ("pull_secret_format", inputs.pull_secret_format.is_some()),
        ("pull_secret_apply", apply),
    ] {
        if is_set {
            faults.unusable(
                variable,
                "it does nothing without `pull_secret`, the name of the Secret",
            );
        }
    }
}

/// The credential with which the cluster signs in to Google.
pub(super) fn credential(
    environment: &Environment,
    context: &PushContext<'_>,
    allow_push_key: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<PullCredential> {
    const VARIABLE: &str = "pull_secret_credentials_json";
    let push_key = match context.google {
        Some(GoogleCredential::Key(key)) => Some(key),
        _ => None,
    };
    if let Some(text) = environment.inputs.pull_secret_credentials_json.as_deref() {
        let key = credentials::key(VARIABLE, text, paths, faults)?;
        // Another key of the same account has the same rights.
        let pushes = push_key.is_some_and(|push| push.client_email == key.client_email);
        if pushes && !allow_push_key {
            faults.unusable(
                VARIABLE,
                "it is a key of the account that pushes, so whoever reads the pull secret could push: give a key of an account that may only read, or set `pull_secret_allow_push_key: true`",
            );
        }
        return Some(PullCredential::Key { key, pushes });
    }
    match push_key {
        // A missing credential is reported when the token is needed.
        None => Some(PullCredential::Token),
        Some(key) if allow_push_key => Some(PullCredential::Key {
            key: key.clone(),
            pushes: true,
        }),
        Some(_) => {
            faults.missing(
                VARIABLE,
                "give the key of an account that may only read, or set `pull_secret_allow_push_key: true` to put the pushing key into the pull secret",
            );
            None
        }
    }
}

pub(super) fn namespaces(environment: &Environment, faults: &mut Faults) -> Vec<String> {
    const VARIABLE: &str = "pull_secret_namespaces";
    let mut namespaces = Vec::new();
    for namespace in list(
        environment
            .inputs
            .pull_secret_namespaces
            .as_deref()
            .unwrap_or(""),
    ) {
        match check_label(namespace) {
            Ok(()) => namespaces.push(namespace.to_owned()),
            Err(fault) => faults.unusable(VARIABLE, format!("{} {fault}", quoted(namespace))),
        }
    }
    namespaces
}

pub(super) fn labels(environment: &Environment, faults: &mut Faults) -> BTreeMap<String, String> {
    const VARIABLE: &str = "pull_secret_labels";
    let mut labels = BTreeMap::new();
    for item in list(
        environment
            .inputs
            .pull_secret_labels
            .as_deref()
            .unwrap_or(""),
    ) {
        let Some((key, value)) = item.split_once('=') else {
            let fault = format!("{} is no label: expected `KEY=VALUE`", quoted(item));
            faults.unusable(VARIABLE, fault);
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if let Err(fault) = check_label_key(key).and_then(|()| check_label_value(value)) {
            faults.unusable(VARIABLE, format!("{} {fault}", quoted(item)));
        } else if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            faults.unusable(VARIABLE, format!("{} has two values", quoted(key)));
        }
    }
    labels
}

pub(super) fn form(environment: &Environment, faults: &mut Faults) -> PullSecretForm {
    const VARIABLE: &str = "pull_secret_format";
    let words = [
        ("yaml", PullSecretForm::Yaml),
        ("json", PullSecretForm::Json),
        ("dockerconfigjson", PullSecretForm::DockerConfigJson),
    ];
    let Some(text) = environment.inputs.pull_secret_format.as_deref() else {
        return PullSecretForm::Yaml;
    };
    if environment.inputs.pull_secret_file.is_none() {
        faults.unusable(VARIABLE, "it does nothing without `pull_secret_file`");
    }
    faults
        .accept(VARIABLE, word(text, &words))
        .unwrap_or(PullSecretForm::Yaml)
}

/// The output for the Secret. It is never standard output in a CI, because everyone who may read
/// the log would see it.
pub(super) fn output(
    environment: &Environment,
    ci: Option<Ci>,
    apply: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<PullSecretOutput> {
    const VARIABLE: &str = "pull_secret_file";
    match environment.inputs.pull_secret_file.as_deref() {
        Some("-") if ci.is_some() => {
            faults.unusable(
                VARIABLE,
                "under a CI the pull secret is never printed, because the log keeps it: name a file, such as `pull-secret.yaml`",
            );
            None
        }
        Some("-") => Some(PullSecretOutput::Stdout),
        Some(text) => faults
            .accept_path(VARIABLE, text, paths.output(text))
            .map(PullSecretOutput::File),
        None => {
            if !apply && ci.is_some() {
                faults.missing(
                    VARIABLE,
                    "name a file, such as `pull-secret.yaml`, or set `pull_secret_apply: true`",
                );
            } else if !apply {
                faults.missing(
                    VARIABLE,
                    "name a file, such as `pull-secret.yaml`, or `-` for standard output, or set `pull_secret_apply: true`",
                );
            }
            None
        }
    }
}
