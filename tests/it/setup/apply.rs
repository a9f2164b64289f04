//! The plan, the first apply, the second, and changes between them.

use serde_json::json;
use standin::{Project, RepositoryOptions, Switches};

use super::*;
use crate::support::images::{TestImage, classic_archive};

#[test]
fn plan_shows_what_is_missing_and_changes_nothing() {
    let cloud = Cloud::new();
    let before = cloud.standin.snapshot();
    let outcome = cloud.setup().succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    STATE      WHAT                                                       WHY
    to create  API artifactregistry.googleapis.com                        the registry, `gcr.io` names too
    to create  API iam.googleapis.com                                     accounts and their keys
    present    API cloudresourcemanager.googleapis.com                    the project's policy
    to create  repository projects/acme/locations/us/repositories/gcr.io  for `gcr.io`; it cannot be checked before its API is enabled
    to create  account gcr-pusher@acme.iam.gserviceaccount.com            it cannot be checked before its API is enabled
    to create  account gcr-puller@acme.iam.gserviceaccount.com            it cannot be checked before its API is enabled
    to create  roles/artifactregistry.writer on gcr.io                    for gcr-pusher@acme.iam.gserviceaccount.com
    to create  roles/artifactregistry.reader on gcr.io                    for gcr-puller@acme.iam.gserviceaccount.com

    Policies, with their changes:

      projects/acme/locations/us/repositories/gcr.io
        + roles/artifactregistry.writer serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
        + roles/artifactregistry.reader serviceAccount:gcr-puller@acme.iam.gserviceaccount.com

    Nothing was changed: set `setup_apply: true` to apply this.
    ");
    assert_eq!(cloud.standin.snapshot(), before);
    assert_eq!(cloud.changes(), Vec::<String>::new());
}

