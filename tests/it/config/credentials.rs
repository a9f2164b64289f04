//! Tests of keys, tokens and Docker logins.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::variables::*;
use gcr_push::auth::GoogleCredential;

fn key_text(run: &Variables) -> String {
    match run.request().session.sign_in.google {
        Some((_, GoogleCredential::Key(key))) => key.json().expose().to_owned(),
        other => panic!("no key: {other:?}"),
    }
}

#[test]
fn key_is_accepted_as_json_base64_and_path() {
    let run = Variables::push();
    assert_eq!(key_text(&run), KEY.trim_end());
    let wrapped: Vec<String> = STANDARD
        .encode(KEY)
        .as_bytes()
        .chunks(76)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    for text in [
        STANDARD.encode(KEY),
        URL_SAFE_NO_PAD.encode(KEY),
        wrapped.join("\n"),
        wrapped.join("\r\n") + "\r\n",
    ] {
        assert_eq!(
            key_text(&Variables::push().with("GCR_PUSH_CREDENTIALS_JSON", text)),
            KEY
        );
    }
    let run = run
        .with("GCR_PUSH_CREDENTIALS_JSON", "secrets/key.json")
        .file("secrets/key.json", format!("\u{feff}{KEY}"));
    assert_eq!(key_text(&run), KEY);
    let run = run.file("secrets/key.json", STANDARD.encode(KEY));
    assert_eq!(key_text(&run), KEY);
}

#[test]
fn base64_looking_path_is_a_path_if_it_exists() {
    let run = Variables::push()
        .with("GCR_PUSH_CREDENTIALS_JSON", "/builds/key")
        .file("/builds/key", KEY);
    assert_eq!(key_text(&run), KEY);
}

