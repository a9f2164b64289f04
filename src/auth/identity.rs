//! The identity that a server knows for a credential.

use std::fmt;

use crate::diagnostics::render::shell_word;
use crate::diagnostics::sanitize::sanitize;

/// The identity that a server knows for a credential. An error message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// No credential.
    Anonymous,
    /// A user name with a password, and the variable that it is from.
    Login(String, &'static str),
    /// The unknown owner of an access token.
    AccessToken,
    /// A user with a Google account whose address is not known.
    User,
    /// A service account, or a user whose address Google stated for the token.
    Account(String),
    /// A machine's service account whose tokens are limited by their scopes.
    LimitedAccount {
        /// Its e-mail address.
        account: String,
        /// The scopes of its tokens.
        scopes: Vec<String>,
    },
    /// A federated identity as an IAM member: `principal://…`, `principalSet://…`.
    Federated(String),
}

impl Identity {
    /// The IAM member for a role grant. `None` if it is not known.
    pub fn member(&self) -> Option<String> {
        match self {
            Self::Account(account) if !account.ends_with("gserviceaccount.com") => {
                Some(format!("user:{account}"))
            }
            Self::Account(account) | Self::LimitedAccount { account, .. } => {
                Some(format!("serviceAccount:{account}"))
            }
            Self::Federated(member) => Some(member.clone()),
            Self::Anonymous | Self::Login(..) | Self::AccessToken | Self::User => None,
        }
    }
}

impl Identity {
    /// The IAM member for a command that grants a role, with a note on its placeholder or on what
    /// it depends on.
    pub fn grantee(&self) -> (String, String) {
        match (self, self.member()) {
            (_, Some(member)) => {
                let mapping = mapping(&member);
                let depends = mapping.map_or(String::new(), |mapping| format!(", {mapping}"));
                (member, depends)
            }
            (Self::User, None) => (
                "user:ACCOUNT".to_owned(),
                ", where ACCOUNT is the address of the user who logged in".to_owned(),
            ),
            (_, None) => (
                "serviceAccount:ACCOUNT".to_owned(),
                ", where ACCOUNT is the account of the token".to_owned(),
            ),
        }
    }

    /// The hint if the scopes of a machine's tokens do not permit writing, or reading.
    pub fn lacks_scope(&self, writes: bool) -> Option<String> {
        let Self::LimitedAccount { account, scopes } = self else {
            return None;
        };
        if !is_limited(scopes, writes) {
            return None;
        }
        let scopes: Vec<String> = scopes.iter().map(|scope| sanitize(scope)).collect();
        Some(format!(
            "the tokens of `{account}` are limited to the access scopes of this machine ({}): stop \
             the machine and give it `cloud-platform`: `gcloud compute instances \
             set-service-account INSTANCE --zone=ZONE --project=PROJECT --service-account={} \
             --scopes=cloud-platform`, or use a node pool that was created with \
             `--scopes=cloud-platform`, or use another credential",
            match scopes.as_slice() {
                [] => "none".to_owned(),
                scopes => format!("`{}`", scopes.join("`, `")),
            },
            shell_word(account),
        ))
    }
}

/// True if tokens with these scopes cannot write to a registry, or cannot even read.
/// <https://cloud.google.com/artifact-registry/docs/access-control#compute>
pub(super) fn is_limited(scopes: &[String], writes: bool) -> bool {
    const WRITE: [&str; 3] = [
        "cloud-platform",
        "devstorage.read_write",
        "devstorage.full_control",
    ];
    const READ: [&str; 2] = ["cloud-platform.read-only", "devstorage.read_only"];
    let has = |names: &[&str]| {
        scopes.iter().any(|scope| {
            let name = scope.strip_prefix("https://www.googleapis.com/auth/");
            name.is_some_and(|name| names.contains(&name))
        })
    };
    !(has(&WRITE) || (!writes && has(&READ)))
}

/// The note that a set of federated identities requires an attribute mapping in the provider.
/// `None` for the providers of setup, whose mappings are known.
fn mapping(member: &str) -> Option<String> {
    let (_, rest) = member.split_once("/projects/")?;
    let (project, rest) = rest.split_once('/')?;
    let (_, rest) = rest.split_once("/workloadIdentityPools/")?;
    let (pool, rest) = rest.split_once('/')?;
    let (attribute, _) = rest.split_once('/')?;
    if !attribute.starts_with("attribute.") || pool.starts_with(SETUP_POOL) {
        return None;
    }
    Some(format!(
        "which works only if the provider maps `{}`: `gcloud iam workload-identity-pools providers \
         list --workload-identity-pool={} --location=global --project={} \
         --format='value(name,attributeMapping)'` shows the mapping",
        sanitize(attribute),
        shell_word(pool),
        shell_word(project),
    ))
}

/// The prefix of the pools that setup creates.
pub(super) const SETUP_POOL: &str = "gcr-push-";

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymously"),
            Self::Login(user, _) => write!(formatter, "as `{user}`"),
            Self::AccessToken => formatter.write_str("as the token's owner"),
            Self::User => formatter.write_str("as the user who logged in"),
            Self::Account(account) | Self::LimitedAccount { account, .. } => {
                write!(formatter, "as `{account}`")
            }
            Self::Federated(member) => write!(formatter, "as `{member}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principal_of_a_repository_follows_the_attribute_mapping() {
        let pool = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools";
        let whose = |member: String| Identity::Federated(member).grantee().1;
        let by_name = whose(format!(
            "principalSet:{pool}/ci/attribute.repository/acme/api"
        ));
        assert!(by_name.contains("only if the provider maps `attribute.repository`"));
        assert!(by_name.contains("--workload-identity-pool=ci --location=global --project=42"));
        for known in [
            format!("principalSet:{pool}/gcr-push-github/attribute.repository_id/456"),
            format!("principal:{pool}/ci/subject/repo:acme/api:ref:refs/heads/main"),
            format!("principalSet:{pool}/ci/*"),
        ] {
            assert_eq!(whose(known), "");
        }
    }

    #[test]
    fn scopes_too_narrow_for_a_push_are_reported() {
        let scopes = |names: &[&str]| -> Vec<String> {
            let full = |name: &&str| format!("https://www.googleapis.com/auth/{name}");
            names.iter().map(full).collect()
        };
        for (names, reads, writes) in [
            (&["cloud-platform"][..], true, true),
            (&["devstorage.read_write", "logging.write"], true, true),
            (&["devstorage.read_only", "logging.write"], true, false),
            (&["logging.write"], false, false),
            (&[], false, false),
        ] {
            assert_eq!(!is_limited(&scopes(names), false), reads, "{names:?}");
            assert_eq!(!is_limited(&scopes(names), true), writes, "{names:?}");
        }
    }
}
