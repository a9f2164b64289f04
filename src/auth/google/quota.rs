//! The quota project for requests to Google's APIs, as in Google's libraries: `quota_project_id` in
//! a credential file, or `GOOGLE_CLOUD_QUOTA_PROJECT` in the environment.
//! <https://cloud.google.com/docs/quotas/set-quota-project>

use crate::auth::GoogleCredential;

/// The header that names the quota project.
pub(crate) const USER_PROJECT: &str = "x-goog-user-project";

/// Returns the project ID if it can be sent in a header.
pub(crate) fn project(text: &str) -> Option<String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(is_name)).then(|| text.to_owned())
}

/// Returns the quota project in a credential file.
pub(crate) fn of_file(credential: &GoogleCredential) -> Option<&str> {
    match credential {
        GoogleCredential::Key(key) => key.quota_project.as_deref(),
        GoogleCredential::AccessToken(_) => None,
        GoogleCredential::External(account) => account.quota_project.as_deref(),
        GoogleCredential::User(user) => user.quota_project.as_deref(),
        GoogleCredential::Impersonated(source, account) => {
            let own = account.quota_project.as_deref();
            own.or_else(|| of_file(source))
        }
    }
}

/// True if the credentials of a user were sent to an API without a quota project. The error states
/// the reason of a disabled API, in a project of Google's own.
/// <https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds>
pub(crate) fn is_missing(message: &str) -> bool {
    message.contains("quota project") || message.contains("quota_project")
}

/// The hint for a missing quota project, or one that must not be used. `None` for other errors.
pub(crate) fn hint(message: &str, reason: Option<&str>) -> Option<String> {
    if reason == Some("USER_PROJECT_DENIED") {
        return Some(
            "the account is not allowed to use the quota project: grant the role with `gcloud \
             projects add-iam-policy-binding PROJECT --member=user:ACCOUNT \
             --role=roles/serviceusage.serviceUsageConsumer --condition=None`, or set another \
             project in `quota_project_id` or GOOGLE_CLOUD_QUOTA_PROJECT"
                .to_owned(),
        );
    }
    is_missing(message).then(|| {
        "a user's login needs a quota project: set one with `gcloud auth application-default \
         set-quota-project PROJECT`, or in GOOGLE_CLOUD_QUOTA_PROJECT"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_project_must_be_valid_in_a_header() {
        for (text, expected) in [
            (" acme-prod ", Some("acme-prod")),
            ("example.com:acme", Some("example.com:acme")),
            ("", None),
            ("a\nb", None),
            ("$PROJECT", None),
        ] {
            assert_eq!(project(text).as_deref(), expected, "{text}");
        }
    }
}
