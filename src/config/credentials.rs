//! The credential for Google that our own variables name. [`super::adc`] reads those of other
//! tools.

use super::damage::{self, Damage, damage, is_placeholder};
use super::document::{ObjectDocument, document, looks_like_a_path};
use super::environment::Environment;
use super::errors::Errors;
use super::workload_identity;
use crate::auth::credential_file::{self, FileError};
use crate::auth::google::key::{KeyError, ServiceAccountKey};
use crate::auth::{CredentialSource, GoogleCredential};
use crate::commands::session::MissingCredentials;
use crate::diagnostics::secret::Secret;

/// Reads `credentials_json`, `access_token` and `workload_identity_provider`, which exclude each
/// other.
pub(super) fn google(
    environment: &Environment<'_>,
    missing: MissingCredentials,
) -> Option<(CredentialSource, GoogleCredential)> {
    let inputs = &environment.inputs;
    let file = inputs
        .credentials_json
        .text()
        .and_then(|text| file(environment, "credentials_json", text));
    let token = inputs.access_token.text().and_then(|token| {
        environment
            .errors
            .accept("access_token", check_token(token))
    });
    let federated = workload_identity::workload_identity(environment, missing);
    let ways = [
        ("credentials_json", inputs.credentials_json.is_set(), file),
        (
            "access_token",
            inputs.access_token.is_set(),
            token.map(GoogleCredential::AccessToken),
        ),
        (
            workload_identity::PROVIDER,
            inputs.workload_identity_provider.is_set(),
            federated.map(|account| GoogleCredential::External(Box::new(account))),
        ),
    ];
    let mut chosen = ways.into_iter().filter(|(_, is_given, _)| *is_given);
    let (name, _, credential) = chosen.next()?;
    let others: Vec<&str> = chosen.map(|(name, ..)| name).collect();
    for other in &others {
        environment
            .errors
            .invalid(other, format!("`{name}` is set too: keep one"));
    }
    if !others.is_empty() {
        return None;
    }
    credential.map(|credential| (CredentialSource::Variable(name), credential))
}

/// True if one of these variables is set, even to an invalid value. Then the credentials of other
/// tools are not read.
pub(super) fn is_given(environment: &Environment<'_>) -> bool {
    let inputs = &environment.inputs;
    [
        &inputs.credentials_json,
        &inputs.access_token,
        &inputs.workload_identity_provider,
        &inputs.service_account,
        &inputs.oidc_token,
    ]
    .iter()
    .any(|input| input.is_set())
}

/// Makes a [`Secret`] of every secret value, which masks it in all later output. The path of a file
/// is not a secret; the content becomes one when the file is read.
pub(super) fn register_secrets(environment: &Environment<'_>) {
    for text in &environment.secrets {
        let names_a_file = text.len() < 4096
            && !text.contains(['\n', '\0'])
            && environment
                .paths
                .input(text)
                .is_ok_and(|path| environment.paths.files().exists(&path));
        if !names_a_file && !looks_like_a_path(text) && !is_placeholder(text) {
            drop(Secret::new(text.as_str()));
        }
    }
}

/// Reads the service-account key that a variable holds or names.
pub(super) fn key(
    environment: &Environment<'_>,
    variable: &'static str,
    text: &str,
) -> Option<ServiceAccountKey> {
    let document = document(environment, variable, text, "")?;
    let parsed = ServiceAccountKey::parse(&document.json).map_err(FileError::Key);
    parsed
        .map_err(|fault| refuse(variable, text, &document, &fault, &environment.errors))
        .ok()
}

/// Reads the credential file that a variable holds or names.
fn file(
    environment: &Environment<'_>,
    variable: &'static str,
    text: &str,
) -> Option<GoogleCredential> {
    let document = document(environment, variable, text, "")?;
    credential_file::parse(&document.json)
        .map_err(|fault| refuse(variable, text, &document, &fault, &environment.errors))
        .ok()
}

fn refuse(
    variable: &'static str,
    text: &str,
    document: &ObjectDocument,
    fault: &FileError,
    errors: &Errors,
) {
    let (what, fix) = describe(&document.json, fault);
    let text = match fault {
        FileError::Key(KeyError::NotJson) if document.from_file => {
            format!("in the file that it names: {what}")
        }
        FileError::Key(KeyError::NotJson) if looks_like_a_path(text) => {
            let text = "no file is there, if it is meant as a path; its value is not shown";
            errors.invalid(variable, text);
            return;
        }
        FileError::Key(KeyError::NotJson) if is_placeholder(text) => what,
        FileError::Key(KeyError::NotJson) => format!("{what}; its value is not shown"),
        _ => what,
    };
    errors.invalid(variable, text);
    if let Some(fix) = fix {
        errors.hint(fix);
    }
}

/// The hint with the forms that a key may have.
const FORMS: &str = "give the JSON of the key file, its base64 (`base64 -w0 key.json`), or a path \
    to it";

/// Describes why a text is no credential file, and the fix. It quotes no part of the text.
pub(super) fn describe(json: &str, fault: &FileError) -> (String, Option<String>) {
    let damage = match fault {
        FileError::Key(KeyError::NotJson) => damage::other_json(json).or_else(|| damage(json)),
        FileError::Key(KeyError::Missing("type")) => damage::other_json(json),
        FileError::Key(KeyError::PrivateKey) => damage::of_private_key(json),
        _ => None,
    };
    match damage {
        Some(Damage { what, fix }) => (what, fix),
        None if *fault == FileError::Key(KeyError::NotJson) => {
            (fault.to_string(), Some(FORMS.to_owned()))
        }
        None => (fault.to_string(), fault.hint().map(str::to_owned)),
    }
}

/// Checks an access token. It goes into a header, where a space or a line break would end it.
fn check_token(token: &str) -> Result<Secret, &'static str> {
    if token.starts_with('{') {
        return Err("it is JSON, not a token; a key belongs into `credentials_json`");
    }
    if token.contains(char::is_whitespace) {
        return Err(
            "it has a space or a line break in it; give the token alone, without `Bearer`; its value is not shown",
        );
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it has characters that no token has; its value is not shown");
    }
    Ok(Secret::new(token))
}
