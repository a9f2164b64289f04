//! Workload identity federation: Google's provider and the OIDC token of the CI.

use super::document::{NO_FILE, looks_like_a_path};
use super::environment::Environment;
use super::github_event;
use crate::auth::google::federation::ExternalAccount;
use crate::auth::google::impersonation::{Impersonation, is_account};
use crate::auth::subject::{Format, SubjectSource};
use crate::commands::session::MissingCredentials;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;

const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Reads `workload_identity_provider`, `service_account` and `oidc_token`; each needs the first.
pub(super) fn workload_identity(
    environment: &Environment<'_>,
    missing: MissingCredentials,
) -> Option<ExternalAccount> {
    let inputs = &environment.inputs;
    let Some(provider) = inputs.workload_identity_provider.text() else {
        for input in [&inputs.service_account, &inputs.oidc_token] {
            if input.is_set() {
                inputs.workload_identity_provider.missing(
                    format!("`{}` is only half of a sign-in: set this to the provider that \
                             accepts the CI's OIDC token, \
                             `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`", input.name),
                );
            }
        }
        return None;
    };
    let is_without_token =
        !inputs.oidc_token.is_set() && environment.ambient(REQUEST_URL).is_none();
    if missing == MissingCredentials::Skip
        && is_without_token
        && github_event::has_no_secrets(environment)
    {
        return None;
    }
    let provider = inputs
        .workload_identity_provider
        .accept(check_provider(provider));
    let impersonation = match inputs.service_account.text() {
        Some(account) => {
            let impersonation = Some(account).filter(|account| is_account(account));
            let impersonation = impersonation.and_then(|name| Impersonation::of(name).ok());
            let impersonation = impersonation.ok_or_else(|| {
                format!(
                    "{} is not the address of a service account, \
                     `NAME@PROJECT.iam.gserviceaccount.com`",
                    quoted(account)
                )
            });
            Some(inputs.service_account.accept(impersonation)?)
        }
        None => None,
    };
    let subject = subject(environment, provider.unwrap_or_default())?;
    ExternalAccount::of_provider(provider?, subject, impersonation).ok()
}

/// The source of the OIDC token: `oidc_token`, else GitHub.
fn subject(environment: &Environment<'_>, provider: &str) -> Option<SubjectSource> {
    let input = &environment.inputs.oidc_token;
    let request = [REQUEST_URL, REQUEST_TOKEN].map(|name| environment.ambient(name));
    if input.is_set() {
        return token(environment);
    }
    if let [Some(url), Some(token)] = request {
        let source = SubjectSource::github(url, token, provider);
        return environment.errors.accept(REQUEST_URL, source);
    }
    let lacks = "`workload_identity_provider` is only half of a sign-in";
    if environment.ambient("GITHUB_ACTIONS").is_some() {
        input.missing(format!("{lacks}: GitHub gives this job no OIDC token"));
        input.hint(
            "add `permissions: id-token: write` and `contents: read` to the job or the \
                    workflow, because permissions that are not listed there are removed; pull \
                    requests from forks get no OIDC token",
        );
    } else {
        input.missing(format!(
            "{lacks}: set this to the CI's OIDC token, as text or as the path of a file"
        ));
        if environment.ambient("GITLAB_CI").is_some() {
            input.hint(
                "add to the job: `id_tokens: {GCR_PUSH_OIDC_TOKEN: {aud: \
                        https://gitlab.com}}`, with an audience that the provider allows",
            );
        }
    }
    None
}

/// Parses an OIDC token, or the path of a file that holds one.
fn token(environment: &Environment<'_>) -> Option<SubjectSource> {
    let input = &environment.inputs.oidc_token;
    let text = input.text()?;
    let is_token = text.split('.').count() == 3
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'='));
    if is_token && text.starts_with("ey") {
        return Some(SubjectSource::Given(input.name, Secret::new(text)));
    }
    match environment.paths.named_by(text) {
        Ok(Some(path)) => return Some(SubjectSource::File(path, Format::Text)),
        Ok(None) if looks_like_a_path(text) => input.invalid(NO_FILE),
        Ok(None) => {
            input.invalid("it is neither a JWT nor the path of a file; its value is not shown");
        }
        Err(fault) => input.unseen(fault),
    }
    None
}

/// Checks a provider and returns its full name, without the prefix that some tools print before it.
fn check_provider(text: &str) -> Result<&str, String> {
    let name = text
        .strip_prefix("https:")
        .unwrap_or(text)
        .trim_start_matches("//iam.googleapis.com/");
    let form = "`projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`";
    let parts: Vec<&str> = name.split('/').collect();
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match parts.as_slice() {
        [
            "projects",
            project,
            "locations",
            "global",
            "workloadIdentityPools",
            pool,
            rest @ ..,
        ] if is_name(pool) => match rest {
            ["providers", provider] if is_name(provider) => {
                if !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit()) {
                    Ok(name)
                } else {
                    Err(format!(
                        "it contains the project's id, {}, but Google requires its number: \
                         `gcloud projects describe {} --format='value(projectNumber)'` prints it",
                        quoted(project),
                        project.escape_debug()
                    ))
                }
            }
            [] => Err(format!(
                "it names a pool without a provider: {form}; `gcloud iam workload-identity-pools \
                 providers list --workload-identity-pool={pool} --location=global \
                 --project={project}` lists the providers"
            )),
            _ => Err(format!(
                "{} is not the name of a provider: {form}",
                quoted(text)
            )),
        },
        _ => Err(format!(
            "{} is not the name of a provider: {form}",
            quoted(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "projects/123/locations/global/workloadIdentityPools/pool/providers/gh";

    #[test]
    fn provider_is_accepted_in_every_form_google_prints() {
        for text in [
            NAME.to_owned(),
            format!("//iam.googleapis.com/{NAME}"),
            format!("https://iam.googleapis.com/{NAME}"),
        ] {
            assert_eq!(check_provider(&text), Ok(NAME), "{text}");
        }
        for text in [
            "gh",
            "projects/123",
            &NAME.replace("123", "acme"),
            &NAME.replace("/providers/gh", ""),
            &NAME.replace("global", "us"),
            &format!("{NAME}/x"),
            &NAME.replace("gh", ""),
            &NAME.replace("gh", "g h"),
        ] {
            assert!(check_provider(text).is_err(), "{text}");
        }
    }
}
