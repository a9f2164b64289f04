//! The pull secret as it is asked for: its names by Kubernetes' rules, and a key that may go into it.

use super::fault::{Faults, quoted};
use super::inputs::Given;
use super::paths::Paths;
use super::values::{boolean, list};
use super::{Ci, Command, Destinations, PullSecretRequest, credentials};
use crate::auth::GoogleCredential;

/// What else of the request bears on the pull secret.
pub(super) struct Bearings<'a> {
    pub(super) command: Command,
    pub(super) google: Option<&'a GoogleCredential>,
    pub(super) destinations: &'a Destinations,
    pub(super) ci: Option<Ci>,
}

/// Reads every `pull_secret*` variable.
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
    let Some(name) = inputs.pull_secret.as_deref() else {
        if bearings.command == Command::PullSecret {
            faults.missing("pull_secret", "name the Secret, such as `gcr-pull`");
            return None;
        }
        for (variable, is_set) in [
            (
                "pull_secret_namespaces",
                inputs.pull_secret_namespaces.is_some(),
            ),
            (
                "pull_secret_credentials_json",
                inputs.pull_secret_credentials_json.is_some(),
            ),
            ("pull_secret_allow_push_key", allow_push_key == Some(true)),
            ("pull_secret_file", inputs.pull_secret_file.is_some()),
        ] {
            if is_set {
                faults.unusable(
                    variable,
                    "it does nothing without `pull_secret`, the name of the Secret",
                );
            }
        }
        return None;
    };
    if let Err(fault) = check_subdomain(name) {
        faults.unusable("pull_secret", format!("{} {fault}", quoted(name)));
    }
    let namespaces = namespaces(given, faults);
    let file = file(given, bearings.ci, paths, faults);
    let hosts: Vec<_> = bearings
        .destinations
        .hosts()
        .into_iter()
        .filter(super::Endpoint::is_google)
        .collect();
    if hosts.is_empty() && !bearings.destinations.hosts().is_empty() {
        faults.unusable(
            "pull_secret",
            "it would sign in to Google's registries with a Google key, and no destination is Google's",
        );
    }
    let (credential, is_push_key) = credential(
        given,
        bearings,
        allow_push_key.unwrap_or(false),
        paths,
        faults,
    )?;
    Some(PullSecretRequest {
        name: name.to_owned(),
        namespaces,
        hosts,
        credential,
        is_push_key,
        file,
    })
}

/// The key for the cluster, and whether it is the pushing account's.
fn credential(
    given: &Given,
    bearings: &Bearings<'_>,
    allow_push_key: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<(crate::auth::google::ServiceAccountKey, bool)> {
    const VARIABLE: &str = "pull_secret_credentials_json";
    let push_key = match bearings.google {
        Some(GoogleCredential::Key(key)) => Some(key),
        _ => None,
    };
    if let Some(text) = given.inputs.pull_secret_credentials_json.as_deref() {
        let key = credentials::key(VARIABLE, text, paths, faults)?;
        // Another key of the same account has the same rights.
        let is_push_key = push_key.is_some_and(|push| push.client_email == key.client_email);
        if is_push_key && !allow_push_key {
            faults.unusable(
                VARIABLE,
                "it is a key of the account that pushes, so whoever reads the pull secret could push: give a key of an account that may only read, or set `pull_secret_allow_push_key: true`",
            );
        }
        return Some((key, is_push_key));
    }
    if let (true, Some(key)) = (allow_push_key, push_key) {
        return Some((key.clone(), true));
    }
    if !allow_push_key {
        faults.missing(
            VARIABLE,
            "give the key of an account that may only read, or set `pull_secret_allow_push_key: true` to put the pushing key into the pull secret",
        );
    } else if given.inputs.credentials_json.is_none() {
        faults.missing(
            VARIABLE,
            "there is no pushing key to take instead, for `credentials_json` is not set: give the key of an account that may only read",
        );
    }
    None
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

/// Where it is written. A CI keeps what is printed for everyone who may read the log.
fn file(
    given: &Given,
    ci: Option<Ci>,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<std::path::PathBuf> {
    const VARIABLE: &str = "pull_secret_file";
    match given.inputs.pull_secret_file.as_deref() {
        Some(text) => faults.take_path(VARIABLE, text, paths.output(text)),
        None => {
            if ci.is_some() {
                faults.missing(
                    VARIABLE,
                    "under a CI the pull secret is never printed, because the log keeps it: name a file, such as `pull-secret.yaml`",
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
}
