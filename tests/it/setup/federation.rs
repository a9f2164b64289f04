//! Pushing without a key: the workload identity provider of a repository, and the snippet for its
//! owner.

use serde_json::json;
use standin::{Fault, FaultAction, RequestKind};

use super::*;
use crate::support::images::{TestImage, classic_archive};

#[test]
fn github_repository_is_matched_by_id() {
    let cloud = Cloud::new();
    let outcome = cloud.apply().set("setup_github", "acme/api").succeeds();
    let snippet = outcome.stdout.split_once("For a workflow").unwrap().1;
    insta::assert_snapshot!(snippet, @"
    of acme/api:

       permissions:
         contents: read
         id-token: write
       steps:
         - uses: gcr-push/gcr-push@main # no release exists yet: then its tag
           with:
             image: docker-archive:image.tar
             tags: gcr.io/acme/NAME:TAG
             workload_identity_provider: projects/42/locations/global/workloadIdentityPools/gcr-push-github/providers/github-456
             service_account: gcr-pusher@acme.iam.gserviceaccount.com
    ");
    let test_image = cloud.standin.snapshot();
    let project = &test_image["projects"]["acme"];
    insta::assert_snapshot!(format!("{:#}", project["providers"]), @r#"
    {
      "gcr-push-github/github-456": {
        "attributeCondition": "assertion.repository_id == '456' && assertion.repository_owner_id == '123'",
        "attributeMapping": {
          "attribute.repository_id": "assertion.repository_id",
          "attribute.repository_owner_id": "assertion.repository_owner_id",
          "google.subject": "assertion.repository_id + ':' + assertion.run_id"
        },
        "description": "Jobs of github.com/acme/api. Made by gcr-push setup.",
        "displayName": "github-456",
        "name": "projects/42/locations/global/workloadIdentityPools/gcr-push-github/providers/github-456",
        "oidc": {
          "issuerUri": "https://token.actions.githubusercontent.com"
        },
        "state": "ACTIVE"
      }
    }
    "#);
    let pusher = format!("projects/acme/serviceAccounts/{PUSHER}");
    assert_eq!(
        cloud.granted(&pusher),
        [
            "roles/iam.workloadIdentityUser principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gcr-push-github/attribute.repository_id/456"
        ]
    );
}

#[test]
fn self_managed_gitlab_gets_its_own_pool() {
    let cloud = Cloud::new();
    let outcome = cloud
        .apply()
        .set(
            "setup_gitlab",
            "https://gitlab.com/acme/api\nhttps://gitlab.example.com/acme/team/api",
        )
        .succeeds();
    let snippet = outcome.stdout.split_once("For a job").unwrap().1;
    insta::assert_snapshot!(snippet, @"
     of acme/api:

        push:
          image: IMAGE # no release exists yet: what you build from the Dockerfile of gcr-push
          id_tokens:
            GCR_PUSH_OIDC_TOKEN:
              aud: https://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gcr-push-gitlab/providers/gitlab-77
          variables:
            GCR_PUSH_IMAGE: docker-archive:image.tar
            GCR_PUSH_TAGS: gcr.io/acme/NAME:TAG
            GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER: projects/42/locations/global/workloadIdentityPools/gcr-push-gitlab/providers/gitlab-77
            GCR_PUSH_SERVICE_ACCOUNT: gcr-pusher@acme.iam.gserviceaccount.com
          script: gcr-push

    For a job of acme/team/api:

        push:
          image: IMAGE # no release exists yet: what you build from the Dockerfile of gcr-push
          id_tokens:
            GCR_PUSH_OIDC_TOKEN:
              aud: https://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gcr-push-gitlab-b84e2e8d/providers/gitlab-77
          variables:
            GCR_PUSH_IMAGE: docker-archive:image.tar
            GCR_PUSH_TAGS: gcr.io/acme/NAME:TAG
            GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER: projects/42/locations/global/workloadIdentityPools/gcr-push-gitlab-b84e2e8d/providers/gitlab-77
            GCR_PUSH_SERVICE_ACCOUNT: gcr-pusher@acme.iam.gserviceaccount.com
          script: gcr-push
    ");
    let test_image = cloud.standin.snapshot();
    let providers = test_image["projects"]["acme"]["providers"]
        .as_object()
        .unwrap();
    let issuers: Vec<_> = providers
        .iter()
        .map(|(name, p)| format!("{name} {}", p["oidc"]["issuerUri"]))
        .collect();
    insta::assert_snapshot!(issuers.join("\n"), @r#"
    gcr-push-gitlab-b84e2e8d/gitlab-77 "https://gitlab.example.com"
    gcr-push-gitlab/gitlab-77 "https://gitlab.com"
    "#);
}

#[test]
fn private_repository_is_given_by_ids() {
    let cloud = Cloud::new();
    let refused = cloud
        .setup()
        .set("setup_github", "acme/secret")
        .fails_with(2);
    insta::assert_snapshot!(refused.error(), @r#"
    error: could not get the numeric ids of `github.com/acme/secret`
      caused by: GET https://api.github.com/repos/acme/secret: 404 Not Found

    hint: there is no such repository, or it is private
    hint: only members can read the ids of a private repository: add them, as in `setup_github: OWNER/REPO#OWNER_ID/REPO_ID`
    hint: `gh api repos/acme/secret --jq '"\(.full_name)#\(.owner.id)/\(.id)"'` prints this value
    "#);
    let refused = cloud
        .setup()
        .set("setup_gitlab", "https://gitlab.example.com/acme/secret")
        .fails_with(2);
    insta::assert_snapshot!(refused.error(), @"
    error: could not get the numeric ids of `gitlab.example.com/acme/secret`
      caused by: GET https://gitlab.example.com/api/v4/projects/acme%2Fsecret: 404 Not Found
      caused by: 404 Project Not Found

    hint: there is no such repository, or it is private
    hint: only members can read the ids of a private project: add them, as in `setup_gitlab: https://gitlab.example.com/acme/secret#NAMESPACE_ID/PROJECT_ID`
    hint: its jobs have the ids in CI_PROJECT_NAMESPACE_ID and CI_PROJECT_ID; in such a job, setup reads them there
    ");
    cloud
        .apply()
        .set("setup_github", "acme/secret#9/99")
        .succeeds();
    let test_image = cloud.standin.snapshot();
    let providers = &test_image["projects"]["acme"]["providers"];
    assert_eq!(
        providers["gcr-push-github/github-99"]["attributeCondition"],
        "assertion.repository_id == '99' && assertion.repository_owner_id == '9'"
    );
}

#[test]
fn job_knows_the_ids_of_its_repository() {
    let cloud = Cloud::new();
    cloud
        .apply()
        .set("setup_github", "acme/secret")
        .variable("GITHUB_REPOSITORY", "acme/secret")
        .variable("GITHUB_REPOSITORY_ID", "99")
        .variable("GITHUB_REPOSITORY_OWNER_ID", "9")
        .succeeds();
    cloud
        .apply()
        .set("setup_gitlab", "https://gitlab.example.com/acme/secret")
        .variable("CI_PROJECT_URL", "https://gitlab.example.com/acme/secret")
        .variable("CI_PROJECT_ID", "98")
        .variable("CI_PROJECT_NAMESPACE_ID", "8")
        .succeeds();
    let test_image = cloud.standin.snapshot();
    let providers = test_image["projects"]["acme"]["providers"]
        .as_object()
        .unwrap();
    let names: Vec<_> = providers
        .keys()
        .map(|name| name.split_once('/').unwrap().1)
        .collect();
    assert_eq!(names, ["github-99", "gitlab-98"]);
    assert!(
        !cloud
            .standin
            .requests()
            .iter()
            .any(|request| request.path.contains("secret"))
    );
}

#[test]
fn second_repository_joins_the_same_pool() {
    let cloud = Cloud::new();
    cloud.apply().set("setup_github", "acme/api").succeeds();
    cloud
        .apply()
        .set("setup_github", "acme/web#123/457")
        .succeeds();
    let pusher = format!("projects/acme/serviceAccounts/{PUSHER}");
    assert_eq!(cloud.granted(&pusher).len(), 2);
    let test_image = cloud.standin.snapshot();
    assert_eq!(
        test_image["projects"]["acme"]["pools"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
}

/// The value of a variable in the snippet.
fn snippet(outcome: &Outcome, name: &str) -> String {
    let line = outcome.stdout.lines().map(str::trim);
    let mut values = line.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    values.next().expect(&outcome.stdout).to_owned()
}

#[test]
fn pasted_snippet_lets_only_that_repository_push() {
    let cloud = Cloud::new();
    let outcome = cloud.apply().set("setup_github", "acme/api").succeeds();
    let provider = snippet(&outcome, "workload_identity_provider");
    let push = |repository: &str, owner: &str| {
        let claims = json!({
            "sub": format!("repo:acme/api:ref:refs/heads/{}", "long".repeat(40)),
            "aud": format!("https://iam.googleapis.com/{provider}"),
            "repository": "acme/api",
            "repository_id": repository,
            "repository_owner_id": owner,
            "run_id": "1",
        });
        let issuer = "https://token.actions.githubusercontent.com";
        Run::new()
            .variable("HTTPS_PROXY", cloud.standin.proxy_url())
            .set("ca_certificates", cloud.standin.ca_pem())
            .set("workload_identity_provider", &provider)
            .set("service_account", snippet(&outcome, "service_account"))
            .set("oidc_token", cloud.standin.oidc_token(issuer, &claims))
            .file(
                "image.tar",
                classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
            )
            .set("image", "image.tar")
            .set("tags", "gcr.io/acme/app:1")
    };
    // A repository of the same name, created by somebody else after the first was deleted.
    let other = push("999", "123").fails_with(3);
    assert!(
        other.stderr.contains("attribute condition"),
        "{}",
        other.stderr
    );
    push("456", "999").fails_with(3);
    push("456", "123").succeeds();
    assert!(cloud.standin.tags("gcr.io", "acme/app").contains_key("1"));
}

/// Answers this number of look-ups of a repository.
fn answer(cloud: &Cloud, host: &str, times: u32, code: u16, body: &str, headers: &[(&str, &str)]) {
    let headers = headers.iter();
    let refused = FaultAction::Status {
        code,
        retry_after: None,
        body: Some(body.to_owned()),
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let fault = Fault::once(RequestKind::Other, refused).at(host);
    cloud.standin.fault(fault.times(times));
}

#[test]
fn forge_rate_limit_does_not_mean_private_repository() {
    let limit = r#"{"message":"API rate limit exceeded for 192.0.2.1.","documentation_url":"x"}"#;
    let cloud = Cloud::new();
    let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")];
    answer(&cloud, "api.github.com", 1, 403, limit, &used_up);
    let refused = cloud.setup().set("setup_github", "acme/api").fails_with(4);
    insta::assert_snapshot!(refused.error(), @r#"
    error: could not get the numeric ids of `github.com/acme/api`
      caused by: GET https://api.github.com/repos/acme/api: 403 Forbidden
      caused by: API rate limit exceeded for 192.0.2.1.

    hint: try again in an hour, or set `github_token`, which allows many more requests
    hint: only members can read the ids of a private repository: add them, as in `setup_github: OWNER/REPO#OWNER_ID/REPO_ID`
    hint: `gh api repos/acme/api --jq '"\(.full_name)#\(.owner.id)/\(.id)"'` prints this value
    "#);
    answer(
        &cloud,
        "gitlab.com",
        1,
        429,
        r#"{"message":"Retry later"}"#,
        &[],
    );
    let gitlab = "https://gitlab.com/acme/api";
    let refused = cloud.setup().set("setup_gitlab", gitlab).fails_with(4);
    insta::assert_snapshot!(refused.error(), @"
    error: could not get the numeric ids of `gitlab.com/acme/api`
      caused by: GET https://gitlab.com/api/v4/projects/acme%2Fapi: 429 Too Many Requests
      caused by: Retry later

    hint: try again in a few minutes
    hint: only members can read the ids of a private project: add them, as in `setup_gitlab: https://gitlab.com/acme/api#NAMESPACE_ID/PROJECT_ID`
    hint: its jobs have the ids in CI_PROJECT_NAMESPACE_ID and CI_PROJECT_ID; in such a job, setup reads them there
    ");
    answer(&cloud, "api.github.com", 1, 502, "<html>", &[]);
    let refused = cloud.setup().set("setup_github", "acme/api").fails_with(4);
    insta::assert_snapshot!(refused.error(), @r#"
    error: could not get the numeric ids of `github.com/acme/api`
      caused by: GET https://api.github.com/repos/acme/api: 502 Bad Gateway
      caused by: the response is a web page

    hint: the server has a temporary problem; try again in a few minutes
    hint: only members can read the ids of a private repository: add them, as in `setup_github: OWNER/REPO#OWNER_ID/REPO_ID`
    hint: `gh api repos/acme/api --jq '"\(.full_name)#\(.owner.id)/\(.id)"'` prints this value
    "#);
}

#[test]
fn unavailable_forge_is_asked_again() {
    let cloud = Cloud::new();
    answer(&cloud, "api.github.com", 2, 503, "", &[]);
    answer(&cloud, "gitlab.com", 1, 429, "", &[("retry-after", "1")]);
    cloud
        .setup()
        .set("setup_github", "acme/api")
        .set("setup_gitlab", "https://gitlab.com/acme/api")
        .succeeds();
}

#[test]
fn github_token_is_sent_to_github_and_not_to_gitlab() {
    let cloud = Cloud::new();
    cloud
        .setup()
        .set("setup_github", "acme/api")
        .set("setup_gitlab", "https://gitlab.com/acme/api")
        .set("github_token", "ghs_0123456789abcdefghij")
        .succeeds();
    let requests = cloud.standin.requests();
    let shown = |host: &str| {
        let one = requests
            .iter()
            .find(|one| one.host == host && one.method == "GET");
        one.unwrap().authorization.clone()
    };
    assert!(shown("api.github.com").is_some(), "{requests:?}");
    assert!(shown("gitlab.com").is_none());
    answer(
        &cloud,
        "api.github.com",
        1,
        401,
        r#"{"message":"Bad credentials"}"#,
        &[],
    );
    let refused = cloud
        .setup()
        .set("setup_github", "acme/api")
        .set("github_token", "ghs_0123456789abcdefghij")
        .fails_with(3);
    insta::assert_snapshot!(refused.error(), @r#"
    error: could not get the numeric ids of `github.com/acme/api`
      caused by: GET https://api.github.com/repos/acme/api: 401 Unauthorized
      caused by: Bad credentials

    hint: `github_token` is invalid or has expired: for a public repository, remove it; otherwise, set another
    hint: only members can read the ids of a private repository: add them, as in `setup_github: OWNER/REPO#OWNER_ID/REPO_ID`
    hint: `gh api repos/acme/api --jq '"\(.full_name)#\(.owner.id)/\(.id)"'` prints this value
    "#);
}
