//! What Google's few sentences about a refused sign-in mean, as far as they are known from its
//! documents and from reports, each with the command or the setting that mends it.

use super::claims::JwtClaims;
use super::error::AuthOperation;
use super::google::quota;
use super::identity::Identity;
use super::refused::TokenRefusal;
use crate::diagnostics::render::shell_word;
use crate::diagnostics::sanitize::sanitize;

/// The advice for a refusal, most useful first; none where the sentence is not known.
pub(super) fn hints(step: &AuthOperation, refused: &TokenRefusal) -> Vec<String> {
    let general = service_controls(&refused.description)
        .or_else(|| quota::hint(&refused.description, refused.reason.as_deref()));
    if let Some(hint) = general {
        return vec![hint];
    }
    match step {
        AuthOperation::Key(account) => of_key(account, refused),
        AuthOperation::User => of_user(refused),
        AuthOperation::Subject => of_subject(),
        AuthOperation::Federation { audience, claims } => of_federation(audience, claims, refused),
        AuthOperation::Impersonation { account, member } => {
            of_impersonation(account, member.as_deref(), refused)
        }
        AuthOperation::Metadata(account) => of_metadata(account, refused),
    }
}

/// What to do where VPC Service Controls forbid a request; none where they do not.
/// <https://cloud.google.com/vpc-service-controls/docs/troubleshooting>
pub(crate) fn service_controls(sentence: &str) -> Option<String> {
    const WORD: &str = "vpcServiceControlsUniqueIdentifier";
    let (_, rest) = sentence.split_once(WORD)?;
    let id: String = rest
        .trim_start_matches([':', ' ', '='])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    Some(format!(
        "the organisation's VPC Service Controls do not allow this from here: who administers them \
         finds the request by `{id}` and can allow it with an ingress rule or an access level"
    ))
}

/// Known from googleapis/google-cloud-php#3622 and google-api-ruby-client#720.
fn of_key(account: &str, refused: &TokenRefusal) -> Vec<String> {
    let account = shell_word(account);
    let hint = if refused.says("account not found") || refused.says("disabled") {
        format!(
            "the account was deleted or disabled; where it is disabled, `gcloud iam \
             service-accounts enable {account}` brings it back"
        )
    } else if refused.says("Invalid JWT Signature") {
        format!(
            "this key was deleted, or is not the account's: make a new one with `gcloud iam \
             service-accounts keys create key.json --iam-account={account}`"
        )
    } else if refused.says("reasonable timeframe") {
        "the clock of this machine is wrong: Google takes an assertion within an hour of its time"
            .to_owned()
    } else {
        return Vec::new();
    };
    vec![hint]
}

fn of_user(refused: &TokenRefusal) -> Vec<String> {
    if refused.is_temporary() {
        return Vec::new();
    }
    vec![
        "log in again: `gcloud auth application-default login`; for a pipeline use a service \
         account, for a person's login may end at any time"
            .to_owned(),
    ]
}

pub(super) fn of_subject() -> Vec<String> {
    vec![
        "on GitHub the job needs `permissions: id-token: write`, and the URL serves for as long as \
         the job runs"
            .to_owned(),
    ]
}

