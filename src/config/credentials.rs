//! The credential for Google that our own variables name. [`super::adc`] reads those of other
//! tools.

use super::damage::{self, Damage, damage, is_placeholder};
use super::document::{NO_FILE, ObjectDocument, document, looks_like_a_path};
use super::environment::Environment;
use super::input::Input;
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
    let file = file(environment, &inputs.credentials_json);
    let token = inputs.access_token.read(check_token);
    let federated = workload_identity::workload_identity(environment, missing);
    let ways = [
        (&inputs.credentials_json, file),
        (
            &inputs.access_token,
            token.map(GoogleCredential::AccessToken),
        ),
        (
            &inputs.workload_identity_provider,
            federated.map(|account| GoogleCredential::External(Box::new(account))),
        ),
    ];
    let mut given = ways.into_iter().filter(|(input, _)| input.is_set());
    let (first, mut credential) = given.next()?;
    for (other, _) in given {
        other.invalid(format!("`{}` is set too: keep one", first.name));
        credential = None;
    }
    credential.map(|credential| (CredentialSource::Variable(first.name), credential))
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
        let named = environment.paths.named_by(text);
        let names_a_file = named.is_ok_and(|named| named.is_some());
        if !names_a_file && !looks_like_a_path(text) && !is_placeholder(text) {
            drop(Secret::new(text.as_str()));
        }
    }
}

/// Reads the service-account key that a variable holds or names.
pub(super) fn key(environment: &Environment<'_>, input: &Input) -> Option<ServiceAccountKey> {
    let document = document(environment, input, "")?;
    let parsed = ServiceAccountKey::parse(&document.json).map_err(FileError::Key);
    parsed
        .map_err(|error| refuse(input, &document, &error))
        .ok()
}

/// Reads the credential file that a variable holds or names.
fn file(environment: &Environment<'_>, input: &Input) -> Option<GoogleCredential> {
    let document = document(environment, input, "")?;
    credential_file::parse(&document.json)
        .map_err(|error| refuse(input, &document, &error))
        .ok()
}

fn refuse(input: &Input, document: &ObjectDocument, error: &FileError) {
    let text = input.text().unwrap_or_default();
    let (what, fix) = describe(&document.json, error);
    let is_json = !matches!(error, FileError::Key(KeyError::NotJson));
    if is_json || !document.from_file && is_placeholder(text) {
        input.invalid(what);
    } else if document.from_file {
        input.invalid(format!("in the file that it names: {what}"));
    } else if looks_like_a_path(text) {
        input.invalid(NO_FILE);
        return;
    } else {
        input.invalid(format!("{what}; its value is not shown"));
    }
    if let Some(fix) = fix {
        input.hint(fix);
    }
}

/// The hint with the forms that a key may have.
const FORMS: &str = "use the JSON of the key file, its base64 (`base64 -w0 key.json`), or a \
                     path to it";

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
        return Err("it is JSON, not a token; put a key in `credentials_json`");
    }
    if token.contains(char::is_whitespace) {
        return Err(
            "it contains a space or a line break; set it to the token only, without `Bearer`; its \
             value is not shown",
        );
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it contains characters that a token cannot have; its value is not shown");
    }
    Ok(Secret::new(token))
}