#[test]
fn invalid_key_error_says_what_it_is() {
    let rendered = |value: &str| {
        let run = Variables::push()
            .with("GCR_PUSH_CREDENTIALS_JSON", value)
            .with("GCR_PUSH_PROJECT_ID", "acme")
            .file("image.json", "PNG")
            .file("binary", [0xff, 0xfd])
            .file("folder/x", "");
        run.refused().lines().nth(1).unwrap_or_default().to_owned()
    };
    let external = r#"{"type":"external_account"}"#;
    let cut = KEY.replace("-----END", "");
    insta::assert_snapshot!([
        "nonsense",
        "{",
        "{}",
        &STANDARD.encode("not json"),
        external,
        &cut,
        &KEY.replace("oauth2.googleapis.com", "evil.example"),
        "/missing/key.json",
        "image.json",
        "binary",
        "folder",
    ].map(rendered).join("\n"), @"
    `credentials_json`: it is neither JSON nor base64 of JSON; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: its JSON ends too early (line 1, column 1): it was cut off; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: it is JSON, but not a service-account key: `type` is missing (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: it is neither JSON nor base64 of JSON; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: it is of type `external_account`, but `credential_source` is missing (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: its `private_key` is cut off (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: its `token_uri` is not `https` at a Google host, so it is not used (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: if it is meant as a path, the file does not exist; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: in the file that it names: it is neither JSON nor base64 of JSON (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: the file that it names cannot be read: it is not UTF-8 (GCR_PUSH_CREDENTIALS_JSON)
    `credentials_json`: the file that it names cannot be read: Is a directory (os error 21) (GCR_PUSH_CREDENTIALS_JSON)
    ");
}

#[test]
fn token_is_a_single_word() {
    let run = Variables::push()
        .without("GCR_PUSH_CREDENTIALS_JSON")
        .with("GCR_PUSH_PROJECT_ID", "acme")
        .with("GCR_PUSH_ACCESS_TOKEN", "ya29.token\n");
    let Some((_, GoogleCredential::AccessToken(token))) = run.request().session.sign_in.google
    else {
        panic!("no token");
    };
    assert_eq!(token.expose(), "ya29.token");
    let rendered = |value: &str| {
        let text = Variables::push()
            .without("GCR_PUSH_CREDENTIALS_JSON")
            .with("GCR_PUSH_PROJECT_ID", "acme")
            .with("GCR_PUSH_ACCESS_TOKEN", value)
            .refused();
        text.lines().nth(1).unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(["Bearer ya29.x", "a\nb", "a\u{7f}", "é", KEY].map(rendered).join("\n"), @r"
    `access_token`: it contains a space or a line break; set it to the token only, without `Bearer`; its value is not shown (GCR_PUSH_ACCESS_TOKEN)
    `access_token`: it contains a space or a line break; set it to the token only, without `Bearer`; its value is not shown (GCR_PUSH_ACCESS_TOKEN)
    `access_token`: it contains characters that a token cannot have; its value is not shown (GCR_PUSH_ACCESS_TOKEN)
    `access_token`: it contains characters that a token cannot have; its value is not shown (GCR_PUSH_ACCESS_TOKEN)
    `access_token`: it is JSON, not a token; put a key in `credentials_json` (GCR_PUSH_ACCESS_TOKEN)
    ");
    let run = run.with("GCR_PUSH_CREDENTIALS_JSON", KEY);
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `access_token`: `credentials_json` is set too: keep one (GCR_PUSH_ACCESS_TOKEN)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn plain_registry_needs_no_google_credential() {
    let run = Variables::bare()
        .with("GCR_PUSH_IMAGE", "image.tar")
        .with("GCR_PUSH_TAGS", "localhost:5000/app:1");
    assert!(run.request().session.sign_in.google.is_none());
}

fn docker_config() -> String {
    let auth = STANDARD.encode("robot:hunter2");
    format!(r#"{{"auths":{{"registry.example.com":{{"auth":"{auth}"}}}}}}"#)
}

fn user(run: &Variables) -> Option<String> {
    let printed = format!("{:?}", run.request().session.sign_in.logins.docker);
    let (_, user) = printed.split_once("\"registry.example.com\": Login(\"")?;
    Some(user.split('"').next().unwrap().to_owned())
}

#[test]
fn docker_logins_are_text_base64_file_or_directory() {
    for value in [
        &docker_config(),
        &STANDARD.encode(docker_config()),
        "/home/ci/.docker/config.json",
        "/home/ci/.docker",
    ] {
        let run = Variables::push()
            .with("GCR_PUSH_DOCKER_CONFIG", value)
            .file("/home/ci/.docker/config.json", docker_config());
        assert_eq!(user(&run).as_deref(), Some("robot"), "{value}");
    }
}

#[test]
fn default_docker_config_is_read_only_where_needed() {
    let run = Variables::push()
        .with("DOCKER_CONFIG", "/kaniko/.docker")
        .file("/kaniko/.docker/config.json", docker_config());
    assert_eq!(user(&run), None, "nothing but Google is met");
    let run = run.with("GCR_PUSH_REGISTRY", "registry.example.com");
    assert_eq!(user(&run).as_deref(), Some("robot"));
    let run = run.file("/kaniko/.docker/config.json", "{");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `DOCKER_CONFIG`: in its `config.json`: it is not a Docker config: expected JSON with `auths`

    hint: `gcr-push push --help` describes every variable
    ");
    let run = run.with("DOCKER_CONFIG", "/nowhere");
    assert_eq!(user(&run), None, "a directory without the file is none");
}

#[test]
fn broken_docker_config_is_not_shown() {
    let rendered = |value: &str| {
        let text = Variables::push()
            .with("GCR_PUSH_DOCKER_CONFIG", value)
            .refused();
        text.lines().nth(1).unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(["hunter2", "{hunter2", "./hunter2"].map(rendered).join("\n"), @r"
    `docker_config`: it is not a Docker config: expected JSON with `auths`; its value is not shown (GCR_PUSH_DOCKER_CONFIG)
    `docker_config`: it is not a Docker config: expected JSON with `auths`; its value is not shown (GCR_PUSH_DOCKER_CONFIG)
    `docker_config`: if it is meant as a path, the file does not exist; its value is not shown (GCR_PUSH_DOCKER_CONFIG)
    ");
}
