//! Hints for errors of token exchanges. Google's messages are known from its documentation and from
//! reports; each gets the command or the setting that resolves it.

use reqwest::StatusCode;

use super::claims::JwtClaims;
use super::error::AuthOperation;
use super::google::disabled_api::enable_hint;
use super::google::quota;
use super::identity::Identity;
use crate::diagnostics::render::shell_word;
use crate::diagnostics::sanitize::sanitize;
use crate::http::{ConnectionFailure, ErrorResponse, HttpError, HttpErrorKind};

/// Returns the hints for an exchange that failed, the most useful first.
pub(super) fn exchange_hints(step: &AuthOperation, error: &HttpError) -> Vec<String> {
    let again = "try again in a few minutes";
    let hint = match &error.kind {
        HttpErrorKind::Response(response) if !response.is_foreign() => {
            let hints = refusal_hints(step, response);
            if !hints.is_empty() || !response.is_temporary() {
                return hints;
            }
            format!("Google has a temporary problem; {again}")
        }
        HttpErrorKind::Response(_) if *step == AuthOperation::Subject => return subject_hints(),
        HttpErrorKind::Response(response) if !response.is_temporary() => format!(
            "check that no proxy or firewall blocks `{}`: this response is not from Google",
            error.host()
        ),
        HttpErrorKind::Connection => match error.connection_failure() {
            // `stall_timeout` is not the limit of an exchange.
            ConnectionFailure::Stalled => {
                "the server or the network did not respond in time; try again".to_owned()
            }
            failure => failure.hint(&error.host()),
        },
        _ => format!(
            "{again}; if the problem continues, check that no proxy or sign-in page answers \
             instead of Google"
        ),
    };
    vec![hint]
}

/// Returns the hints for an error response. Empty if its message is not known.
fn refusal_hints(step: &AuthOperation, response: &ErrorResponse) -> Vec<String> {
    if let Some(hint) = general_hint(response) {
        return vec![hint];
    }
    match step {
        AuthOperation::Key(account) => key_hints(account, response),
        AuthOperation::User => user_hints(response),
        AuthOperation::Subject => subject_hints(),
        AuthOperation::Federation { audience, claims } => {
            federation_hints(audience, claims, response)
        }
        AuthOperation::Impersonation { account, member } => {
            impersonation_hints(account, member.as_deref(), response)
        }
        AuthOperation::Metadata(account) => metadata_hints(account, response),
    }
}

/// The hint for a refusal that any service of Google may send. `None` for other refusals.
pub(crate) fn general_hint(response: &ErrorResponse) -> Option<String> {
    service_controls(&response.message)
        .or_else(|| quota::hint(&response.message, response.reason()))
}

/// True if the scopes of the token do not permit the request.
pub(crate) fn is_of_narrow_scopes(response: &ErrorResponse) -> bool {
    response.reason() == Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        || (response.status == StatusCode::FORBIDDEN
            && response.contains("insufficient authentication scopes"))
}

/// The hint for a token whose scopes do not permit the request.
pub(crate) const NARROW_SCOPES: &str = "the token has too few scopes: it needs the scope \
    `https://www.googleapis.com/auth/cloud-platform`";

/// The hint if VPC Service Controls forbid a request.
/// <https://cloud.google.com/vpc-service-controls/docs/troubleshooting>
pub(crate) fn service_controls(message: &str) -> Option<String> {
    const WORD: &str = "vpcServiceControlsUniqueIdentifier";
    let (_, rest) = message.split_once(WORD)?;
    let id: String = rest
        .trim_start_matches([':', ' ', '='])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    Some(format!(
        "the organisation's VPC Service Controls do not allow this from here: ask their \
         administrator to find the request `{id}` and to allow it with an ingress rule or an \
         access level"
    ))
}

/// The messages are known from googleapis/google-cloud-php#3622 and google-api-ruby-client#720.
fn key_hints(account: &str, response: &ErrorResponse) -> Vec<String> {
    let account = shell_word(account);
    let hint = if response.contains("account not found") || response.contains("disabled") {
        format!(
            "the account was deleted or disabled; if it is disabled, enable it: `gcloud iam \
             service-accounts enable {account}`"
        )
    } else if response.contains("Invalid JWT Signature") {
        format!(
            "this key was deleted, or belongs to another account: create a new one with `gcloud \
             iam service-accounts keys create key.json --iam-account={account}`"
        )
    } else if response.contains("reasonable timeframe") {
        "the clock of this machine is wrong: correct it; Google accepts an assertion only within \
         an hour of its time"
            .to_owned()
    } else {
        return Vec::new();
    };
    vec![hint]
}

