//! What prevents the setup: one sentence each, with the fix.

use serde_json::json;
use standin::{Fault, FaultAction, RequestKind, Switches};

use super::*;

fn error_text(run: Run, code: i32) -> String {
    run.fails_with(code).error()
}

#[test]
fn invalid_names_are_reported_before_any_request() {
    let cloud = Cloud::new();
    let run = cloud
        .setup()
        .set("setup_pusher", "ci")
        .set("setup_puller", "Puller-1")
        .set("setup_github", "acme")
        .set("setup_gitlab", "gitlab.com/acme/api")
        .set("setup_backend", "gcs")
        .set("setup_apply", "true")
        .set("setup_remove", "true")
        .set("registry", "us-docker.pkg.dev, registry.example.com")
        .set("repository", "Containers");
    insta::assert_snapshot!(error_text(run, 2), @"
    error: eight inputs cannot be used
      `registry`: `registry.example.com` is not Google's, so there is nothing to set up (GCR_PUSH_REGISTRY)
      `repository`: repository `Containers` is not valid: registries accept only lower case (GCR_PUSH_REPOSITORY)
      `setup_remove`: `setup_apply` is `true` too: keep one (GCR_PUSH_SETUP_REMOVE)
      `setup_github`: `acme` is not a GitHub repository: expected `OWNER/REPO`, or with its numeric ids `OWNER/REPO#OWNER_ID/REPO_ID` (GCR_PUSH_SETUP_GITHUB)
      `setup_gitlab`: `gitlab.com/acme/api` is not a GitLab project: expected `https://HOST/GROUP/PROJECT`, or with its numeric ids `https://HOST/GROUP/PROJECT#NAMESPACE_ID/PROJECT_ID` (GCR_PUSH_SETUP_GITLAB)
      `setup_backend`: it is `gcs`, expected `artifact-registry` or `storage` (GCR_PUSH_SETUP_BACKEND)
      `setup_pusher`: account `ci` is not valid: an account's id has 6 to 30 characters (GCR_PUSH_SETUP_PUSHER)
      `setup_puller`: account `Puller-1` is not valid: an account's id has only lower-case letters, digits and `-` (GCR_PUSH_SETUP_PULLER)

    hint: `gcr-push setup --help` describes every variable
    ");
    let other = cloud
        .setup()
        .set("setup_pusher", "ci-push@other.iam.gserviceaccount.com");
    insta::assert_snapshot!(error_text(other, 2), @"
    error: an input cannot be used
      `setup_pusher`: `ci-push@other.iam.gserviceaccount.com` is not an account of the project `acme`: its address must end in `@acme.iam.gserviceaccount.com` (GCR_PUSH_SETUP_PUSHER)

    hint: `gcr-push setup --help` describes every variable
    ");
    let same = cloud
        .setup()
        .set("setup_pusher", "ci-push")
        .set("setup_puller", "ci-push");
    insta::assert_snapshot!(error_text(same, 2), @"
    error: an input cannot be used
      `setup_puller`: it is also the account of `setup_pusher`: the account that pulls could push (GCR_PUSH_SETUP_PULLER)

    hint: `gcr-push setup --help` describes every variable
    ");
    assert!(cloud.standin.requests().is_empty());
}

#[test]
fn project_number_is_refused_before_any_request() {
    let cloud = Cloud::new();
    insta::assert_snapshot!(error_text(cloud.setup().set("project_id", "123456789012"), 2), @"
    error: an input cannot be used
      `project_id`: `123456789012` is the number of a project, but accounts and images need its id: `gcloud projects describe 123456789012 --format='value(projectId)'` prints it (GCR_PUSH_PROJECT_ID)

    hint: `gcr-push setup --help` describes every variable
    ");
    assert!(cloud.standin.requests().is_empty());
}

#[test]
fn missing_credential_is_reported_with_the_usual_one() {
    let cloud = Cloud::new();
    let run = Run::command("setup")
        .variable("HTTPS_PROXY", cloud.standin.proxy_url())
        .set("ca_certificates", cloud.standin.ca_pem())
        .set("project_id", "acme")
        // The metadata server is not looked for.
        .variable("GCE_METADATA_HOST", "127.0.0.1:1");
    let message = error_text(run, 3);
    insta::assert_snapshot!(message, @"
    error: there is no token for Google's APIs

    hint: set `access_token` (from `gcloud auth print-access-token`), or `credentials_json` (a service-account key)
    ");
}

#[test]
fn invalid_token_is_reported() {
    let cloud = Cloud::new();
    cloud.standin.expire_tokens();
    insta::assert_snapshot!(error_text(cloud.setup(), 3), @"
    error: could not check the project `acme`
      caused by: GET https://serviceusage.googleapis.com/v1/projects/acme/services:batchGet: 401 UNAUTHENTICATED
      caused by: Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.

    hint: the token is invalid or has expired: `gcloud auth print-access-token` prints one that is valid for an hour
    ");
}

#[test]
fn missing_or_deleted_project_is_reported() {
    let cloud = Cloud::new();
    insta::assert_snapshot!(error_text(cloud.setup().set("project_id", "acne"), 3), @"
    error: could not check the project `acne`
      caused by: GET https://serviceusage.googleapis.com/v1/projects/acne/services:batchGet: 403 PERMISSION_DENIED
      caused by: Permission 'serviceusage.services.get' denied on resource 'projects/acne' (or it may not exist).

    hint: check `project_id`: Google returns the same error for a project that does not exist
    hint: or ask for a role: `roles/serviceusage.serviceUsageAdmin` has `serviceusage.services.get`
    ");
    cloud
        .standin
        .change_project("acme", |project| project.deleted = true);
    insta::assert_snapshot!(error_text(cloud.setup(), 3), @"
    error: could not check the project `acme`
      caused by: GET https://serviceusage.googleapis.com/v1/projects/acme/services:batchGet: 403 PERMISSION_DENIED
      caused by: Project 'acme' not found or deleted.

    hint: check `project_id`: the project does not exist, or it is deleted; within thirty days, `gcloud projects undelete acme` restores it
    ");
}

#[test]
fn project_without_billing_is_reported_with_the_fix() {
    let cloud = Cloud::new();
    cloud
        .standin
        .change_project("acme", |project| project.billing = false);
    insta::assert_snapshot!(error_text(cloud.apply(), 1), @r#"
    error: could not enable artifactregistry.googleapis.com, iam.googleapis.com
      caused by: POST https://serviceusage.googleapis.com/v1/projects/acme/services:batchEnable: 400 FAILED_PRECONDITION
      caused by: Billing account for project '42' is not found. Billing must be enabled for activation of service(s) 'artifactregistry.googleapis.com' to proceed.\nHelp Token: AXAmt_standin

    hint: the project has no billing account: link one with `gcloud billing projects link 42 --billing-account=ACCOUNT`; `gcloud billing accounts list` lists the accounts
    "#);
}

#[test]
fn missing_permissions_are_reported_before_any_change() {
    let cloud = Cloud::new();
    cloud.standin.revoke(ADMIN, "roles/owner", "projects/acme");
    cloud.standin.grant(ADMIN, "roles/viewer", "projects/acme");
    cloud.standin.change_project("acme", |project| {
        project
            .services
            .extend(["iam", "artifactregistry"].map(|api| format!("{api}.googleapis.com")));
    });
    insta::assert_snapshot!(error_text(cloud.apply().set("setup_github", "acme/api"), 3), @"
    error: permissions are missing in `acme`, so nothing was changed:
      `artifactregistry.repositories.create` is in `roles/artifactregistry.admin`
      `artifactregistry.repositories.setIamPolicy` is in `roles/artifactregistry.admin`
      `iam.serviceAccounts.create` is in `roles/iam.serviceAccountAdmin`
      `iam.serviceAccounts.setIamPolicy` is in `roles/iam.serviceAccountAdmin`
      `iam.workloadIdentityPoolProviders.create` is in `roles/iam.workloadIdentityPoolAdmin`
      `iam.workloadIdentityPools.create` is in `roles/iam.workloadIdentityPoolAdmin`
      `serviceusage.services.enable` is in `roles/serviceusage.serviceUsageAdmin`

    hint: ask for the role: `gcloud projects add-iam-policy-binding acme --member=user:YOU --role=roles/artifactregistry.admin --condition=None`
    hint: ask for the role: `gcloud projects add-iam-policy-binding acme --member=user:YOU --role=roles/iam.serviceAccountAdmin --condition=None`
    hint: ask for the role: `gcloud projects add-iam-policy-binding acme --member=user:YOU --role=roles/iam.workloadIdentityPoolAdmin --condition=None`
    hint: ask for the role: `gcloud projects add-iam-policy-binding acme --member=user:YOU --role=roles/serviceusage.serviceUsageAdmin --condition=None`
    ");
    // The plan is shown, and then the reason that would stop it.
    let plan = cloud.setup().fails_with(3);
    assert!(plan.stdout.contains("to create"), "{}", plan.stdout);
    assert_eq!(cloud.changes(), Vec::<String>::new());
    cloud.standin.revoke(ADMIN, "roles/viewer", "projects/acme");
    insta::assert_snapshot!(error_text(cloud.apply(), 3), @"
    error: could not check the project `acme`
      caused by: GET https://serviceusage.googleapis.com/v1/projects/acme/services:batchGet: 403 PERMISSION_DENIED
      caused by: Permission 'serviceusage.services.get' denied on resource 'projects/acme' (or it may not exist).

    hint: check `project_id`: Google returns the same error for a project that does not exist
    hint: or ask for a role: `roles/serviceusage.serviceUsageAdmin` has `serviceusage.services.get`
    ");
}

#[test]
fn service_usage_api_may_be_disabled() {
    let cloud = Cloud::new();
    cloud.standin.change_project("acme", |project| {
        project.services.remove("serviceusage.googleapis.com");
    });
    insta::assert_snapshot!(error_text(cloud.apply(), 3), @"
    error: could not check the project `acme`
      caused by: GET https://serviceusage.googleapis.com/v1/projects/acme/services:batchGet: 403 PERMISSION_DENIED
      caused by: Service Usage API has not been used in project 42 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/serviceusage.googleapis.com/overview?project=42 then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.

    hint: enable the API: `gcloud services enable serviceusage.googleapis.com --project=42`; if you just enabled it, wait a few minutes
    ");
}

#[test]
fn partly_failed_batch_is_reported() {
    let cloud = Cloud::with(Switches {
        enable_fails: Some("iam.googleapis.com".to_owned()),
        ..Switches::default()
    });
    insta::assert_snapshot!(error_text(cloud.apply(), 4), @"
    error: could not enable
      `iam.googleapis.com`: Internal error encountered.

    hint: the others are enabled: run this again to continue
    ");
    cloud
        .standin
        .change(|behaviour| behaviour.cloud.enable_fails = None);
    cloud.apply().succeeds();
}

#[test]
fn organisation_policies_are_named() {
    for constraint in [
        "gcp.restrictServiceUsage",
        "iam.disableServiceAccountCreation",
        "iam.workloadIdentityPoolProviders",
    ] {
        let cloud = Cloud::new();
        cloud.standin.change_project("acme", |project| {
            project.constraints.insert(constraint.to_owned());
        });
        let outcome = cloud.apply().set("setup_github", "acme/api").fails_with(1);
        let message = outcome.error();
        assert!(
            message.contains(&format!("`constraints/{constraint}`")),
            "{message}"
        );
        if constraint == "iam.workloadIdentityPoolProviders" {
            insta::assert_snapshot!(outcome.scrub(&outcome.stderr), @"
             INFO enabling artifactregistry.googleapis.com, iam.googleapis.com, sts.googleapis.com, iamcredentials.googleapis.com; this takes a minute
             INFO created: repository projects/acme/locations/us/repositories/gcr.io
             INFO created: account gcr-pusher@acme.iam.gserviceaccount.com
             INFO created: account gcr-puller@acme.iam.gserviceaccount.com
             INFO granted: roles/artifactregistry.writer on gcr.io
             INFO   + roles/artifactregistry.writer serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
             INFO granted: roles/artifactregistry.reader on gcr.io
             INFO   + roles/artifactregistry.reader serviceAccount:gcr-puller@acme.iam.gserviceaccount.com
             INFO created: workload identity pool gcr-push-github
             WARN 6 of 8 steps are done, and stay done: run this again to continue
            error: could not create the provider `github-456`
              caused by: POST https://iam.googleapis.com/v1/projects/acme/locations/global/workloadIdentityPools/gcr-push-github/providers: 400 FAILED_PRECONDITION
              caused by: Org Policy violated for value: 'https://token.actions.githubusercontent.com'.

            hint: the organisation's policy `constraints/iam.workloadIdentityPoolProviders` forbids it: ask the administrator of the policies to exempt the project
            ");
        }
    }
}

#[test]
fn permanent_limit_is_reported_at_once() {
    let cloud = Cloud::with(Switches {
        account_limit: Some(1),
        ..Switches::default()
    });
    insta::assert_snapshot!(error_text(cloud.apply(), 1), @"
    error: could not create the account `gcr-puller`
      caused by: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts: 429 RESOURCE_EXHAUSTED
      caused by: Maximum number of service accounts on project reached.

    hint: delete what is not used, or request a higher limit: https://console.cloud.google.com/iam-admin/quotas
    ");
}

#[test]
fn long_exhausted_quota_is_reported() {
    let cloud = Cloud::new();
    let limit = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
        "message": "Quota exceeded for quota metric 'Write requests' and limit 'Write requests \
                    per minute' of service 'iam.googleapis.com' for consumer 'project_number:42'."}});
    let refused = FaultAction::Status {
        code: 429,
        retry_after: Some(3600),
        body: Some(limit.to_string()),
        headers: Vec::new(),
    };
    cloud.standin.fault(
        Fault::always(RequestKind::Api, refused).path("POST /v1/projects/acme/serviceAccounts"),
    );
    insta::assert_snapshot!(error_text(cloud.apply(), 4), @"
    error: could not create the account `gcr-pusher`
      caused by: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts: 429 RESOURCE_EXHAUSTED
      caused by: Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute' of service 'iam.googleapis.com' for consumer 'project_number:42'.

    hint: the project's quota is used up for now: try again in a few minutes
    ");
}

#[test]
fn repository_of_another_kind_is_reported() {
    let cloud = Cloud::new();
    let project = Project::new("42")
        .service("iam")
        .service("artifactregistry");
    cloud.standin.project("acme", project);
    let found = json!({"name": GCR, "format": "DOCKER", "mode": "REMOTE_REPOSITORY"});
    let other = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some(found.to_string()),
        headers: Vec::new(),
    };
    cloud.standin.fault(
        Fault::always(RequestKind::Api, other)
            .path("GET /v1/projects/acme/locations/us/repositories/gcr.io"),
    );
    insta::assert_snapshot!(error_text(cloud.apply(), 2), @"
    error: the repository `projects/acme/locations/us/repositories/gcr.io` exists, but does not accept pushed images: it is DOCKER REMOTE_REPOSITORY

    hint: set another one in `repository`, or another location in `registry`
    ");
}

#[test]
fn refusal_that_quotes_the_token_is_redacted() {
    let cloud = Cloud::new();
    let message = json!({"error": {"code": 400, "message": format!("What is {}?", cloud.token)}});
    let refused = FaultAction::Status {
        code: 400,
        retry_after: None,
        body: Some(message.to_string()),
        headers: Vec::new(),
    };
    cloud
        .standin
        .fault(Fault::always(RequestKind::Api, refused));
    let outcome = cloud.setup().variable("RUST_LOG", "trace").fails_with(1);
    assert!(
        outcome.stderr.contains("What is ***?"),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.stderr.contains(&cloud.token));
}

#[test]
fn answer_that_is_not_from_google_is_reported() {
    let cloud = Cloud::new();
    let page = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some("<html>Sign in to the guest network</html>".to_owned()),
        headers: Vec::new(),
    };
    cloud.standin.fault(Fault::always(RequestKind::Api, page));
    insta::assert_snapshot!(error_text(cloud.setup(), 1), @"
    error: could not check the project `acme`
      caused by: GET https://serviceusage.googleapis.com/v1/projects/acme/services:batchGet
      caused by: the response is not JSON

    hint: check that no proxy or sign-in page answers instead of Google
    ");
}

#[test]
fn service_controls_refusal_is_not_waited_for() {
    let cloud = Cloud::new();
    let body = json!({"error": {
        "code": 403,
        "message": "Request is prohibited by organization's policy. \
                    vpcServiceControlsUniqueIdentifier: Ab-1_x.",
        "status": "PERMISSION_DENIED",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
            "violations": [{"type": "VPC_SERVICE_CONTROLS", "description": "Ab-1_x"}],
        }],
    }});
    let refused = FaultAction::Status {
        code: 403,
        retry_after: None,
        body: Some(body.to_string()),
        headers: Vec::new(),
    };
    cloud.apply().succeeds();
    cloud.standin.clear_requests();
    let path = format!("GET /v1/projects/acme/serviceAccounts/{PUSHER}");
    cloud
        .standin
        .fault(Fault::always(RequestKind::Api, refused).path(&path));
    insta::assert_snapshot!(error_text(cloud.apply(), 3), @"
    error: could not check the account `gcr-pusher@acme.iam.gserviceaccount.com`
      caused by: GET https://iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-pusher@acme.iam.gserviceaccount.com: 403 PERMISSION_DENIED
      caused by: Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: Ab-1_x.

    hint: the organisation's VPC Service Controls do not allow this from here: ask their administrator to find the request `Ab-1_x` and to allow it with an ingress rule or an access level
    ");
    let requests = cloud.standin.requests();
    let account_requests = requests.iter().filter(|one| one.path.ends_with(PUSHER));
    assert_eq!(account_requests.count(), 1);
}

#[test]
fn foreign_account_is_not_waited_for() {
    let cloud = Cloud::new();
    cloud.apply().succeeds();
    let body = json!({"error": {
        "code": 403,
        "message": "Permission 'iam.serviceAccounts.get' denied on resource (or it may not exist).",
        "status": "PERMISSION_DENIED",
    }});
    let refused = FaultAction::Status {
        code: 403,
        retry_after: None,
        body: Some(body.to_string()),
        headers: Vec::new(),
    };
    let path = format!("GET /v1/projects/acme/serviceAccounts/{PUSHER}");
    cloud
        .standin
        .fault(Fault::always(RequestKind::Api, refused).path(&path));
    insta::assert_snapshot!(error_text(cloud.apply(), 3), @"
    error: could not check the account `gcr-pusher@acme.iam.gserviceaccount.com`
      caused by: GET https://iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-pusher@acme.iam.gserviceaccount.com: 403 PERMISSION_DENIED
      caused by: Permission 'iam.serviceAccounts.get' denied on resource (or it may not exist).
    ");
}
