//! Names that no registry takes, from variables and from the archive itself.

use super::{oci, refused};
use crate::support::google::Google;
use crate::support::images::{Picture, classic_archive};
use crate::support::run::Run;

/// A push of a good image, which these variables spoil.
fn with(variables: &[(&str, &str)]) -> String {
    let google = Google::start();
    let run = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar");
    let run = variables
        .iter()
        .fold(run, |run: Run, (name, value)| run.set(name, value));
    let told = refused(&google, run, 2);
    assert!(google.standin.requests().is_empty());
    told
}

#[test]
fn a_host_that_is_none_of_google_s_is_told() {
    insta::assert_snapshot!(with(&[("registry", "fr.gcr.io")]), @"
    error: an input cannot be used
      `registry`: `fr.gcr.io` is no registry: Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io` (GCR_PUSH_REGISTRY)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("registry", "us.pkg.dev")]), @"
    error: an input cannot be used
      `registry`: `us.pkg.dev` is no registry: Artifact Registry's hosts look like `us-docker.pkg.dev` (GCR_PUSH_REGISTRY)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("registry", "https://gcr.io/")]), @"
    error: an input cannot be used
      `registry`: `https://gcr.io/` is no registry: give the host alone, without `https://` (GCR_PUSH_REGISTRY)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("registry", "gcr.io/acme")]), @"
    error: an input cannot be used
      `registry`: `gcr.io/acme` is no registry: give the host alone; project and name have variables of their own (GCR_PUSH_REGISTRY)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("registry", "registry.example:http")]), @"
    error: an input cannot be used
      `registry`: `registry.example:http` is no registry: the port is no number from 1 to 65535 (GCR_PUSH_REGISTRY)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("registry", "not a host")]), @"
    error: an input cannot be used
      `registry`: `not a host` is no registry: it is no host name (GCR_PUSH_REGISTRY)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "fr.gcr.io/acme/app:1")]), @"
    error: an input cannot be used
      `tags`: `fr.gcr.io` is no registry: Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io` (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "acme/app:1")]), @"
    error: an input cannot be used
      `tags`: `acme/app:1` names no registry: write it in front, as in `gcr.io/PROJECT/NAME:TAG`; a tag alone holds no `/` (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn an_artifact_registry_host_without_a_repository_is_told() {
    insta::assert_snapshot!(with(&[("registry", "us-docker.pkg.dev")]), @"
    error: an input is missing
      `repository`: `us-docker.pkg.dev` needs the name of an Artifact Registry repository (GCR_PUSH_REPOSITORY)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "us-docker.pkg.dev/acme/app:1")]), @"
    error: an input cannot be used
      `tags`: image name `acme/app` would be refused: on pkg.dev an image is named `PROJECT/REPOSITORY/NAME` (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("repository", "containers")]), @"
    error: an input cannot be used
      `repository`: it is for Artifact Registry, and no item of `registry` is a `LOCATION-docker.pkg.dev` host (GCR_PUSH_REPOSITORY)

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn a_tag_that_a_registry_would_refuse_is_told() {
    let long = "x".repeat(129);
    insta::assert_snapshot!(with(&[("tags", &long)]), @"
    error: an input cannot be used
      `tags`: tag `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` would be refused: it is longer than 128 characters (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "feature/login")]), @"
    error: an input cannot be used
      `tags`: `feature/login` names no registry: write it in front, as in `gcr.io/PROJECT/NAME:TAG`; a tag alone holds no `/` (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "1.0+build")]), @"
    error: an input cannot be used
      `tags`: tag `1.0+build` would be refused: only letters, digits, `_`, `.` and `-` may stand in a tag (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "-1")]), @"
    error: an input cannot be used
      `tags`: tag `-1` would be refused: it starts with `.` or `-` (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "gcr.io/acme/app:größe")]), @"
    error: an input cannot be used
      `tags`: tag `größe` would be refused: only letters, digits, `_`, `.` and `-` may stand in a tag (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn a_name_that_a_registry_would_refuse_is_told() {
    insta::assert_snapshot!(with(&[("name", "App")]), @"
    error: an input cannot be used
      `name`: image name `App` would be refused: registries take lower case only (GCR_PUSH_NAME)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("name", "team app")]), @"
    error: an input cannot be used
      `name`: image name `team app` would be refused: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-` (GCR_PUSH_NAME)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("name", &"x".repeat(250))]), @"
    error: an input cannot be used
      `name`: image name `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` would be refused: with its host it is longer than 255 characters (GCR_PUSH_NAME)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("project_id", "Acme"), ("name", "a")]), @"
    error: an input cannot be used
      `project_id`: project `Acme` would be refused: registries take lower case only (GCR_PUSH_PROJECT_ID)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "gcr.io/acme/App:1")]), @"
    error: an input cannot be used
      `tags`: image name `acme/App` would be refused: registries take lower case only (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
    insta::assert_snapshot!(with(&[("tags", "gcr.io/app:1")]), @"
    error: an input cannot be used
      `tags`: image name `app` would be refused: on gcr.io an image is named `PROJECT/NAME` (GCR_PUSH_TAGS)

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn two_faults_at_once_are_both_told() {
    let told = with(&[
        ("tags", "UPPER!"),
        ("registry", "fr.gcr.io"),
        ("credentials_json", "{}"),
    ]);
    insta::assert_snapshot!(told, @"
    error: three inputs cannot be used
      `tags`: tag `UPPER!` would be refused: only letters, digits, `_`, `.` and `-` may stand in a tag (GCR_PUSH_TAGS)
      `registry`: `fr.gcr.io` is no registry: Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io` (GCR_PUSH_REGISTRY)
      `credentials_json`: it is JSON, but no service-account key: `type` is missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push --help` tells what every variable means
    ");
}

/// A push of an archive that gives itself these names.
fn named(names: &[&str]) -> String {
    let google = Google::start();
    let run = google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&Picture::new("app", 1), names)]),
        )
        .set("image", "docker-archive:image.tar");
    refused(&google, run, 2)
}