fn user_hints(response: &ErrorResponse) -> Vec<String> {
    if response.is_temporary() {
        return Vec::new();
    }
    vec![
        "log in again: `gcloud auth application-default login`; in a pipeline, use a service \
         account, because a user's login can expire at any time"
            .to_owned(),
    ]
}

fn subject_hints() -> Vec<String> {
    vec![
        "on GitHub, the job needs `permissions: id-token: write`, and the URL works only while the \
         job runs"
            .to_owned(),
    ]
}

fn federation_hints(audience: &str, claims: &JwtClaims, response: &ErrorResponse) -> Vec<String> {
    let provider = Provider::of(audience);
    let contains = |words: &str| response.contains(words);
    if let Some(enable) = enable_hint(response) {
        return vec![enable];
    }
    if contains("attribute condition") {
        return vec![
            format!(
                "the provider's condition refuses this token: {}; see the condition with {}",
                claims_summary(claims),
                provider.describe("attributeCondition")
            ),
            "a condition on `assertion.sub` fails if the repository was created or renamed after \
             GitHub changed that claim: compare `assertion.repository_id` instead"
                .to_owned(),
        ];
    }
    if response.code.as_deref() == Some("invalid_target")
        || contains("Invalid value for \"audience\"")
    {
        return vec![
            format!(
                "the provider does not exist, or it is disabled; `workload_identity_provider` is \
                 `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`, \
                 with the project's number, not its ID; check that it exists with {}",
                provider.describe("state")
            ),
            "if you just created the provider, wait five minutes".to_owned(),
        ];
    }
    if contains("Could not obtain a value for") || contains("google.subject") {
        return vec![
            format!(
                "the provider's mapping does not give this token a subject: see the mapping with {}",
                provider.describe("attributeMapping")
            ),
            format!(
                "map `google.subject` to a claim that the token has, and keep the other mappings: \
                 {}",
                provider.update("--attribute-mapping=google.subject=assertion.sub")
            ),
        ];
    }
    if is_about_issuer_keys(response) {
        return issuer_hints(&provider, claims);
    }
    if contains("issuer") && contains("match") {
        return vec![format!(
            "the token's issuer is {}, but the provider accepts another: see which with {}",
            quoted(&claims.issuer),
            provider.describe("oidc.issuerUri")
        )];
    }
    if contains("audience") {
        return vec![audience_hint(audience, &provider, claims, response)];
    }
    if contains("127 bytes") {
        return vec![
            "the provider maps a claim that is too long for Google, such as a long branch name: \
             map `google.subject` to a shorter one, such as `assertion.repository_id`"
                .to_owned(),
        ];
    }
    if contains("expired") || contains("stale") || contains("lifetime") {
        return vec![
            "the OIDC token is too old, or the clock of the CI is wrong: request a new token right \
             before you use it"
                .to_owned(),
        ];
    }
    Vec::new()
}

/// True if Google could not verify the token with the keys that the issuer publishes.
fn is_about_issuer_keys(response: &ErrorResponse) -> bool {
    let text = response.message.to_lowercase();
    (text.contains("connecting to") && text.contains("issuer"))
        || [
            "jwk",
            "openid-configuration",
            "public key",
            "signing key",
            "signature",
        ]
        .iter()
        .any(|word| text.contains(word))
}

fn issuer_hints(provider: &Provider, claims: &JwtClaims) -> Vec<String> {
    let (issuer, address) = match claims.issuer.as_str() {
        "" => ("the token's issuer".to_owned(), "its address".to_owned()),
        issuer => (format!("`{}`", sanitize(issuer)), sanitize(issuer)),
    };
    vec![
        format!(
            "Google could not verify the token with the keys of {issuer}: \
             {}/.well-known/openid-configuration and its keys must be open to the internet, with a \
             certificate of a public authority",
            address.trim_end_matches('/')
        ),
        format!(
            "or upload the keys, and upload them again when they change: {}",
            provider.update("--jwk-json-path=FILE")
        ),
    ]
}