#[test]
fn first_apply_creates_everything_needed() {
    let cloud = Cloud::new();
    let outcome = cloud.apply().succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    STATE      WHAT                                                       WHY
    to create  API artifactregistry.googleapis.com                        the registry, `gcr.io` names too
    to create  API iam.googleapis.com                                     accounts and their keys
    present    API cloudresourcemanager.googleapis.com                    the project's policy
    to create  repository projects/acme/locations/us/repositories/gcr.io  for `gcr.io`; it cannot be checked before its API is enabled
    to create  account gcr-pusher@acme.iam.gserviceaccount.com            it cannot be checked before its API is enabled
    to create  account gcr-puller@acme.iam.gserviceaccount.com            it cannot be checked before its API is enabled
    to create  roles/artifactregistry.writer on gcr.io                    for gcr-pusher@acme.iam.gserviceaccount.com
    to create  roles/artifactregistry.reader on gcr.io                    for gcr-puller@acme.iam.gserviceaccount.com

    Policies, with their changes:

      projects/acme/locations/us/repositories/gcr.io
        + roles/artifactregistry.writer serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
        + roles/artifactregistry.reader serviceAccount:gcr-puller@acme.iam.gserviceaccount.com

    All changes are done.
    ACCOUNT                                  REGISTRY  CHECKED      HOW
    gcr-pusher@acme.iam.gserviceaccount.com  gcr.io    not checked  it has no key here, and the API iamcredentials.googleapis.com, which issues tokens for it, is not enabled; its policy is correct
    gcr-puller@acme.iam.gserviceaccount.com  gcr.io    not checked  it has no key here, and the API iamcredentials.googleapis.com, which issues tokens for it, is not enabled; its policy is correct
    ");
    assert_eq!(
        cloud.granted(GCR),
        [
            format!("roles/artifactregistry.reader serviceAccount:{PULLER}"),
            format!("roles/artifactregistry.writer serviceAccount:{PUSHER}"),
        ]
    );
    // Nothing is granted on the project.
    assert_eq!(
        cloud.granted("projects/acme"),
        [format!("roles/owner user:{ADMIN}")]
    );
    insta::assert_snapshot!(cloud.changes().join("\n"), @"
    POST serviceusage.googleapis.com/v1/projects/acme/services:batchEnable
    POST artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories
    POST iam.googleapis.com/v1/projects/acme/serviceAccounts
    POST iam.googleapis.com/v1/projects/acme/serviceAccounts
    POST artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories/gcr.io:setIamPolicy
    POST artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories/gcr.io:setIamPolicy
    ");
}

#[test]
fn second_apply_changes_nothing() {
    let cloud = Cloud::new();
    let apply = || {
        cloud
            .apply()
            .set("registry", "gcr.io, europe-west1-docker.pkg.dev")
            .set("repository", "containers")
            .set("setup_github", "acme/api")
            .set("setup_gitlab", "https://gitlab.example.com/acme/api")
    };
    apply().succeeds();
    let before = cloud.standin.snapshot();
    cloud.standin.clear_requests();
    let outcome = apply().succeeds();
    assert!(
        outcome.stdout.contains("There was nothing to do."),
        "{}",
        outcome.stdout
    );
    assert!(states(&outcome).values().all(|state| state == "present"));
    assert_eq!(cloud.changes(), Vec::<String>::new());
    assert_eq!(cloud.standin.snapshot(), before);
    let plan = cloud.setup().succeeds();
    assert!(
        plan.stdout.contains("There is nothing to do."),
        "{}",
        plan.stdout
    );
}

#[test]
fn eventual_consistency_is_waited_for() {
    let cloud = Cloud::with(Switches {
        operation_delay: 3,
        enable_delay: 2,
        account_delay: 2,
        binding_delay: 2,
        key_delay: 1,
        permission_delay: 2,
        page_size: Some(1),
        ..Switches::default()
    });
    let outcome = cloud
        .apply()
        .set("setup_github", "acme/api")
        .set("setup_key", "puller.json, pusher:pusher.json")
        .succeeds();
    assert!(
        outcome.stdout.contains("pushes and pulls"),
        "{}",
        outcome.stdout
    );
    assert_eq!(cloud.granted(GCR).len(), 2);
}

#[test]
fn setup_result_is_enough_for_a_push() {
    let cloud = Cloud::new();
    let outcome = cloud.apply().set("setup_key", "pusher:key.json").succeeds();
    let key = outcome.read("key.json");
    let archive = classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]);
    Run::new()
        .variable("HTTPS_PROXY", cloud.standin.proxy_url())
        .set("ca_certificates", cloud.standin.ca_pem())
        .set("credentials_json", &key)
        .file("image.tar", archive)
        .set("image", "image.tar")
        .set("tags", "gcr.io/acme/app:1")
        .succeeds();
    assert!(cloud.standin.tags("gcr.io", "acme/app").contains_key("1"));
}

