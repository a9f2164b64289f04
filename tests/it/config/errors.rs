//! Tests of error reports: all faults at once, under the typed names, without secrets.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::variables::*;
use gcr_push::ci::LogFormat;
use gcr_push::config::{VARIABLES, defaults};
use gcr_push::http::Network;
use gcr_push::push::compress::Compression;
use gcr_push::push::compress::Method;
use gcr_push::push::upload_slots::Concurrency;
use gcr_push::push::verify::Verify;

#[test]
fn empty_environment_error_says_what_to_set() {
    insta::assert_snapshot!(Variables::bare().refused(), @"
    error: an input is missing
      `image`: set it to the image to push: `docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY`, `docker://NAME`, `docker-daemon:NAME`, a path, or `-` for standard input (GCR_PUSH_IMAGE)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn action_without_inputs_names_them_as_inputs() {
    let run = Variables::action()
        .with("INPUT_IMAGE", "")
        .with("INPUT_CREDENTIALS_JSON", "");
    insta::assert_snapshot!(run.refused(), @"
    error: an input is missing
      `image`: set it to the image to push: `docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY`, `docker://NAME`, `docker-daemon:NAME`, a path, or `-` for standard input (INPUT_IMAGE)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn two_mistakes_are_reported_by_the_typed_names() {
    let run = Variables::push()
        .with("GCR_PUSH_NAME", "api")
        .with("GCR_PUSH_TAGS", "-x")
        .without("GCR_PUSH_CREDENTIALS_JSON")
        .with("INPUT_CREDENTIALS_JSON", "hunter2, the password");
    insta::assert_snapshot!(run.refused(), @"
    error: two inputs cannot be used
      `tags`: tag `-x` is not valid: it starts with `.` or `-` (GCR_PUSH_TAGS)
      `credentials_json`: it is neither JSON nor base64 of JSON; its value is not shown (INPUT_CREDENTIALS_JSON)

    hint: use the JSON of the key file, its base64 (`base64 -w0 key.json`), or a path to it
    ");
}

#[test]
fn every_variable_reports_its_own_mistake() {
    let run = Variables::push()
        .with("GCR_PUSH_IMAGE", "docker-daemon:App:1")
        .with(
            "GCR_PUSH_TAGS",
            "gcr.io/acme/App:1\n1.0, a b,gcr.io/acme/app@sha256:0",
        )
        .with("GCR_PUSH_REGISTRY", "https://gcr.io, fr.gcr.io")
        .with("GCR_PUSH_PROJECT_ID", "Acme")
        .with("GCR_PUSH_NAME", "app:1")
        .with("GCR_PUSH_COMMAND", "psuh")
        .with("GCR_PUSH_PLATFORMS", "linux/amd64, linux")
        .with("GCR_PUSH_COMPRESSION", "lz4")
        .with("GCR_PUSH_COMPRESSION_LEVEL", "13")
        .with("GCR_PUSH_LAYER_REUSE", "on")
        .with("GCR_PUSH_VERIFY", "maybe")
        .with("GCR_PUSH_CONCURRENCY", "0")
        .with("GCR_PUSH_STALL_TIMEOUT", "90")
        .with("GCR_PUSH_LOG_FORMAT", "xml")
        .with("GCR_PUSH_CA_CERTIFICATES", "ca.pem")
        .with("GCR_PUSH_INSECURE_REGISTRIES", "gcr.io, x:0")
        .with("GCR_PUSH_ACCESS_TOKEN", "ya29.a b");
    insta::assert_snapshot!(run.refused(), @"
    error: 17 inputs cannot be used
      `image`: `App:1` is not the name of an image: names are in lower case (GCR_PUSH_IMAGE)
      `platforms`: `linux` is not a platform: expected `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`, as in `linux/arm64`, or with a version as in `windows/amd64:10.0.17763` (GCR_PUSH_PLATFORMS)
      `tags`: image name `acme/App` is not valid: registries accept only lower case (GCR_PUSH_TAGS)
      `tags`: `a b` is one item: put a comma or a line break between two items (GCR_PUSH_TAGS)
      `tags`: `gcr.io/acme/app@sha256:0` does not end with a digest: expected `@sha256:` and 64 hexadecimal digits (GCR_PUSH_TAGS)
      `registry`: `https://gcr.io` is not a registry: use only the host, without `https://` (GCR_PUSH_REGISTRY)
      `registry`: `fr.gcr.io` is not a registry: Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io` (GCR_PUSH_REGISTRY)
      `project_id`: project `Acme` is not valid: registries accept only lower case (GCR_PUSH_PROJECT_ID)
      `name`: image name `app:1` is not valid: set it to the name only; put a tag in `tags` (GCR_PUSH_NAME)
      `access_token`: it contains a space or a line break; set it to the token only, without `Bearer`; its value is not shown (GCR_PUSH_ACCESS_TOKEN)
      `access_token`: `credentials_json` is set too: keep one (GCR_PUSH_ACCESS_TOKEN)
      `verify`: it is `maybe`, expected `listing`, `blobs` or `off` (GCR_PUSH_VERIFY)
      `command`: `psuh` is not a command; did you mean `push`? (GCR_PUSH_COMMAND)
      `compression`: it is `lz4`, expected `gzip`, `zstd` or `none` (GCR_PUSH_COMPRESSION)
      `compression_level`: it is `13`, expected a number from 1 to 12 (GCR_PUSH_COMPRESSION_LEVEL)
      `layer_reuse`: it is `on`, expected `auto` or `off` (GCR_PUSH_LAYER_REUSE)
      `concurrency`: it is `0`, expected a number from 1 to 64 (GCR_PUSH_CONCURRENCY)
      `log_format`: it is `xml`, expected `auto`, `plain`, `github`, `gitlab` or `json` (GCR_PUSH_LOG_FORMAT)
      `stall_timeout`: it is `90`, expected a duration such as `90s` or `10m`, from 1 s to 3600 s (GCR_PUSH_STALL_TIMEOUT)
      `ca_certificates`: `ca.pem` cannot be read: No such file or directory (os error 2) (GCR_PUSH_CA_CERTIFICATES)
      `insecure_registries`: `gcr.io` is Google's and is never used over plain HTTP (GCR_PUSH_INSECURE_REGISTRIES)
      `insecure_registries`: `x:0` is not a registry: the port is not a number from 1 to 65535 (GCR_PUSH_INSECURE_REGISTRIES)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn unknown_variable_is_reported_with_the_nearest_name() {
    let run = Variables::push()
        .with("GCR_PUSH_TAG", "1")
        .with("GCR_PUSH_WIBBLE", "")
        .with("INPUT_WIBBLE", "of another action");
    insta::assert_snapshot!(run.refused(), @r"
    error: two inputs cannot be used
      `GCR_PUSH_TAG`: there is no such variable; did you mean `GCR_PUSH_TAGS`?
      `GCR_PUSH_WIBBLE`: there is no such variable

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn variable_given_twice_must_have_one_value() {
    let run = Variables::push().with("INPUT_IMAGE", " image.tar\n");
    assert!(run.result().is_ok());
    let run = run.with("INPUT_IMAGE", "other.tar");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `image`: INPUT_IMAGE and GCR_PUSH_IMAGE are both set and differ: keep one of them (GCR_PUSH_IMAGE)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn non_unicode_text_matters_in_our_variables_only() {
    let broken = OsString::from_vec(vec![b'a', 0xff]);
    let run = Variables::push()
        .with("LESSCHARSET", broken.clone())
        .with("INPUT_WIBBLE", broken.clone());
    assert!(run.result().is_ok());
    let run = run
        .with("GCR_PUSH_NAME", broken.clone())
        .with("HTTPS_PROXY", broken);
    insta::assert_snapshot!(run.refused(), @r"
    error: two inputs cannot be used
      `name`: it is not UTF-8 (GCR_PUSH_NAME)
      `HTTPS_PROXY`: it is not UTF-8

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn key_in_a_wrong_variable_is_not_shown() {
    let run = Variables::push()
        .with("GCR_PUSH_TAGS", KEY)
        .with("GCR_PUSH_IMAGE", "ya29.token");
    insta::assert_snapshot!(run.refused(), @r"
    error: two inputs cannot be used
      `image`: it looks like a key or a token, which does not belong here; its value is not shown (GCR_PUSH_IMAGE)
      `tags`: it looks like a key or a token, which does not belong here; its value is not shown (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn invalid_secret_is_never_shown() {
    let nonsense = "s3cr3t";
    for variable in VARIABLES.iter().filter(|variable| variable.is_secret()) {
        for value in [
            nonsense.to_owned(),
            format!("{nonsense} with\nlines"),
            format!("{{\"type\":\"{nonsense}\"}}"),
            format!("{{{nonsense}"),
            format!("/{nonsense}/key.json"),
            format!("./{nonsense}"),
            KEY.replace("googleapis.com/token", nonsense),
            KEY.replace("BEGIN PRIVATE", nonsense),
            KEY.replace("service_account", nonsense),
        ] {
            let name = format!("GCR_PUSH_{}", variable.name.to_uppercase());
            let run = Variables::action()
                .with("GCR_PUSH_PULL_SECRET", "gcr-pull")
                .with("GCR_PUSH_PULL_SECRET_FILE", "x")
                .with("GCR_PUSH_VERIFY", "wrong")
                .without("INPUT_CREDENTIALS_JSON")
                .with(&name, value.as_str());
            let text = run.refused();
            // The type of a credential is no secret, and the error names it.
            let text = text.replace(&format!("a credential of type `{nonsense}`"), "");
            assert!(!text.contains(nonsense), "{name}={value:?}\n{text}");
        }
    }
}

#[test]
fn empty_value_counts_as_absent() {
    let mut run = Variables::push();
    for variable in VARIABLES {
        let name = format!("INPUT_{}", variable.name.to_uppercase());
        run = run.with(&name, " \n");
    }
    run = run
        .with("HTTPS_PROXY", "")
        .with("GITLAB_CI", "")
        .with("CI", " ");
    let request = run.request();
    assert_eq!(
        request.options.compression,
        Compression::With(Method::Gzip(defaults::GZIP_LEVEL))
    );
    assert_eq!(request.options.verify, Verify::Listing);
    assert_eq!(request.options.concurrency, defaults::CONCURRENCY);
    assert_eq!(
        request.session.network.stall_timeout,
        Network::default().stall_timeout
    );
    assert_eq!(request.session.console.log_format, LogFormat::Plain);
    assert_eq!(request.files.report, None);
}

#[test]
fn given_values_become_the_request() {
    let request = Variables::push()
        .with("GCR_PUSH_COMMAND", "list")
        .with("GCR_PUSH_COMPRESSION", "gzip")
        .with("GCR_PUSH_COMPRESSION_LEVEL", "12")
        .with("GCR_PUSH_VERIFY", "off")
        .with("GCR_PUSH_CONCURRENCY", "3")
        .with("GCR_PUSH_STALL_TIMEOUT", "2m")
        .with("GCR_PUSH_LOG_FORMAT", "json")
        .with("GCR_PUSH_REPORT_FILE", "out/report.json")
        .with("GCR_PUSH_DIGEST_FILE", "/tmp/digest")
        .argument(CommandName::Push)
        .request();
    assert_eq!(
        request.options.compression,
        Compression::With(Method::Gzip(12))
    );
    assert_eq!(request.options.verify, Verify::Off);
    assert_eq!(
        request.options.concurrency,
        Concurrency { large: 3, all: 3 }
    );
    assert_eq!(request.session.network.stall_timeout.as_secs(), 120);
    assert_eq!(request.session.console.log_format, LogFormat::Json);
    assert_eq!(request.files.report, Some("out/report.json".into()));
    assert_eq!(request.files.digest, Some("/tmp/digest".into()));
}

#[test]
fn level_needs_compression() {
    let run = Variables::push().with("GCR_PUSH_COMPRESSION", "none");
    assert_eq!(run.request().options.compression, Compression::None);
    let run = run.with("GCR_PUSH_COMPRESSION_LEVEL", "9");
    assert!(
        run.refused()
            .contains("it has no effect with `compression: none`")
    );
}

#[test]
fn ci_is_detected_by_a_variable_that_is_not_false() {
    let detected = |pairs: &[(&str, &str)]| {
        let run = pairs.iter().fold(Variables::push(), |run, (name, value)| {
            run.with(name, *value)
        });
        let format = run.request().session.console.log_format;
        // A CI keeps what is printed.
        let prints_secret = run
            .with("GCR_PUSH_PULL_SECRET", "gcr-pull")
            .with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true")
            .with("GCR_PUSH_PULL_SECRET_FILE", "-");
        (format, prints_secret.result().is_err())
    };
    for (pairs, expected) in [
        (
            &[("GITHUB_ACTIONS", "true"), ("CI", "true")][..],
            (LogFormat::GitHub, true),
        ),
        (
            &[("GITLAB_CI", "true"), ("CI", "true")],
            (LogFormat::GitLab, true),
        ),
        (
            &[("GITLAB_CI", "false"), ("CI", "1")],
            (LogFormat::Plain, true),
        ),
        (&[("CI", "false")], (LogFormat::Plain, false)),
        (&[("CI", "0")], (LogFormat::Plain, false)),
    ] {
        assert_eq!(detected(pairs), expected, "{pairs:?}");
    }
}

#[test]
fn request_debug_shows_no_secret() {
    let request = Variables::push()
        .with("GCR_PUSH_PULL_SECRET", "gcr-pull")
        .with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true")
        .with("GCR_PUSH_PULL_SECRET_FILE", "pull-secret.yaml")
        .with(
            "GCR_PUSH_DOCKER_CONFIG",
            r#"{"auths":{"x.example":{"username":"u","password":"hunter2"}}}"#,
        )
        .request();
    let printed = format!("{request:?}");
    assert!(
        !printed.contains("PRIVATE KEY") && !printed.contains("hunter2"),
        "{printed}"
    );
}