/// Either side can be changed: the audience of the token, unless it is already made for this
/// provider, or the audiences that the provider allows.
fn audience_hint(
    audience: &str,
    provider: &Provider,
    claims: &JwtClaims,
    response: &ErrorResponse,
) -> String {
    let own = format!("https:{audience}");
    // Setting a list replaces the previous one.
    let mut allowed = expected_audiences(&response.message);
    if !claims.audience.is_empty() && !allowed.contains(&claims.audience) {
        allowed.push(claims.audience.clone());
    }
    let list = shell_word(&allowed.join(","));
    let allow = provider.update(&format!("--allowed-audiences={list}"));
    let shown = provider.describe("oidc.allowedAudiences");
    if claims.audience == own || claims.audience == audience {
        return format!(
            "the token is for {}, which the provider does not allow: allow it with {allow}; this \
             list replaces the list that {shown} prints",
            quoted(&claims.audience)
        );
    }
    format!(
        "the token is for {}: request it for `{}` in the CI, or allow it in the provider with \
         {allow}; this list replaces the list that {shown} prints",
        quoted(&claims.audience),
        sanitize(&own),
    )
}

/// Returns the audiences that the message names as expected.
fn expected_audiences(message: &str) -> Vec<String> {
    let (_, rest) = message.rsplit_once("expected audience").unwrap_or_default();
    let rest = rest.trim_start_matches(['s', ':', ' ']);
    let list = rest.split(['[', ']', ',', ' ', '"', '\'']);
    list.map(|one| one.trim_end_matches('.'))
        .filter(|one| one.contains('/') || one.contains('.'))
        .map(str::to_owned)
        .collect()
}

/// The messages are known from google-github-actions/auth#77 and its TROUBLESHOOTING.md.
fn impersonation_hints(
    account: &str,
    member: Option<&str>,
    response: &ErrorResponse,
) -> Vec<String> {
    let contains = |words: &str| response.contains(words);
    if let Some(enable) = enable_hint(response) {
        return vec![enable];
    }
    if contains("has not been used in project") {
        let project = project_of(account);
        let project = project.as_deref().unwrap_or("PROJECT");
        return vec![format!(
            "enable the API: `gcloud services enable iamcredentials.googleapis.com \
             --project={project}`"
        )];
    }
    if contains("lifetime cannot exceed") {
        return vec![
            "set `token_lifetime_seconds` in the credential file to at most one hour".to_owned(),
        ];
    }
    if is_of_narrow_scopes(response) {
        return vec![NARROW_SCOPES.to_owned()];
    }
    if is_no_account(response) {
        return vec![no_account(account)];
    }
    if !contains("ermission") {
        return Vec::new();
    }
    let (role, (member, depends)) = match member {
        Some(member) if member.starts_with("principal") => (
            "roles/iam.workloadIdentityUser",
            Identity::Federated(member.to_owned()).grantee(),
        ),
        Some(member) => (
            "roles/iam.serviceAccountTokenCreator",
            (member.to_owned(), String::new()),
        ),
        None => (
            "roles/iam.serviceAccountTokenCreator",
            Identity::User.grantee(),
        ),
    };
    vec![
        format!(
            "allow it to impersonate the account: {}{depends}; it takes effect within minutes",
            bind(account, role, &member)
        ),
        format!(
            "check that the account exists: `gcloud iam service-accounts describe {}`; or remove \
             `service_account` and grant the roles to the identity itself",
            shell_word(account)
        ),
    ]
}

/// GKE's metadata server passes on IAM's message as plain text.
fn metadata_hints(account: &str, response: &ErrorResponse) -> Vec<String> {
    let mut hints: Vec<String> = enable_hint(response).into_iter().collect();
    if is_no_account(response) {
        hints.push(no_account(account));
    } else if matches!(response.status.as_u16(), 401 | 403) {
        hints.push(format!(
            "allow the pod's Kubernetes service account to impersonate it: {}",
            bind(
                account,
                "roles/iam.workloadIdentityUser",
                "serviceAccount:PROJECT.svc.id.goog[NAMESPACE/NAME]"
            )
        ));
    }
    if response.is_temporary() {
        return hints;
    }
    hints.push(
        "check that the annotation `iam.gke.io/gcp-service-account` of the pod's Kubernetes \
         service account is the account: `kubectl get serviceaccount NAME --namespace=NAMESPACE \
         --output=yaml`"
            .to_owned(),
    );
    hints
}