fn of_federation(audience: &str, claims: &JwtClaims, refused: &TokenRefusal) -> Vec<String> {
    let provider = Provider::of(audience);
    let says = |words: &str| refused.says(words);
    if let Some(enable) = refused.enable() {
        return vec![enable];
    }
    if says("attribute condition") {
        return vec![
            format!(
                "the provider's condition refuses this token: {}; see the condition with {}",
                told(claims),
                provider.describe("attributeCondition")
            ),
            "a condition on `assertion.sub` fails where a repository was made or renamed after \
             GitHub changed that claim: compare `assertion.repository_id` instead"
                .to_owned(),
        ];
    }
    if refused.code.as_deref() == Some("invalid_target") || says("Invalid value for \"audience\"") {
        return vec![
            format!(
                "there is no such provider, or it is disabled; `workload_identity_provider` is \
                 `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`, \
                 with the project's number, not its id; see whether it is there with {}",
                provider.describe("state")
            ),
            "a provider that was just made may take five minutes to be known everywhere".to_owned(),
        ];
    }
    if says("Could not obtain a value for") || says("google.subject") {
        return vec![
            format!(
                "the provider's mapping makes no subject out of this token: see it with {}",
                provider.describe("attributeMapping")
            ),
            format!(
                "map `google.subject` to a claim that the token has, beside whatever else is to be \
                 mapped: {}",
                provider.update("--attribute-mapping=google.subject=assertion.sub")
            ),
        ];
    }
    if is_about_the_issuers_keys(refused) {
        return issuer_not_reached(&provider, claims);
    }
    if says("issuer") && says("match") {
        return vec![format!(
            "the token is {}'s, and the provider takes another's: see whose with {}",
            quoted(&claims.issuer),
            provider.describe("oidc.issuerUri")
        )];
    }
    if says("audience") {
        return vec![of_audience(audience, &provider, claims, refused)];
    }
    if says("127 bytes") {
        return vec![
            "the provider maps a claim that is too long for Google, a long branch name for \
             example: map `google.subject` to a shorter one, such as `assertion.repository_id`"
                .to_owned(),
        ];
    }
    if says("expired") || says("stale") || says("lifetime") {
        return vec![
            "the OIDC token is too old, or the clock of the CI is wrong: let it be made anew, \
             right before it is used"
                .to_owned(),
        ];
    }
    Vec::new()
}

/// True where Google could not check the token with what the issuer publishes.
fn is_about_the_issuers_keys(refused: &TokenRefusal) -> bool {
    let text = refused.description.to_lowercase();
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

fn issuer_not_reached(provider: &Provider, claims: &JwtClaims) -> Vec<String> {
    let (issuer, address) = match claims.issuer.as_str() {
        "" => ("the token's issuer".to_owned(), "its address".to_owned()),
        issuer => (format!("`{}`", sanitize(issuer)), sanitize(issuer)),
    };
    vec![
        format!(
            "Google could not check the token with the keys of {issuer}: {}/.well-known/\
             openid-configuration and the keys that it names must be open to the internet, with a \
             certificate that everybody trusts",
            address.trim_end_matches('/')
        ),
        format!(
            "or upload the keys, and again whenever they change: {}",
            provider.update("--jwk-json-path=FILE")
        ),
    ]
}

/// Either side can be changed: the token, unless it is made for this provider already, or what the
/// provider takes.
fn of_audience(
    audience: &str,
    provider: &Provider,
    claims: &JwtClaims,
    refused: &TokenRefusal,
) -> String {
    let own = format!("https:{audience}");
    // A list that is set replaces the one before.
    let mut allowed = expected_audiences(&refused.description);
    if !claims.audience.is_empty() && !allowed.contains(&claims.audience) {
        allowed.push(claims.audience.clone());
    }
    let list = shell_word(&allowed.join(","));
    let allow = provider.update(&format!("--allowed-audiences={list}"));
    let shown = provider.describe("oidc.allowedAudiences");
    if claims.audience == own || claims.audience == audience {
        return format!(
            "the token is for {}, which the provider has to allow: {allow}, where the list replaces \
             the one that {shown} shows",
            quoted(&claims.audience)
        );
    }
    format!(
        "the token is for {}: let the CI make it for `{}`, or have the provider allow it: {allow}, \
         where the list replaces the one that {shown} shows",
        quoted(&claims.audience),
        sanitize(&own),
    )
}

/// The audiences that a provider takes, as far as the sentence names them.
fn expected_audiences(sentence: &str) -> Vec<String> {
    let (_, rest) = sentence
        .rsplit_once("expected audience")
        .unwrap_or_default();
    let rest = rest.trim_start_matches(['s', ':', ' ']);
    let list = rest.split(['[', ']', ',', ' ', '"', '\'']);
    list.map(|one| one.trim_end_matches('.'))
        .filter(|one| one.contains('/') || one.contains('.'))
        .map(str::to_owned)
        .collect()
}

/// Known from google-github-actions/auth#77 and its TROUBLESHOOTING.md.
fn of_impersonation(account: &str, member: Option<&str>, refused: &TokenRefusal) -> Vec<String> {
    let says = |words: &str| refused.says(words);
    if let Some(enable) = refused.enable() {
        return vec![enable];
    }
    if says("has not been used in project") {
        let project = project_of(account);
        let project = project.as_deref().unwrap_or("PROJECT");
        return vec![format!(
            "enable the API: `gcloud services enable iamcredentials.googleapis.com \
             --project={project}`"
        )];
    }
    if says("lifetime cannot exceed") {
        return vec![
            "ask for an hour at most: `token_lifetime_seconds` in the credential file is too large"
                .to_owned(),
        ];
    }
    if refused.reason.as_deref() == Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        || says("insufficient authentication scopes")
    {
        return vec![
            "the token that is shown was made for less: it needs the scope \
             `https://www.googleapis.com/auth/cloud-platform`"
                .to_owned(),
        ];
    }
    if is_no_account(refused) {
        return vec![no_account(account)];
    }
    if !says("ermission") {
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
            "let it act as the account: {}{depends}; it takes effect within minutes",
            bind(account, role, &member)
        ),
        format!(
            "check that the account is there: `gcloud iam service-accounts describe {}`; or \
             leave `service_account` out and give the roles to the identity itself",
            shell_word(account)
        ),
    ]
}

