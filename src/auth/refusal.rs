//! What Google's few sentences about a refused sign-in mean, as far as they are known from its
//! documents and from reports, each with the command or the setting that mends it.

use super::claims::Claims;
use super::error::Step;
use crate::error::harmless;

/// The advice for a refusal, most useful first; none where the sentence is not known.
pub(super) fn hints(step: &Step, code: &str, description: &str) -> Vec<String> {
    match step {
        Step::Key(account) => of_key(account, description),
        Step::User => vec![
            "log in again: `gcloud auth application-default login`; for a pipeline use a service \
             account, for a person's login may end at any time"
                .to_owned(),
        ],
        Step::Subject => of_subject(),
        Step::Federation { audience, claims } => of_federation(audience, claims, code, description),
        Step::Impersonation { account, member } => {
            of_impersonation(account, member.as_deref(), description)
        }
        Step::Metadata(_) => vec![
            "check that the machine, or the Kubernetes service account of the pod, has a Google \
             service account, and that its access scopes hold `cloud-platform`"
                .to_owned(),
        ],
    }
}

/// Known from googleapis/google-cloud-php#3622 and google-api-ruby-client#720.
fn of_key(account: &str, description: &str) -> Vec<String> {
    let hint = if description.contains("account not found") || description.contains("disabled") {
        format!(
            "the account was deleted or disabled; where it is disabled, `gcloud iam \
             service-accounts enable {account}` brings it back"
        )
    } else if description.contains("Invalid JWT Signature") {
        format!(
            "this key was deleted, or is not the account's: make a new one with `gcloud iam \
             service-accounts keys create key.json --iam-account={account}`"
        )
    } else if description.contains("reasonable timeframe") {
        "the clock of this machine is wrong: Google takes an assertion within an hour of its time"
            .to_owned()
    } else {
        return Vec::new();
    };
    vec![hint]
}

fn of_subject() -> Vec<String> {
    vec![
        "on GitHub the job needs `permissions: id-token: write`, and the URL serves for as long as \
         the job runs"
            .to_owned(),
    ]
}

fn of_federation(audience: &str, claims: &Claims, code: &str, description: &str) -> Vec<String> {
    let provider = Provider::of(audience);
    let says = |words: &str| description.contains(words);
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
    if code == "invalid_target" || says("Invalid value for \"audience\"") {
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
    if says("issuer") {
        return vec![format!(
            "the token is {}'s, and the provider takes another's: see whose with {}",
            quoted(&claims.issuer),
            provider.describe("oidc.issuerUri")
        )];
    }
    if says("audience") {
        return vec![format!(
            "the token is for {}: let the CI make it for `https:{audience}`, or allow its audience \
             in the provider: `gcloud iam workload-identity-pools providers update-oidc {} \
             --workload-identity-pool={} --location=global --project={} \
             --allowed-audiences={}`",
            quoted(&claims.audience),
            provider.name,
            provider.pool,
            provider.project,
            harmless(&claims.audience),
        )];
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

/// Known from google-github-actions/auth#77 and its TROUBLESHOOTING.md.
fn of_impersonation(account: &str, member: Option<&str>, description: &str) -> Vec<String> {
    let says = |words: &str| description.contains(words);
    if says("has not been used in project") {
        let project = project_of(account).unwrap_or("PROJECT");
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
    if !says("ermission") {
        return Vec::new();
    }
    let (role, member) = match member {
        Some(member) if member.starts_with("principal") => {
            ("roles/iam.workloadIdentityUser", harmless(member))
        }
        Some(member) => ("roles/iam.serviceAccountTokenCreator", harmless(member)),
        None => (
            "roles/iam.serviceAccountTokenCreator",
            "user:ACCOUNT".to_owned(),
        ),
    };
    vec![
        format!(
            "let it act as the account: `gcloud iam service-accounts add-iam-policy-binding \
             {account} --role={role} --member='{member}'`; it takes effect within minutes"
        ),
        format!(
            "check that the account is there: `gcloud iam service-accounts describe {account}`; or \
             leave `service_account` out and give the roles to the identity itself"
        ),
    ]
}

/// The project of a service account, where its address tells.
fn project_of(account: &str) -> Option<&str> {
    let (_, domain) = account.split_once('@')?;
    domain.strip_suffix(".iam.gserviceaccount.com")
}

/// What a token says of itself, in a sentence.
fn told(claims: &Claims) -> String {
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
        text => format!("`{}`", harmless(text)),
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
            harmless(part.unwrap_or(otherwise))
        };
        Self {
            project: after("projects", "NUMBER"),
            pool: after("workloadIdentityPools", "POOL"),
            name: after("providers", "PROVIDER"),
        }
    }

    fn describe(&self, field: &str) -> String {
        let Self {
            project,
            pool,
            name,
        } = self;
        format!(
            "`gcloud iam workload-identity-pools providers describe {name} \
             --workload-identity-pool={pool} --location=global --project={project} \
             --format='value({field})'`"
        )
    }
}