/// True if the account does not exist.
fn is_no_account(response: &ErrorResponse) -> bool {
    response.contains("Gaia id not found") || response.code.as_deref() == Some("NOT_FOUND")
}

fn no_account(account: &str) -> String {
    let project = project_of(account);
    let project = project.as_deref().unwrap_or("PROJECT");
    format!(
        "the service account `{}` does not exist: it is misspelt, in another project, or deleted; \
         see the accounts with `gcloud iam service-accounts list --project={project}`",
        sanitize(account)
    )
}

/// The command that grants a role on an account. Without `--condition` gcloud prompts for one if
/// the policy has any.
fn bind(account: &str, role: &str, member: &str) -> String {
    format!(
        "`gcloud iam service-accounts add-iam-policy-binding {} --role={role} --member={} \
         --condition=None`",
        shell_word(account),
        shell_word(member)
    )
}

/// Returns the project in the address of a service account. A project in a domain is written
/// `example.com:p` everywhere else.
fn project_of(account: &str) -> Option<String> {
    let (_, domain) = account.split_once('@')?;
    let name = domain.strip_suffix(".iam.gserviceaccount.com")?;
    Some(match name.split_once('.') {
        Some((project, domain)) => format!("{domain}:{project}"),
        None => name.to_owned(),
    })
}

/// Describes the claims of a token.
fn claims_summary(claims: &JwtClaims) -> String {
    let mut summary = format!("its subject is {}", quoted(&claims.subject));
    for (name, value) in [
        ("repository", &claims.repository),
        ("project", &claims.project_path),
    ] {
        if !value.is_empty() {
            summary.push_str(&format!(", its {name} {}", quoted(value)));
        }
    }
    summary
}

fn quoted(text: &str) -> String {
    match text {
        "" => "not known".to_owned(),
        text => format!("`{}`", sanitize(text)),
    }
}

/// The parts of the name of a provider.
struct Provider {
    project: String,
    pool: String,
    name: String,
}

impl Provider {
    fn of(audience: &str) -> Self {
        let parts: Vec<&str> = audience.trim_start_matches('/').split('/').collect();
        let after = |word: &str, otherwise: &str| {
            let at = parts.iter().position(|part| *part == word);
            let part = at.and_then(|at| parts.get(at + 1)).copied();
            shell_word(part.unwrap_or(otherwise))
        };
        Self {
            project: after("projects", "NUMBER"),
            pool: after("workloadIdentityPools", "POOL"),
            name: after("providers", "PROVIDER"),
        }
    }

    fn describe(&self, field: &str) -> String {
        self.command("describe", &format!("--format='value({field})'"))
    }

    fn update(&self, change: &str) -> String {
        self.command("update-oidc", change)
    }

    fn command(&self, verb: &str, flag: &str) -> String {
        let Self {
            project,
            pool,
            name,
        } = self;
        format!(
            "`gcloud iam workload-identity-pools providers {verb} {name} \
             --workload-identity-pool={pool} --location=global --project={project} {flag}`"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_scoped_project_is_read_from_an_account() {
        for (account, project) in [
            ("ci@acme.iam.gserviceaccount.com", Some("acme")),
            (
                "ci@acme.example.com.iam.gserviceaccount.com",
                Some("example.com:acme"),
            ),
            ("123-compute@developer.gserviceaccount.com", None),
        ] {
            assert_eq!(project_of(account).as_deref(), project, "{account}");
        }
    }

    #[test]
    fn accepted_audiences_are_read_from_the_message() {
        for (message, expected) in [
            (
                "does not match the expected audience https://github.com/acme.",
                &["https://github.com/acme"][..],
            ),
            (
                "does not match the expected audiences: [a.example, //b].",
                &["a.example", "//b"],
            ),
            ("does not match the expected audience.", &[]),
            ("no.", &[]),
        ] {
            assert_eq!(expected_audiences(message), expected, "{message}");
        }
    }

    #[test]
    fn service_controls_refusal_is_known_by_its_identifier() {
        let message = "Request is prohibited by organization's policy. \
                        vpcServiceControlsUniqueIdentifier: Ab-1_x.";
        let hint = service_controls(message);
        assert!(hint.is_some_and(|hint| hint.contains("`Ab-1_x`")));
        assert_eq!(service_controls("Permission denied"), None);
    }
}
