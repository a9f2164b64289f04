//! The options of the pull secret: names, checked by Kubernetes' rules, the credential in it, and
//! the output.

use std::collections::BTreeMap;

use super::apply::{apply_request, without_apply};
use super::environment::Environment;
use super::kubernetes_names::{check_label, check_label_key, check_label_value, check_subdomain};
use super::values::boolean;
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
    environment: &Environment<'_>,
    context: &PushContext<'_>,
) -> Option<PullSecretOptions> {
    let inputs = &environment.inputs;
    let Some(name) = inputs.pull_secret.text() else {
        if context.command == CommandName::PullSecret {
            inputs
                .pull_secret
                .missing("set it to the name of the Secret, such as `gcr-pull`");
        } else {
            without_its_name(environment);
        }
        return None;
    };
    if let Err(error) = check_subdomain(name) {
        inputs
            .pull_secret
            .invalid(format!("{} {error}", quoted(name)));
    }
    // One error is enough: after an invalid value, the missing key is not reported as well.
    let allow = &inputs.pull_secret_allow_push_key;
    let allow_push_key = allow.is_set() && allow.read(boolean).unwrap_or(true);
    let namespaces = namespaces(environment);
    let labels = labels(environment);
    let form = form(environment);
    let applies = inputs.pull_secret_apply.switch();
    let output = output(environment, context.ci, applies);
    let apply = if applies {
        apply_request(environment).map(Some)
    } else {
        without_apply(environment);
        Some(None)
    };
    let hosts = context.hosts;
    let credential = if hosts.is_empty() || hosts.iter().any(Endpoint::is_google) {
        let credential = credential(environment, context, allow_push_key)?;
        if let PullCredential::Key { key, .. } = &credential
            && let Some(size) = too_large(hosts.iter().filter(|host| host.is_google()), key)
        {
            inputs.pull_secret_credentials_json.invalid(
                format!("with it, the pull secret would have {size} bytes, but Kubernetes accepts \
                         at most 1 MiB: a service-account key has about 2400 bytes; check that this \
                         is the right file"),
            );
        }
        Some(credential)
    } else {
        if !allow_push_key {
            inputs.pull_secret.invalid(
                "no destination is Google's; the logins of `docker_config` go into the pull \
                 secret only with `pull_secret_allow_push_key: true`, because they can push",
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
fn without_its_name(environment: &Environment<'_>) {
    let inputs = &environment.inputs;
    for input in [
        &inputs.pull_secret_namespaces,
        &inputs.pull_secret_labels,
        &inputs.pull_secret_credentials_json,
        &inputs.pull_secret_allow_push_key,
        &inputs.pull_secret_file,
        &inputs.pull_secret_format,
        &inputs.pull_secret_apply,
    ] {
        input.refuse_without("`pull_secret`, the name of the Secret");
    }
}

/// The credential with which the cluster signs in to Google.
fn credential(
    environment: &Environment<'_>,
    context: &PushContext<'_>,
    allow_push_key: bool,
) -> Option<PullCredential> {
    let input = &environment.inputs.pull_secret_credentials_json;
    let push_key = match context.google {
        Some(GoogleCredential::Key(key)) => Some(key),
        _ => None,
    };
    if input.is_set() {
        let key = credentials::key(environment, input)?;
        // Another key of the same account has the same rights.
        let pushes = push_key.is_some_and(|push| push.client_email == key.client_email);
        if pushes && !allow_push_key {
            input.invalid(
                "it is a key of the account that pushes, so everyone who reads the pull secret \
                 could push: use a key of an account that can only read, or set \
                 `pull_secret_allow_push_key: true`",
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
            input.missing(
                "set it to the key of an account that can only read, or set \
                 `pull_secret_allow_push_key: true` to put the pushing key into the pull secret",
            );
            None
        }
    }
}

fn namespaces(environment: &Environment<'_>) -> Vec<String> {
    let input = &environment.inputs.pull_secret_namespaces;
    let items = input.items().into_iter();
    let checked = items.filter_map(|item| {
        let checked = check_label(item).map_err(|error| format!("{} {error}", quoted(item)));
        input.accept(checked).map(|()| item.to_owned())
    });
    checked.collect()
}

fn labels(environment: &Environment<'_>) -> BTreeMap<String, String> {
    let input = &environment.inputs.pull_secret_labels;
    let mut labels = BTreeMap::new();
    for item in input.items() {
        let Some((key, value)) = item.split_once('=') else {
            input.invalid(format!(
                "{} is not a label: expected `KEY=VALUE`",
                quoted(item)
            ));
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if let Err(error) = check_label_key(key).and_then(|()| check_label_value(value)) {
            input.invalid(format!("{} {error}", quoted(item)));
        } else if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            input.invalid(format!("{} has two values", quoted(key)));
        }
    }
    labels
}

fn form(environment: &Environment<'_>) -> PullSecretForm {
    let inputs = &environment.inputs;
    if !inputs.pull_secret_file.is_set() {
        inputs
            .pull_secret_format
            .refuse_without("`pull_secret_file`");
    }
    inputs.pull_secret_format.word_or_first([
        PullSecretForm::Yaml,
        PullSecretForm::Json,
        PullSecretForm::DockerConfigJson,
    ])
}

/// The output for the Secret. It is never standard output in a CI, because everyone who may read
/// the log would see it.
fn output(
    environment: &Environment<'_>,
    ci: Option<Ci>,
    applies: bool,
) -> Option<PullSecretOutput> {
    let input = &environment.inputs.pull_secret_file;
    match (input.text(), ci) {
        (Some("-"), Some(_)) => {
            input.invalid(
                "in a CI, the pull secret is never printed, because the log keeps it: set it to a \
                 file, such as `pull-secret.yaml`",
            );
            None
        }
        (Some("-"), None) => Some(PullSecretOutput::Stdout),
        (Some(_), _) => input.output(environment).map(PullSecretOutput::File),
        (None, _) if applies => None,
        (None, ci) => {
            let stdout = match ci {
                Some(_) => "",
                None => ", or `-` for standard output",
            };
            input.missing(format!(
                "set it to a file, such as `pull-secret.yaml`{stdout}, or set `pull_secret_apply: \
                 true`"
            ));
            None
        }
    }
}
