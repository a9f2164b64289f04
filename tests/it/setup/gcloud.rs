//! The requests of each step compared with those that gcloud sends for the tutorial's commands,
//! recorded from gcloud 528: the same method and path, and bodies of the same meaning.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::*;

/// A request that gcloud sent: `METHOD HOST/PATH`, and its body.
struct RecordedRequest {
    request: String,
    body: Value,
}

/// The recording: a block for each command, with `METHOD URL` and the body below it.
fn recorded() -> Vec<RecordedRequest> {
    let text = include_str!("../../fixtures/gcloud-requests.txt");
    let blocks = text.split("\n\n").filter(|block| !block.starts_with('#'));
    blocks
        .map(|block| {
            let mut lines = block.lines().skip_while(|line| line.starts_with("$ "));
            let request = lines.next().unwrap().to_owned();
            let body = lines.collect::<String>();
            RecordedRequest {
                request,
                body: serde_json::from_str(&body).unwrap_or(Value::Null),
            }
        })
        .collect()
}

/// Our requests in the same form.
fn sent(cloud: &Cloud) -> Vec<RecordedRequest> {
    let requests = cloud.standin.requests();
    let api = requests
        .iter()
        .filter(|request| request.kind == standin::RequestKind::Api);
    api.map(|request| {
        let query = match request.query.as_str() {
            "" => String::new(),
            query => format!("?{query}"),
        };
        RecordedRequest {
            request: format!("{} {}{}{query}", request.method, request.host, request.path),
            body: serde_json::from_str(request.body.as_deref().unwrap_or_default())
                .unwrap_or(Value::Null),
        }
    })
    .collect()
}

/// The names of all fields of a body, at every depth.
fn fields(body: &Value, at: &str, into: &mut BTreeSet<String>) {
    match body {
        Value::Object(map) => {
            for (name, value) in map {
                let path = format!("{at}.{name}");
                fields(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, at, into)),
        _ => {}
    }
}

#[test]
fn every_step_sends_what_gcloud_sends() {
    let cloud = Cloud::new();
    let project = Project::new("42")
        .service("iam")
        .service("artifactregistry")
        .service("storage");
    cloud.standin.project("acme", project);
    cloud
        .standin
        .create_bucket("artifacts.acme.appspot.com", "acme");
    cloud
        .apply()
        .set("setup_key", "puller.json")
        .set("setup_github", "acme/api")
        .succeeds();
    cloud.apply().set("setup_backend", "storage").succeeds();
    cloud
        .standin
        .grant(PUSHER, "roles/storage.admin", "projects/acme");
    cloud.apply().set("setup_backend", "storage").succeeds();
    cloud.remove().succeeds();
    let sent = sent(&cloud);
    let recorded = recorded();
    assert!(recorded.len() > 10, "{}", recorded.len());
    for gcloud in recorded {
        let same = sent
            .iter()
            .filter(|own| same_request(&own.request, &gcloud.request));
        let mut bodies = Vec::new();
        let alike = same.into_iter().any(|own| {
            bodies.push(own.body.clone());
            same_meaning(&own.body, &gcloud.body)
        });
        let own_requests: Vec<_> = sent.iter().map(|own| &own.request).collect();
        assert!(
            alike,
            "gcloud: {} {}\nours: {bodies:#?}\nall: {own_requests:#?}",
            gcloud.request, gcloud.body
        );
    }
}

/// True for the same method and path; ours has its own account names and ids, and may ask for more.
fn same_request(own: &str, gcloud: &str) -> bool {
    let (own_path, own_query) = own.split_once('?').unwrap_or((own, ""));
    let (path, query) = gcloud.split_once('?').unwrap_or((gcloud, ""));
    let same_part = |(own, part): (&str, &str)| match part.strip_prefix('*') {
        Some("") => !own.contains(':'),
        Some(verb) => own.ends_with(verb),
        None => own == part,
    };
    let same_path = own_path.split('/').count() == path.split('/').count()
        && own_path.split('/').zip(path.split('/')).all(same_part);
    let own_query: Vec<_> = own_query.split('&').collect();
    same_path && (query.is_empty() || query.split('&').all(|pair| own_query.contains(&pair)))
}

/// True if every field of gcloud is there; ours may add what the commands leave out.
fn same_meaning(own: &Value, gcloud: &Value) -> bool {
    let (mut own_fields, mut gcloud_fields) = (BTreeSet::new(), BTreeSet::new());
    fields(own, "", &mut own_fields);
    fields(gcloud, "", &mut gcloud_fields);
    // The path has the name already, and the storage API has its own `kind`.
    gcloud_fields.remove(".name");
    gcloud_fields.is_subset(&own_fields)
}

/// Runs a gcloud command as the owner of the project. False if gcloud is not installed.
fn gcloud(cloud: &Cloud, home: &Path, words: &str) -> bool {
    const GCLOUD: &str = "/usr/bin/gcloud";
    if !Path::new(GCLOUD).exists() {
        eprintln!("skipped: no {GCLOUD}");
        return false;
    }
    let ca = home.join("ca.pem");
    std::fs::write(&ca, cloud.standin.ca_pem()).unwrap();
    let output = Command::new(GCLOUD)
        .args(
            words
                .split(' ')
                .map(|word| word.replace('_', " ").replace('~', "_")),
        )
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("HTTPS_PROXY", cloud.standin.proxy_url())
        .env("CLOUDSDK_CONFIG", home.join("gcloud"))
        .env("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", &ca)
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .env("CLOUDSDK_CORE_PROJECT", "acme")
        .env("CLOUDSDK_AUTH_ACCESS_TOKEN", &cloud.token)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "gcloud {words}: {message}");
    true
}