/// GKE's metadata server passes on what IAM says, in plain text.
fn of_metadata(account: &str, refused: &TokenRefusal) -> Vec<String> {
    let mut hints: Vec<String> = refused.enable().into_iter().collect();
    if is_no_account(refused) {
        hints.push(no_account(account));
    } else if matches!(refused.status.as_u16(), 401 | 403) {
        hints.push(format!(
            "let the pod's Kubernetes service account act as it: {}",
            bind(
                account,
                "roles/iam.workloadIdentityUser",
                "serviceAccount:PROJECT.svc.id.goog[NAMESPACE/NAME]"
            )
        ));
    }
    if refused.is_temporary() {
        return hints;
    }
    hints.push(
        "check the pod's Kubernetes service account, whose annotation `iam.gke.io/gcp-service-account` \
         names the account: `kubectl get serviceaccount NAME --namespace=NAMESPACE --output=yaml`"
            .to_owned(),
    );
    hints
}

/// True where there is no account of that address.
fn is_no_account(refused: &TokenRefusal) -> bool {
    refused.says("Gaia id not found") || refused.code.as_deref() == Some("NOT_FOUND")
}

fn no_account(account: &str) -> String {
    let project = project_of(account);
    let project = project.as_deref().unwrap_or("PROJECT");
    format!(
        "there is no service account `{}`: it is misspelt, in another project, or deleted; `gcloud \
         iam service-accounts list --project={project}` lists those that there are",
        sanitize(account)
    )
}

/// The command that gives somebody a role on an account. Without `--condition` gcloud asks for one
/// where the policy has any.
fn bind(account: &str, role: &str, member: &str) -> String {
    format!(
        "`gcloud iam service-accounts add-iam-policy-binding {} --role={role} --member={} \
         --condition=None`",
        shell_word(account),
        shell_word(member)
    )
}

/// The project of a service account, where its address tells; one below a domain is `example.com:p`
/// everywhere but there.
fn project_of(account: &str) -> Option<String> {
    let (_, domain) = account.split_once('@')?;
    let name = domain.strip_suffix(".iam.gserviceaccount.com")?;
    Some(match name.split_once('.') {
        Some((project, domain)) => format!("{domain}:{project}"),
        None => name.to_owned(),
    })
}

/// What a token says of itself, in a sentence.
fn told(claims: &JwtClaims) -> String {
    let mut told = format!("its subject is {}", quoted(&claims.subject));
    for (name, value) in [
        ("repository", &claims.repository),
        ("project", &claims.project_path),
    ] {
        if !value.is_empty() {
            told.push_str(&format!(", its {name} {}", quoted(value)));
        }
    }
    told
}

fn quoted(text: &str) -> String {
    match text {
        "" => "not known".to_owned(),
        text => format!("`{}`", sanitize(text)),
    }
}

/// A provider in its parts.
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
        for (sentence, expected) in [
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
            assert_eq!(expected_audiences(sentence), expected, "{sentence}");
        }
    }

    #[test]
    fn service_controls_refusal_is_known_by_its_identifier() {
        let sentence = "Request is prohibited by organization's policy. \
                        vpcServiceControlsUniqueIdentifier: Ab-1_x.";
        let hint = service_controls(sentence);
        assert!(hint.is_some_and(|hint| hint.contains("`Ab-1_x`")));
        assert_eq!(service_controls("Permission denied"), None);
    }
}