#[test]
fn names_in_the_archive_that_a_registry_would_refuse_are_told_with_the_way_out() {
    insta::assert_snapshot!(named(&[]), @"
    error: cannot tell where to push the image
      caused by: the image has no name: set `name`, or give a full reference in `tags`

    hint: an image that is saved or asked for by its ID brings no name of its own
    ");
    insta::assert_snapshot!(named(&["App:1"]), @"
    error: cannot tell where to push the image
      caused by: image name `acme/App` would be refused: registries take lower case only

    hint: the name is the archive's own: choose another with `name`
    ");
    insta::assert_snapshot!(named(&["app:1.0+build"]), @"
    error: cannot tell where to push the image
      caused by: tag `1.0+build` would be refused: only letters, digits, `_`, `.` and `-` may stand in a tag

    hint: the tag is the archive's own: choose another with `tags`
    ");
    insta::assert_snapshot!(named(&[&format!("{}:1", "x".repeat(250))]), @"
    error: cannot tell where to push the image
      caused by: image name `acme/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` would be refused: with its host it is longer than 255 characters

    hint: the name is the archive's own: choose another with `name`
    ");
    insta::assert_snapshot!(named(&[&format!("app:{}", "x".repeat(129))]), @"
    error: cannot tell where to push the image
      caused by: tag `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` would be refused: it is longer than 128 characters

    hint: the tag is the archive's own: choose another with `tags`
    ");
    insta::assert_snapshot!(named(&["app\n::error::x:\x1b[31m"]), @r"
    error: cannot tell where to push the image
      caused by: image name `acme/app\n::error::x` would be refused: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`

    hint: the name is the archive's own: choose another with `name`
    ");
    insta::assert_snapshot!(named(&["../../etc:1"]), @"
    error: cannot tell where to push the image
      caused by: image name `acme/../etc` would be refused: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`

    hint: the name is the archive's own: choose another with `name`
    ");
    insta::assert_snapshot!(named(&[":"]), @"
    error: cannot tell where to push the image
      caused by: image name `acme/` would be refused: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`

    hint: the name is the archive's own: choose another with `name`
    ");
}

#[test]
fn names_in_the_archive_do_not_matter_where_others_are_given() {
    let google = Google::start();
    google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&Picture::new("app", 1), &["App:!"])]),
        )
        .set("image", "image.tar")
        .set("name", "app")
        .set("tags", "1")
        .succeeds();
}
