//! The pull secret as it is asked for: its names by Kubernetes' rules, a login that may go into it,
//! where it goes.

use std::collections::BTreeMap;

use super::fault::{Faults, quoted};
use super::inputs::Given;
use super::paths::Paths;
use super::values::{boolean, list, word};
use super::{
    ApplyRequest, Ci, Command, Endpoint, PullCredential, PullSecretForm, PullSecretOutput,
    PullSecretRequest, credentials, kubernetes,
};
use crate::auth::GoogleCredential;
use crate::pull_secret::too_large;

/// What else of the request bears on the pull secret.
pub(super) struct Bearings<'a> {
    pub(super) command: Command,
    pub(super) google: Option<&'a GoogleCredential>,
    /// Every registry that is pushed to; empty where that is not known yet.
    pub(super) hosts: &'a [Endpoint],
    pub(super) ci: Option<Ci>,
}

/// Reads every `pull_secret*` variable, and the cluster's.
pub(super) fn pull_secret(
    given: &Given,
    bearings: &Bearings<'_>,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<PullSecretRequest> {
    let inputs = &given.inputs;
    let allow_push_key = inputs.pull_secret_allow_push_key.as_deref().map(|text| {
        boolean(text).unwrap_or_else(|fault| {
            faults.unusable("pull_secret_allow_push_key", fault);
            // Told once is enough: not also that there is no key.
            true
        })
    });
    let apply = flag("pull_secret_apply", &inputs.pull_secret_apply, faults);
    let Some(name) = inputs.pull_secret.as_deref() else {
        if bearings.command == Command::PullSecret {
            faults.missing("pull_secret", "name the Secret, such as `gcr-pull`");
            return None;
        }
        without_its_name(given, allow_push_key, apply, faults);
        return None;
    };
    if let Err(fault) = check_subdomain(name) {
        faults.unusable("pull_secret", format!("{} {fault}", quoted(name)));
    }
    let namespaces = namespaces(given, faults);
    let labels = labels(given, faults);
    let form = form(given, faults);
    let output = output(given, bearings.ci, apply, paths, faults);
    let apply = if apply {
        apply_request(given, paths, faults).map(Some)
    } else {
        without_apply(given, faults);
        Some(None)
    };
    let allow_push_key = allow_push_key.unwrap_or(false);
    let hosts = bearings.hosts;
    let credential = if hosts.is_empty() || hosts.iter().any(Endpoint::is_google) {
        let credential = credential(given, bearings, allow_push_key, paths, faults);
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
    Some(PullSecretRequest {
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

/// A boolean that is false when it is not there, or faulty.
fn flag(variable: &'static str, text: &Option<String>, faults: &mut Faults) -> bool {
    let value = text.as_deref().map(boolean);
    value
        .and_then(|value| faults.take(variable, value))
        .unwrap_or(false)
}

/// What is set for nothing.
fn without_its_name(given: &Given, allow_push_key: Option<bool>, apply: bool, faults: &mut Faults) {
    let inputs = &given.inputs;
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

fn apply_request(given: &Given, paths: &Paths<'_>, faults: &mut Faults) -> Option<ApplyRequest> {
    const ACCOUNTS: &str = "pull_secret_service_accounts";
    let inputs = &given.inputs;
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
    let create_namespace = flag(
        "pull_secret_create_namespace",
        &inputs.pull_secret_create_namespace,
        faults,
    );
    let replace = flag("pull_secret_replace", &inputs.pull_secret_replace, faults);
    Some(ApplyRequest {
        access: kubernetes::access(given, paths, faults)?,
        service_accounts,
        create_namespace,
        replace,
    })
}

/// What is set for nothing where nothing is applied. A kubeconfig may be there for other jobs.
fn without_apply(given: &Given, faults: &mut Faults) {
    let inputs = &given.inputs;
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

/// What the cluster signs in to Google with.
fn credential(
    given: &Given,
    bearings: &Bearings<'_>,
    allow_push_key: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<PullCredential> {
    const VARIABLE: &str = "pull_secret_credentials_json";
    let push_key = match bearings.google {
        Some(GoogleCredential::Key(key)) => Some(key),
        _ => None,
    };
    if let Some(text) = given.inputs.pull_secret_credentials_json.as_deref() {
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
        // Whether there is any other sign-in is told when it is needed.
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

fn namespaces(given: &Given, faults: &mut Faults) -> Vec<String> {
    const VARIABLE: &str = "pull_secret_namespaces";
    let mut namespaces = Vec::new();
    for namespace in list(given.inputs.pull_secret_namespaces.as_deref().unwrap_or("")) {
        match check_label(namespace) {
            Ok(()) => namespaces.push(namespace.to_owned()),
            Err(fault) => faults.unusable(VARIABLE, format!("{} {fault}", quoted(namespace))),
        }
    }
    namespaces
}

fn labels(given: &Given, faults: &mut Faults) -> BTreeMap<String, String> {
    const VARIABLE: &str = "pull_secret_labels";
    let mut labels = BTreeMap::new();
    for item in list(given.inputs.pull_secret_labels.as_deref().unwrap_or("")) {
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

fn form(given: &Given, faults: &mut Faults) -> PullSecretForm {
    const VARIABLE: &str = "pull_secret_format";
    let words = [
        ("yaml", PullSecretForm::Yaml),
        ("json", PullSecretForm::Json),
        ("dockerconfigjson", PullSecretForm::DockerConfigJson),
    ];
    let Some(text) = given.inputs.pull_secret_format.as_deref() else {
        return PullSecretForm::Yaml;
    };
    if given.inputs.pull_secret_file.is_none() {
        faults.unusable(VARIABLE, "it does nothing without `pull_secret_file`");
    }
    faults
        .take(VARIABLE, word(text, &words))
        .unwrap_or(PullSecretForm::Yaml)
}

/// Where it is written. A CI keeps what is printed for everyone who may read the log.
fn output(
    given: &Given,
    ci: Option<Ci>,
    apply: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<PullSecretOutput> {
    const VARIABLE: &str = "pull_secret_file";
    match given.inputs.pull_secret_file.as_deref() {
        Some("-") if ci.is_some() => {
            faults.unusable(
                VARIABLE,
                "under a CI the pull secret is never printed, because the log keeps it: name a file, such as `pull-secret.yaml`",
            );
            None
        }
        Some("-") => Some(PullSecretOutput::Stdout),
        Some(text) => faults
            .take_path(VARIABLE, text, paths.output(text))
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

/// A name by RFC 1123 as Kubernetes reads it: labels joined by dots, at most 253 characters.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>
fn check_subdomain(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("is no name of a Secret: it is longer than 253 characters");
    }
    if name.split('.').all(is_label) {
        Ok(())
    } else {
        Err(
            "is no name of a Secret: lower-case letters, digits, `-` and `.`, with a letter or digit at each end and beside each dot",
        )
    }
}

/// The same for a single label of at most 63 characters, which a namespace is.
fn check_label(name: &str) -> Result<(), &'static str> {
    if name.len() > 63 {
        Err("is no namespace: it is longer than 63 characters")
    } else if is_label(name) {
        Ok(())
    } else {
        Err(
            "is no namespace: lower-case letters, digits and `-`, with a letter or digit at each end",
        )
    }
}

/// The key of a label: a name, perhaps behind the domain of whoever it belongs to and a slash.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
fn check_label_key(key: &str) -> Result<(), &'static str> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    if domain.is_some_and(|domain| check_subdomain(domain).is_err()) {
        return Err("is no label: what stands before the `/` is no domain");
    }
    if name.is_empty() {
        return Err("is no label: it has no name");
    }
    check_label_value(name)
}

/// The value of a label, which may be empty.
fn check_label_value(value: &str) -> Result<(), &'static str> {
    let alphanumeric = |b: u8| b.is_ascii_alphanumeric();
    if value.len() > 63 {
        return Err("is no label: names and values have at most 63 characters");
    }
    let ends = [value.bytes().next(), value.bytes().last()];
    let inside = |b: u8| alphanumeric(b) || matches!(b, b'-' | b'_' | b'.');
    if value.bytes().all(inside) && ends.into_iter().flatten().all(alphanumeric) {
        Ok(())
    } else {
        Err(
            "is no label: names and values have letters, digits, `-`, `_` and `.`, with a letter or digit at each end",
        )
    }
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    label.bytes().all(|b| alphanumeric(b) || b == b'-')
        && label.bytes().next().is_some_and(alphanumeric)
        && label.bytes().last().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_secret_is_a_dns_subdomain() {
        for good in ["gcr-pull", "a.b-c", "1", &"a".repeat(253)] {
            assert_eq!(check_subdomain(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Gcr",
            "a_b",
            "-a",
            "a-",
            ".a",
            "a..b",
            "a.-b",
            "é",
            &"a".repeat(254),
        ] {
            assert!(check_subdomain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_namespace_is_a_dns_label() {
        for good in ["default", "0", "a-b", &"a".repeat(63)] {
            assert_eq!(check_label(good), Ok(()), "{good}");
        }
        for bad in ["", "a.b", "A", "-", &"a".repeat(64)] {
            assert!(check_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_is_what_kubernetes_takes_for_one() {
        for good in ["a", "A.b_c-1", "example.com/a", &"a".repeat(63)] {
            assert_eq!(check_label_key(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "A/b",
            "a/b/c",
            "-a",
            "a_",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(check_label_key(bad).is_err(), "{bad}");
        }
        assert_eq!(check_label_value(""), Ok(()));
        for bad in [".", "a b", "a/b", "a=b"] {
            assert!(check_label_value(bad).is_err(), "{bad}");
        }
    }
}