#[test]
fn gcloud_commands_leave_the_same_state() {
    let (by_hand, own_fields) = (Cloud::new(), Cloud::new());
    let home = tempfile::tempdir().unwrap();
    let pool = "--location=global --workload-identity-pool=gcr-push-github";
    let principals = "principalSet://iam.googleapis.com/projects/42/locations/global/\
                      workloadIdentityPools/gcr-push-github/attribute.repository~id/456";
    // `_` stands for a blank inside a word, and `~` for the line itself.
    let commands = [
        "services enable artifactregistry.googleapis.com iam.googleapis.com sts.googleapis.com iamcredentials.googleapis.com".to_owned(),
        "artifacts repositories create gcr.io --location=us --repository-format=docker --description=Images_of_gcr.io._Made_by_gcr-push_setup.".to_owned(),
        "iam service-accounts create gcr-pusher --display-name=gcr-push:_pusher --description=Pushes_images_from_a_CI._Made_by_gcr-push_setup.".to_owned(),
        "iam service-accounts create gcr-puller --display-name=gcr-push:_puller --description=Pulls_images_into_a_cluster._Made_by_gcr-push_setup.".to_owned(),
        format!("artifacts repositories add-iam-policy-binding gcr.io --location=us --member=serviceAccount:{PUSHER} --role=roles/artifactregistry.writer"),
        format!("artifacts repositories add-iam-policy-binding gcr.io --location=us --member=serviceAccount:{PULLER} --role=roles/artifactregistry.reader"),
        "iam workload-identity-pools create gcr-push-github --location=global --display-name=gcr-push-github --description=Jobs_of_github.com._Made_by_gcr-push_setup.".to_owned(),
        format!("iam workload-identity-pools providers create-oidc github-456 {pool} --issuer-uri=https://token.actions.githubusercontent.com --display-name=github-456 --description=Jobs_of_github.com/acme/api._Made_by_gcr-push_setup. --attribute-mapping=google.subject=assertion.repository~id_+_':'_+_assertion.run~id,attribute.repository~id=assertion.repository~id,attribute.repository~owner~id=assertion.repository~owner~id --attribute-condition=assertion.repository~id_==_'456'_&&_assertion.repository~owner~id_==_'123'"),
        format!("iam service-accounts add-iam-policy-binding {PUSHER} --role=roles/iam.workloadIdentityUser --member={principals}"),
    ];
    for command in commands {
        if !gcloud(&by_hand, home.path(), &command) {
            return;
        }
    }
    own_fields
        .apply()
        .set("setup_github", "acme/api")
        .succeeds();
    assert_eq!(by_hand.standin.snapshot(), own_fields.standin.snapshot());
    // Setup finds nothing to do after them.
    let after = by_hand.apply().set("setup_github", "acme/api").succeeds();
    assert!(
        after.stdout.contains("There was nothing to do."),
        "{}",
        after.stdout
    );
}
