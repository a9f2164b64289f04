//! Names that no registry accepts, from variables and from the archive.

use super::{oci, refused};
use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::Run;

/// A push of a valid image with these invalid variables.
fn error_with(variables: &[(&str, &str)]) -> String {
    let google = Google::start();
    let run = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar");
    let run = variables
        .iter()
        .fold(run, |run: Run, (name, value)| run.set(name, value));
    let message = refused(&google, run, 2);
    assert!(google.standin.requests().is_empty());
    message
}

#[test]
fn non_google_host_is_reported() {
    insta::assert_snapshot!(error_with(&[("registry", "fr.gcr.io")]), @"
    error: an input cannot be used
      `registry`: `fr.gcr.io` is not a registry: Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io` (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("registry", "us.pkg.dev")]), @"
    error: an input cannot be used
      `registry`: `us.pkg.dev` is not a registry: Artifact Registry's hosts look like `us-docker.pkg.dev` (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("registry", "https://gcr.io/")]), @"
    error: an input cannot be used
      `registry`: `https://gcr.io/` is not a registry: use only the host, without `https://` (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("registry", "gcr.io/acme")]), @"
    error: an input cannot be used
      `registry`: `gcr.io/acme` is not a registry: use only the host; project and name have their own variables (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("registry", "registry.example:http")]), @"
    error: an input cannot be used
      `registry`: `registry.example:http` is not a registry: the port is not a number from 1 to 65535 (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("registry", "not a host")]), @"
    error: an input cannot be used
      `registry`: `not a host` is not a registry: it is not a host name (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "fr.gcr.io/acme/app:1")]), @"
    error: an input cannot be used
      `tags`: `fr.gcr.io` is not a registry: Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io` (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "acme/app:1")]), @"
    error: an input cannot be used
      `tags`: `acme/app:1` has no registry: write the registry first, as in `gcr.io/PROJECT/NAME:TAG`; a tag cannot contain `/` (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn artifact_registry_host_without_repository_is_reported() {
    insta::assert_snapshot!(error_with(&[("registry", "us-docker.pkg.dev")]), @"
    error: an input is missing
      `repository`: `us-docker.pkg.dev` needs the name of an Artifact Registry repository (GCR_PUSH_REPOSITORY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "us-docker.pkg.dev/acme/app:1")]), @"
    error: an input cannot be used
      `tags`: image name `acme/app` is not valid: on pkg.dev an image is named `PROJECT/REPOSITORY/NAME` (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("repository", "containers")]), @"
    error: an input cannot be used
      `repository`: it is for Artifact Registry, but no item of `registry` is a `LOCATION-docker.pkg.dev` host (GCR_PUSH_REPOSITORY)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn invalid_tag_is_reported() {
    let long = "x".repeat(129);
    insta::assert_snapshot!(error_with(&[("tags", &long)]), @"
    error: an input cannot be used
      `tags`: tag `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is not valid: it is longer than 128 characters (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "feature/login")]), @"
    error: an input cannot be used
      `tags`: `feature/login` has no registry: write the registry first, as in `gcr.io/PROJECT/NAME:TAG`; a tag cannot contain `/` (GCR_PUSH_TAGS)

    hint: for the tag of a branch, use `CI_COMMIT_REF_SLUG` on GitLab, and docker/metadata-action on GitHub
    ");
    insta::assert_snapshot!(error_with(&[("tags", "1.0+build")]), @"
    error: an input cannot be used
      `tags`: tag `1.0+build` is not valid: a tag can contain only letters, digits, `_`, `.` and `-` (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "-1")]), @"
    error: an input cannot be used
      `tags`: tag `-1` is not valid: it starts with `.` or `-` (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "gcr.io/acme/app:größe")]), @"
    error: an input cannot be used
      `tags`: tag `größe` is not valid: a tag can contain only letters, digits, `_`, `.` and `-` (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn tag_with_slash_is_refused() {
    insta::assert_snapshot!(error_with(&[("tags", "gcr.io/acme-prod/web:feature/login")]), @"
    error: an input cannot be used
      `tags`: tag `feature/login` is not valid: a tag cannot contain `/` (GCR_PUSH_TAGS)

    hint: for the tag of a branch, use `CI_COMMIT_REF_SLUG` on GitLab, and docker/metadata-action on GitHub
    ");
    insta::assert_snapshot!(error_with(&[("tags", "gcr.io/acme-prod/web:v1:latest")]), @"
    error: an input cannot be used
      `tags`: tag `v1:latest` is not valid: a tag cannot contain `:`; write two tags as two items (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    for tags in [
        "us-docker.pkg.dev/acme-prod/r/web:release/1.2",
        "us-docker.pkg.dev/acme-prod/r:1/web",
        "ghcr.io/acme/api:feature/x",
        "gcr.io/acme:prod/web:1",
        "web:feature/login",
    ] {
        let message = error_with(&[("tags", tags)]);
        assert!(message.contains("an input cannot be used"), "{message}");
    }
    let message = error_with(&[
        ("tags", "registry.example/app:1"),
        ("image", "ghcr.io/acme/api:feature/x"),
    ]);
    assert!(
        message.contains("tag `feature/x` is not valid"),
        "{message}"
    );
}

#[test]
fn login_before_a_host_is_never_shown() {
    const SECRET: &str = "fooledXpassw0rd";
    insta::assert_snapshot!(error_with(&[("registry", "https://_json_key:fooledXpassw0rd@gcr.io")]), @"
    error: an input cannot be used
      `registry`: there is a login before `@gcr.io`, which is not shown: remove it; put a login in `docker_config`, for the image's own registry in `source_username` and `source_password`, for Google in `credentials_json` or `access_token` (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
    let mirror = |text: &str| {
        Run::command("mirror")
            .file("gcr-push.yaml", text)
            .fails_with(2)
    };
    let gitlab = Run::command("setup")
        .set(
            "setup_gitlab",
            "https://oauth2:fooledXpassw0rd@gitlab.com/x",
        )
        .fails_with(2);
    let list = Run::command("list")
        .set("image", "https://user:fooledXpassw0rd@gcr.io/acme/a")
        .fails_with(2);
    let of_files = [
        "destinations: [\"user:fooledXpassw0rd@gcr.io/acme\"]\nimages: [{from: r.example/a}]\n",
        "destinations: [gcr.io/acme]\nimages: [{from: \
         \"https://user:fooledXpassw0rd@r.example/a\"}]\n",
        "destinations: [gcr.io/acme]\nimages: [\"https://user:fooledXpassw0rd@r.example/a\"]\n",
    ]
    .map(mirror);
    for outcome in of_files.iter().chain([&gitlab, &list]) {
        let message = outcome.error();
        assert!(
            !message.contains(SECRET) && message.contains('@'),
            "{message}"
        );
    }
    for (name, value) in [
        ("registry", "user:fooledXpassw0rd@registry.example.com"),
        ("registry", "user:a,fooledXpassw0rd@registry.example.com"),
        ("tags", "user:fooledXpassw0rd@registry.example.com/a/b:1"),
        (
            "tags",
            "user:fooledXpassw0rd,a/b@registry.example.com/a/b:1",
        ),
        (
            "tags",
            "gcr.io/a/b:1 user:fooledXpassw0rd@registry.example.com/a/b:1",
        ),
        (
            "tags",
            "https://oauth2accesstoken:ya29.fooledXpassw0rd@gcr.io/acme/a:1",
        ),
        ("tags", "https://fooledXpassw0rd@ghcr.io/acme/a:1"),
        ("image", "docker://user:fooledXpassw0rd@ghcr.io/a/b:1"),
        ("image", "user:fooledXpassw0rd@ghcr.io/a/b:1"),
        ("image", "docker-daemon:user:fooledXpassw0rd@ghcr.io/a/b:1"),
        (
            "insecure_registries",
            "http://user:fooledXpassw0rd@reg.example.com",
        ),
        ("best_effort", "user:fooledXpassw0rd@reg.example.com/a"),
        ("name", "https://user:fooledXpassw0rd@reg.example.com/a"),
        (
            "project_id",
            "https://user:fooledXpassw0rd@reg.example.com/a",
        ),
    ] {
        let message = error_with(&[(name, value)]);
        assert!(
            !message.contains("fooled") && !message.contains("passw0rd"),
            "{message}"
        );
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
}

#[test]
fn unexpanded_placeholder_is_reported() {
    let message = [
        "gcr.io/${PROJECT_ID}/app:1",
        "gcr.io/[MY_PROJECT_ID]/app:1",
        "gcr.io//app:1",
        "https://gcr.io/acme-prod/app:1",
        "docker://gcr.io/acme-prod/app:1",
        "\"gcr.io/acme-prod/app:1\"",
        "[\"gcr.io/acme-prod/app:1\",\"gcr.io/acme-prod/app:2\"]",
        "- gcr.io/acme-prod/app:1",
        "$TAG",
    ]
    .map(|tags| {
        let message = error_with(&[("tags", tags)]);
        message.lines().nth(1).unwrap_or_default().trim().to_owned()
    });
    insta::assert_snapshot!(message.join("\n"), @r#"
    `tags`: `gcr.io/${PROJECT_ID}/app:1` contains `${PROJECT_ID}`, which has no value: set the variable, or write its value (GCR_PUSH_TAGS)
    `tags`: `gcr.io/[MY_PROJECT_ID]/app:1` contains `[MY_PROJECT_ID]`, which has no value: set the variable, or write its value (GCR_PUSH_TAGS)
    `tags`: image name `/app` is not valid: a part of it is empty; a variable may not be set, or a secret in the pull request of a fork (GCR_PUSH_TAGS)
    `tags`: `https://gcr.io/acme-prod/app:1` is not the name of an image: remove `https://` (GCR_PUSH_TAGS)
    `tags`: `docker://gcr.io/acme-prod/app:1` is not the name of an image: remove `docker://` (GCR_PUSH_TAGS)
    `tags`: `"gcr.io/acme-prod/app:1"` contains the `"` of YAML or JSON: write only the names, separated by commas or line breaks, without quotes, brackets and dashes (GCR_PUSH_TAGS)
    `tags`: `["gcr.io/acme-prod/app:1"` contains the `[` of YAML or JSON: write only the names, separated by commas or line breaks, without quotes, brackets and dashes (GCR_PUSH_TAGS)
    `tags`: `- gcr.io/acme-prod/app:1` contains the `-` of YAML or JSON: write only the names, separated by commas or line breaks, without quotes, brackets and dashes (GCR_PUSH_TAGS)
    `tags`: `$TAG` contains `$TAG`, which has no value: set the variable, or write its value (GCR_PUSH_TAGS)
    "#);
    let message = error_with(&[("project_id", "${PROJECT}"), ("name", "$NAME")]);
    insta::assert_snapshot!(message, @"
    error: two inputs cannot be used
      `project_id`: project `${PROJECT}` is not valid: it contains a variable that was not replaced by its value (GCR_PUSH_PROJECT_ID)
      `name`: image name `$NAME` is not valid: it contains a variable that was not replaced by its value (GCR_PUSH_NAME)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn public_image_host_is_no_destination() {
    insta::assert_snapshot!(error_with(&[("tags", "mirror.gcr.io/acme/app:1")]), @"
    error: an input cannot be used
      `tags`: nothing can be pushed to `mirror.gcr.io`: its images are public and can only be read (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    let message = error_with(&[("registry", "marketplace.gcr.io")]);
    assert!(message.contains("nothing can be pushed to"), "{message}");
}

#[test]
fn one_wrong_tag_is_one_mistake() {
    for (name, value) in [
        ("registry", "us-docker.pkg.dev"),
        ("best_effort", "r.example"),
        ("dry_run", "false"),
    ] {
        let message = error_with(&[("tags", "r.example/App:1"), (name, value)]);
        assert!(
            message.starts_with("error: an input cannot be used"),
            "{message}"
        );
        assert_eq!(message.matches("GCR_PUSH_").count(), 1, "{message}");
    }
}

#[test]
fn invalid_name_is_reported() {
    insta::assert_snapshot!(error_with(&[("name", "App")]), @"
    error: an input cannot be used
      `name`: image name `App` is not valid: registries accept only lower case (GCR_PUSH_NAME)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("name", "team app")]), @"
    error: an input cannot be used
      `name`: image name `team app` is not valid: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-` (GCR_PUSH_NAME)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("name", &"x".repeat(250))]), @"
    error: an input cannot be used
      `name`: image name `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not valid: with its host it is longer than 255 characters (GCR_PUSH_NAME)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("project_id", "Acme"), ("name", "a")]), @"
    error: an input cannot be used
      `project_id`: project `Acme` is not valid: registries accept only lower case (GCR_PUSH_PROJECT_ID)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "gcr.io/acme/App:1")]), @"
    error: an input cannot be used
      `tags`: image name `acme/App` is not valid: registries accept only lower case (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(error_with(&[("tags", "gcr.io/app:1")]), @"
    error: an input cannot be used
      `tags`: image name `app` is not valid: on gcr.io an image is named `PROJECT/NAME` (GCR_PUSH_TAGS)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn two_mistakes_are_reported_together() {
    let message = error_with(&[
        ("tags", "UPPER!"),
        ("registry", "fr.gcr.io"),
        ("credentials_json", "{}"),
    ]);
    insta::assert_snapshot!(message, @"
    error: three inputs cannot be used
      `tags`: tag `UPPER!` is not valid: a tag can contain only letters, digits, `_`, `.` and `-` (GCR_PUSH_TAGS)
      `registry`: `fr.gcr.io` is not a registry: Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io` (GCR_PUSH_REGISTRY)
      `credentials_json`: it is JSON, but not a service-account key: `type` is missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
}

/// A push of an archive with these names in it.
fn error_of_archive_names(names: &[&str]) -> String {
    let google = Google::start();
    let run = google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 1), names)]),
        )
        .set("image", "docker-archive:image.tar");
    refused(&google, run, 2)
}

#[test]
fn invalid_archive_names_are_reported_with_the_fix() {
    insta::assert_snapshot!(error_of_archive_names(&[]), @"
    error: could not determine where to push the image
      caused by: the image has no name: set `name`, or give a full reference in `tags`

    hint: an image that is saved or requested by its ID has no name, and an OCI layout often has only a tag
    ");
    insta::assert_snapshot!(error_of_archive_names(&["App:1"]), @"
    error: could not determine where to push the image
      caused by: image name `acme/App` is not valid: registries accept only lower case

    hint: the name comes from the archive: set another with `name`
    ");
    insta::assert_snapshot!(error_of_archive_names(&["app:1.0+build"]), @"
    error: could not determine where to push the image
      caused by: tag `1.0+build` is not valid: a tag can contain only letters, digits, `_`, `.` and `-`

    hint: the tag comes from the archive: set another with `tags`
    ");
    insta::assert_snapshot!(error_of_archive_names(&[&format!("{}:1", "x".repeat(250))]), @"
    error: could not determine where to push the image
      caused by: image name `acme/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not valid: with its host it is longer than 255 characters

    hint: the name comes from the archive: set another with `name`
    ");
    insta::assert_snapshot!(error_of_archive_names(&[&format!("app:{}", "x".repeat(129))]), @"
    error: could not determine where to push the image
      caused by: tag `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is not valid: it is longer than 128 characters

    hint: the tag comes from the archive: set another with `tags`
    ");
    insta::assert_snapshot!(error_of_archive_names(&["app\n::error::x:\x1b[31m"]), @r"
    error: could not determine where to push the image
      caused by: image name `acme/app\n::error::x` is not valid: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`

    hint: the name comes from the archive: set another with `name`
    ");
    insta::assert_snapshot!(error_of_archive_names(&["../../etc:1"]), @"
    error: could not determine where to push the image
      caused by: image name `acme/../etc` is not valid: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`

    hint: the name comes from the archive: set another with `name`
    ");
    insta::assert_snapshot!(error_of_archive_names(&[":"]), @"
    error: could not determine where to push the image
      caused by: image name `acme/` is not valid: a part of it is empty; a variable may not be set, or a secret in the pull request of a fork

    hint: the name comes from the archive: set another with `name`
    ");
}

#[test]
fn archive_names_are_ignored_when_tags_are_given() {
    let google = Google::start();
    google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 1), &["App:!"])]),
        )
        .set("image", "image.tar")
        .set("name", "app")
        .set("tags", "1")
        .succeeds();
}
