//! Tests of the precedence of credentials for Google.

use super::variables::*;

const USER: &str =
    r#"{"type":"authorized_user","client_id":"x","client_secret":"y","refresh_token":"z"}"#;

/// A credential: how a run sets it, and its source if it is used.
type Way = (fn(Variables) -> Variables, &'static str);

/// All credentials in order of precedence. The first three exclude each other, so only one of them
/// is set at a time.
const EXPLICIT: [Way; 3] = [
    (
        |run| run.with("GCR_PUSH_CREDENTIALS_JSON", KEY),
        "`credentials_json`",
    ),
    (
        |run| run.with("GCR_PUSH_ACCESS_TOKEN", "ya29.x"),
        "`access_token`",
    ),
    (
        |run| {
            run.with(
                "GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER",
                "projects/1/locations/global/workloadIdentityPools/p/providers/x",
            )
            .with("ACTIONS_ID_TOKEN_REQUEST_URL", "https://example.com/?v=1")
            .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
        },
        "`workload_identity_provider`",
    ),
];

const AMBIENT: [Way; 5] = [
    (
        |run| {
            run.with("GOOGLE_APPLICATION_CREDENTIALS", "/a.json")
                .file("/a.json", USER)
        },
        "`GOOGLE_APPLICATION_CREDENTIALS`",
    ),
    (
        |run| {
            run.with("GOOGLE_GHA_CREDS_PATH", "/b.json")
                .file("/b.json", KEY)
        },
        "`GOOGLE_GHA_CREDS_PATH`",
    ),
    (
        |run| {
            run.with("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "/c.json")
                .file("/c.json", USER)
        },
        "`CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE`",
    ),
    (
        |run| {
            run.with("CLOUDSDK_CONFIG", "/cloudsdk")
                .file("/cloudsdk/application_default_credentials.json", USER)
        },
        "gcloud's `/cloudsdk/application_default_credentials.json`",
    ),
    (
        |run| {
            run.with("HOME", "/home/ada").file(
                "/home/ada/.config/gcloud/application_default_credentials.json",
                USER,
            )
        },
        "gcloud's `/home/ada/.config/gcloud/application_default_credentials.json`",
    ),
];

fn chosen(run: &Variables) -> Option<String> {
    let google = run.request().session.sign_in.google;
    google.map(|(origin, _)| origin.to_string())
}

fn bare() -> Variables {
    Variables::bare()
        .with("GCR_PUSH_IMAGE", "image.tar")
        .with("GCR_PUSH_TAGS", "gcr.io/acme/api:1")
}

#[test]
fn best_ambient_credential_is_used() {
    for (index, (_, name)) in AMBIENT.iter().enumerate() {
        // This one and all of lower precedence.
        let run = AMBIENT[index..]
            .iter()
            .rev()
            .fold(bare(), |run, (give, _)| give(run));
        assert_eq!(chosen(&run).as_deref(), Some(*name));
    }
    assert_eq!(chosen(&bare()), None, "the machine itself is asked later");
}

#[test]
fn explicit_credential_beats_ambient_ones() {
    for (give, name) in EXPLICIT {
        let run = AMBIENT.iter().fold(bare(), |run, (give, _)| give(run));
        assert_eq!(chosen(&give(run)).as_deref(), Some(name));
    }
}

#[test]
fn two_explicit_credentials_are_refused() {
    for (first, (give, better)) in EXPLICIT.iter().enumerate() {
        for (give_other, worse) in &EXPLICIT[first + 1..] {
            let rendered = give_other(give(bare())).refused();
            let expected = format!("{worse}: {better} is set too: keep one");
            assert!(rendered.contains(&expected), "{rendered}");
        }
    }
}

#[test]
fn missing_ambient_file_is_skipped_unless_the_only_one() {
    let lost = bare().with("GOOGLE_APPLICATION_CREDENTIALS", "/lost/creds.json");
    let run = lost
        .with("GOOGLE_GHA_CREDS_PATH", "/b.json")
        .file("/b.json", KEY);
    assert_eq!(chosen(&run).as_deref(), Some("`GOOGLE_GHA_CREDS_PATH`"));
    let lost = bare().with("GOOGLE_APPLICATION_CREDENTIALS", "/lost/creds.json");
    assert!(
        lost.refused()
            .contains("there is no file `/lost/creds.json`")
    );
    // A file of the same name in the workspace is used instead.
    let run = lost
        .with("GITHUB_WORKSPACE", "/work")
        .file("/work/creds.json", USER);
    assert_eq!(
        chosen(&run).as_deref(),
        Some("`GOOGLE_APPLICATION_CREDENTIALS`")
    );
}

#[test]
fn broken_ambient_credential_is_ignored_without_google() {
    let run = Variables::bare()
        .with("GCR_PUSH_IMAGE", "image.tar")
        .with("GCR_PUSH_TAGS", "registry.example.com/api:1")
        .with("GOOGLE_APPLICATION_CREDENTIALS", "/lost/creds.json");
    assert_eq!(chosen(&run), None);
}

#[test]
fn ambient_key_brings_its_project() {
    let run = Variables::bare()
        .with("GCR_PUSH_IMAGE", "image.tar")
        .with("GOOGLE_APPLICATION_CREDENTIALS", "/b.json")
        .file("/b.json", KEY);
    let request = run.request();
    assert!(request.destinations.parts.project.is_some());
}
