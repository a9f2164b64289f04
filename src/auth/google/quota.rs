//! The project whose quota requests to Google's APIs count for, as Google's libraries tell it:
//! `quota_project_id` in a credential file, or the environment's `GOOGLE_CLOUD_QUOTA_PROJECT`.
//! <https://cloud.google.com/docs/quotas/set-quota-project>

use crate::auth::GoogleCredential;

/// The header that names the project.
pub(crate) const USER_PROJECT: &str = "x-goog-user-project";

/// The project as it may stand in a header; none of what is no project's id.
pub(crate) fn project(text: &str) -> Option<String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(is_name)).then(|| text.to_owned())
}

/// What the file of a credential says.
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

/// True where a person's login was shown to an API with no project that it could count for. The
/// answer has the reason of an API that is off, in a project of Google's own.
/// <https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds>
pub(crate) fn is_missing(sentence: &str) -> bool {
    sentence.contains("quota project") || sentence.contains("quota_project")
}

/// What to do where there is no such project, or where it may not be used; none where neither is so.
pub(crate) fn hint(sentence: &str, reason: Option<&str>) -> Option<String> {
    if reason == Some("USER_PROJECT_DENIED") {
        return Some(
            "requests are counted for a project that whoever signs in may not use: `gcloud projects \
             add-iam-policy-binding PROJECT --member=user:ACCOUNT \
             --role=roles/serviceusage.serviceUsageConsumer --condition=None` lets them, or name \
             another in `quota_project_id` or GOOGLE_CLOUD_QUOTA_PROJECT"
                .to_owned(),
        );
    }
    is_missing(sentence).then(|| {
        "a person's login counts for no project by itself: name one with `gcloud auth \
         application-default set-quota-project PROJECT`, or in GOOGLE_CLOUD_QUOTA_PROJECT"
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