#[test]
fn manual_changes_are_corrected() {
    let cloud = Cloud::new();
    let apply = || cloud.apply().set("setup_github", "acme/api");
    apply().succeeds();
    let before = cloud.standin.snapshot();
    cloud
        .standin
        .revoke(PUSHER, "roles/artifactregistry.writer", GCR);
    let pusher = format!("projects/acme/serviceAccounts/{PUSHER}");
    let bound = cloud.standin.bindings(&pusher);
    let member = bound[0]["members"][0].as_str().unwrap().to_owned();
    cloud
        .standin
        .revoke(&member, "roles/iam.workloadIdentityUser", &pusher);
    let parent = "iam.googleapis.com/v1/projects/acme/locations/global/workloadIdentityPools/gcr-push-github";
    let provider = format!("{parent}/providers/github-456");
    cloud.request(
        "PATCH",
        &format!("{provider}?updateMask=attributeCondition"),
        &json!({"attributeCondition": "assertion.repository_owner == 'acme'"}),
    );
    let disable = format!("iam.googleapis.com/v1/projects/acme/serviceAccounts/{PULLER}:disable");
    cloud.request("POST", &disable, &json!({}));
    let plan = cloud.setup().set("setup_github", "acme/api").succeeds();
    let states = states(&plan);
    let differing: Vec<_> = states
        .iter()
        .filter(|(_, state)| *state != "present")
        .collect();
    insta::assert_snapshot!(format!("{differing:#?}"), @r#"
    [
        (
            "account gcr-puller@acme.iam.gserviceaccount.com",
            "to change",
        ),
        (
            "provider gcr-push-github/github-456",
            "to change",
        ),
        (
            "roles/artifactregistry.writer on gcr.io",
            "to create",
        ),
        (
            "roles/iam.workloadIdentityUser on gcr-pusher@acme.iam.gserviceaccount.com",
            "to create",
        ),
    ]
    "#);
    apply().succeeds();
    assert_eq!(cloud.standin.snapshot(), before);
}

const PROVIDER: &str = "iam.googleapis.com/v1/projects/acme/locations/global/workloadIdentityPools/gcr-push-github/providers/github-456";

/// The stored provider.
fn provider(cloud: &Cloud) -> Value {
    let test_image = cloud.standin.snapshot();
    test_image["projects"]["acme"]["providers"]["gcr-push-github/github-456"].clone()
}

#[test]
fn other_provider_settings_are_kept() {
    let cloud = Cloud::new();
    let apply = || cloud.apply().set("setup_github", "acme/api");
    apply().succeeds();
    let name = provider(&cloud)["name"].as_str().unwrap().to_owned();
    let pusher = format!("https://iam.googleapis.com/{name}");
    let own_condition = provider(&cloud)["attributeCondition"]
        .as_str()
        .unwrap()
        .to_owned();
    let good = json!({
        "displayName": "Pushing",
        "attributeCondition": format!("{own_condition} && assertion.ref == 'refs/heads/main'"),
        "attributeMapping": {
            "google.subject": "assertion.repository_id + ':' + assertion.run_id",
            "attribute.repository_id": "assertion.repository_id",
            "attribute.repository_owner_id": "assertion.repository_owner_id",
            "attribute.actor": "assertion.actor",
        },
        "oidc": {
            "issuerUri": "https://token.actions.githubusercontent.com",
            "allowedAudiences": [pusher, "https://other.example"],
            "jwksJson": "{\"keys\":[]}",
        },
    });
    let patch = |body: &Value| {
        let mask = "displayName,attributeCondition,attributeMapping,oidc,disabled";
        cloud.request("PATCH", &format!("{PROVIDER}?updateMask={mask}"), body);
    };
    patch(&good);
    let expected = provider(&cloud);
    cloud.standin.clear_requests();
    apply().succeeds();
    assert_eq!(
        cloud.changes(),
        Vec::<String>::new(),
        "a stricter one is left"
    );
    for (field, value, mask) in [
        ("/disabled", json!(true), "disabled"),
        (
            "/oidc/allowedAudiences",
            json!(["https://other.example"]),
            "oidc.allowedAudiences",
        ),
        (
            "/oidc/issuerUri",
            json!("https://other.example"),
            "oidc.issuerUri",
        ),
        (
            "/attributeMapping/attribute.repository_id",
            json!("assertion.sub"),
            "attributeMapping",
        ),
        (
            "/attributeCondition",
            json!("assertion.repository_id == '456'"),
            "attributeCondition",
        ),
    ] {
        let mut changed = good.clone();
        changed["disabled"] = json!(false);
        *changed.pointer_mut(field).unwrap() = value;
        patch(&changed);
        cloud.standin.clear_requests();
        apply().succeeds();
        let requests = cloud.standin.requests();
        let patched = requests
            .iter()
            .find(|request| request.method == "PATCH")
            .unwrap();
        assert!(
            patched.query.contains(&format!("updateMask={mask}")),
            "{}",
            patched.query
        );
        let mut after = provider(&cloud);
        match mask {
            "oidc.allowedAudiences" => after["oidc"]["allowedAudiences"]
                .as_array_mut()
                .unwrap()
                .reverse(),
            "attributeCondition" => {
                assert_eq!(after["attributeCondition"], json!(own_condition));
                after["attributeCondition"] = expected["attributeCondition"].clone();
            }
            _ => {}
        }
        assert_eq!(after, expected, "{mask}");
    }
}

#[test]
fn plan_shows_changes_of_a_provider() {
    let cloud = Cloud::new();
    cloud.apply().set("setup_github", "acme/api").succeeds();
    let body = json!({
        "disabled": true,
        "attributeCondition": "assertion.repository_owner == 'acme'",
        "oidc": {
            "issuerUri": "https://token.actions.githubusercontent.com",
            "allowedAudiences": ["https://other.example"],
        },
    });
    let mask = "attributeCondition,oidc,disabled";
    cloud.request("PATCH", &format!("{PROVIDER}?updateMask={mask}"), &body);
    let plan = cloud.setup().set("setup_github", "acme/api").succeeds();
    let changes = plan.stdout.split_once("Providers, ").unwrap().1;
    let changes = changes.split_once("\n\n").unwrap().0;
    insta::assert_snapshot!(changes, @"with their changes:");
}

#[test]
fn deleted_pool_is_restored() {
    let cloud = Cloud::new();
    let apply = || cloud.apply().set("setup_github", "acme/api");
    apply().succeeds();
    let before = cloud.standin.snapshot();
    let pool = "iam.googleapis.com/v1/projects/acme/locations/global/workloadIdentityPools/gcr-push-github";
    cloud.delete(&format!("{pool}/providers/github-456"));
    cloud.delete(pool);
    apply().succeeds();
    assert_eq!(cloud.standin.snapshot(), before);
}

#[test]
fn deleted_foreign_pool_is_reported() {
    let cloud = Cloud::new();
    cloud.apply().succeeds();
    let parent = "iam.googleapis.com/v1/projects/acme/locations/global/workloadIdentityPools";
    let create = format!("{parent}?workloadIdentityPoolId=gcr-push-github");
    cloud.request("POST", &create, &json!({"displayName": "somebody's"}));
    cloud.delete(&format!("{parent}/gcr-push-github"));
    let outcome = cloud.apply().set("setup_github", "acme/api").fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the workload identity pool `gcr-push-github` is deleted, and setup did not create it

    hint: its name stays reserved for thirty days: run `gcloud iam workload-identity-pools undelete gcr-push-github --location=global --project=acme --quiet` to restore it, then run this again
    ");
}

#[test]
fn project_without_resource_manager_api_is_set_up() {
    let cloud = Cloud::new();
    cloud.standin.change_project("acme", |project| {
        project
            .services
            .remove("cloudresourcemanager.googleapis.com");
    });
    let plan = cloud.setup().succeeds();
    assert!(
        plan.stdout.contains("cannot be checked before"),
        "{}",
        plan.stdout
    );
    cloud.apply().succeeds();
    assert_eq!(cloud.granted(GCR).len(), 2);
}

#[test]
fn domain_scoped_project_is_set_up() {
    let cloud = Cloud::new();
    cloud
        .standin
        .project("example.com:acme", Project::new("43"));
    cloud
        .standin
        .grant(ADMIN, "roles/owner", "projects/example.com:acme");
    let outcome = cloud
        .apply()
        .set("project_id", "example.com:acme")
        .set("setup_github", "acme/api")
        .succeeds();
    let repository = "projects/example.com:acme/locations/us/repositories/gcr.io";
    assert_eq!(
        cloud.granted(repository)[1],
        "roles/artifactregistry.writer serviceAccount:gcr-pusher@acme.example.com.iam.gserviceaccount.com"
    );
    assert!(
        outcome
            .stdout
            .contains("tags: gcr.io/example.com/acme/NAME:TAG"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn existing_resources_are_used_and_kept() {
    let cloud = Cloud::new();
    let project = Project::new("42")
        .service("iam")
        .service("artifactregistry");
    cloud.standin.project("acme", project);
    let options = RepositoryOptions {
        immutable_tags: true,
    };
    cloud.standin.create_repository(GCR, options);
    cloud
        .standin
        .grant("user:x@example.com", "roles/artifactregistry.writer", GCR);
    cloud.account("ci-push");
    let outcome = cloud.apply().set("setup_pusher", "ci-push").succeeds();
    let states = states(&outcome);
    assert_eq!(states[&format!("repository {GCR}")], "present");
    assert_eq!(
        states["account ci-push@acme.iam.gserviceaccount.com"],
        "present"
    );
    assert!(
        cloud
            .granted(GCR)
            .contains(&"roles/artifactregistry.writer user:x@example.com".to_owned())
    );
    assert_eq!(cloud.granted(GCR).len(), 3);
}

#[test]
fn excess_permissions_are_named() {
    let cloud = Cloud::new();
    cloud.apply().succeeds();
    cloud
        .standin
        .grant(PUSHER, "roles/storage.admin", "projects/acme");
    cloud
        .standin
        .grant(PULLER, "roles/artifactregistry.writer", "projects/acme");
    cloud.standin.grant(
        "ci@acme.iam.gserviceaccount.com",
        "roles/editor",
        "projects/acme",
    );
    cloud.standin.grant(
        "42-compute@developer.gserviceaccount.com",
        "roles/editor",
        "projects/acme",
    );
    cloud.standin.grant(
        ADMIN,
        "roles/iam.serviceAccountTokenCreator",
        "projects/acme",
    );
    cloud.standin.change_project("acme", |project| {
        project
            .services
            .insert("iamcredentials.googleapis.com".to_owned());
    });
    cloud
        .standin
        .add_old_key(PULLER, &"ab".repeat(20), "2024-03-09T16:00:00Z");
    let outcome = cloud.apply().succeeds();
    insta::assert_snapshot!(outcome.stderr, @"
    WARN gcr-puller@acme.iam.gserviceaccount.com can also push to `projects/acme/locations/us/repositories/gcr.io`, with a role from elsewhere: everyone who reads a cluster's pull secret could replace images
    WARN serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com has `roles/storage.admin` on the whole project, which is only for the first push to the old registry, and gives access to every bucket: if it only pushes or pulls, `gcloud projects remove-iam-policy-binding acme --member=serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com --role=roles/storage.admin --condition=None` removes the role
    WARN serviceAccount:gcr-puller@acme.iam.gserviceaccount.com has `roles/artifactregistry.writer` on the whole project, which gives access to every repository: if it only pushes or pulls, `gcloud projects remove-iam-policy-binding acme --member=serviceAccount:gcr-puller@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer --condition=None` removes the role
    WARN serviceAccount:ci@acme.iam.gserviceaccount.com has `roles/editor` on the whole project, which gives access to nearly everything in it: if it only pushes or pulls, `gcloud projects remove-iam-policy-binding acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/editor --condition=None` removes the role
    WARN the key abababababababababababababababababababab of gcr-puller@acme.iam.gserviceaccount.com is from 2024-03-09: replace it, and delete it with `gcloud iam service-accounts keys delete abababababababababababababababababababab --iam-account=gcr-puller@acme.iam.gserviceaccount.com --quiet`
    ");
    insta::assert_snapshot!(outcome.stdout.lines().skip_while(|line| !line.starts_with("ACCOUNT")).collect::<Vec<_>>().join("\n"), @"
    ACCOUNT                                  REGISTRY  CHECKED           HOW
    gcr-pusher@acme.iam.gserviceaccount.com  gcr.io    pushes and pulls  with an impersonated token
    gcr-puller@acme.iam.gserviceaccount.com  gcr.io    may push          with an impersonated token
    ");
}
