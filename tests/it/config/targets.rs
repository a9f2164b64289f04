//! Tests of destinations, and of the targets of `list`.

use super::variables::*;
use gcr_push::commands::list::ListTarget;
use gcr_push::oci::reference::Endpoint;
use gcr_push::push::targets::Destinations;

fn endpoint(host: &str) -> Endpoint {
    host.parse().unwrap()
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn at(destinations: &Destinations, host: &str) -> String {
    destinations
        .at(&endpoint(host), Some("from-source"))
        .unwrap()
        .to_string()
}

#[test]
fn default_destination_is_gcr_io_in_the_key_project() {
    let destinations = Variables::push().request().destinations;
    assert_eq!(texts(&destinations.endpoints), ["gcr.io"]);
    assert!(destinations.references.is_empty() && destinations.tags.is_empty());
    assert_eq!(at(&destinations, "gcr.io"), "gcr.io/acme/from-source");
}

#[test]
fn full_references_and_bare_tags_can_be_mixed() {
    let destinations = Variables::push()
        .with(
            "GCR_PUSH_TAGS",
            "gcr.io/acme/api:1.2\n eu.gcr.io/acme/api , 1.2,latest\n1.2\neu.gcr.io/acme/api:latest",
        )
        .with("GCR_PUSH_NAME", "api")
        .request()
        .destinations;
    assert_eq!(
        texts(&destinations.references),
        ["gcr.io/acme/api:1.2", "eu.gcr.io/acme/api:latest"]
    );
    assert_eq!(destinations.tags, ["1.2", "latest"]);
    assert_eq!(texts(&destinations.endpoints), ["gcr.io"]);
    assert_eq!(texts(&destinations.hosts()), ["gcr.io", "eu.gcr.io"]);
}

#[test]
fn full_references_alone_are_the_only_destinations() {
    let run = Variables::push().with("GCR_PUSH_TAGS", "us-docker.pkg.dev/acme/r/api:1");
    let destinations = run.request().destinations;
    assert!(destinations.endpoints.is_empty());
    let run = run
        .with("GCR_PUSH_REGISTRY", "gcr.io")
        .with("GCR_PUSH_REPOSITORY", "r");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `registry`: nothing would go to it, because every item of `tags` is a full reference: add its references to `tags`, or add a tag without `/` (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn digest_is_no_destination() {
    let digest = gcr_push::oci::digest::Digest::of(b"x");
    let run = Variables::push().with("GCR_PUSH_TAGS", format!("gcr.io/acme/api:1@{digest}"));
    assert!(run.refused().contains("you can set only a tag"));
}

#[test]
fn reference_ending_in_at_is_pushed_by_digest() {
    let run = |tags: &str| Variables::push().with("GCR_PUSH_TAGS", tags);
    let references = run("gcr.io/acme/api@,gcr.io/acme/web")
        .request()
        .destinations
        .references;
    assert_eq!(
        texts(&references),
        ["gcr.io/acme/api", "gcr.io/acme/web:latest"]
    );
    assert!(
        run("gcr.io/acme/api:1@")
            .refused()
            .contains("keep one of them")
    );
}

#[test]
fn only_artifact_registry_needs_a_repository() {
    let run = Variables::push().with("GCR_PUSH_REGISTRY", "us-docker.pkg.dev");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input is missing
      `repository`: `us-docker.pkg.dev` needs the name of an Artifact Registry repository (GCR_PUSH_REPOSITORY)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = run.with("GCR_PUSH_REPOSITORY", "containers");
    let destinations = run.request().destinations;
    assert_eq!(
        at(&destinations, "us-docker.pkg.dev"),
        "us-docker.pkg.dev/acme/containers/from-source"
    );
    let run = run.with("GCR_PUSH_REGISTRY", "gcr.io, registry.example.com");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `repository`: it is for Artifact Registry, but no item of `registry` is a `LOCATION-docker.pkg.dev` host (GCR_PUSH_REPOSITORY)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn project_is_explicit_else_of_key_else_ambient() {
    let run = Variables::push()
        .with("CLOUDSDK_CORE_PROJECT", "third")
        .with("GOOGLE_CLOUD_PROJECT", "second");
    let project = |run: &Variables| run.request().destinations.parts.project.unwrap();
    assert_eq!(project(&run), "acme");
    let run = run
        .without("GCR_PUSH_CREDENTIALS_JSON")
        .with("GCR_PUSH_ACCESS_TOKEN", "ya29.x");
    assert_eq!(project(&run), "second");
    let run = run.without("GOOGLE_CLOUD_PROJECT");
    assert_eq!(project(&run), "third");
    let run = run.with("GCR_PUSH_PROJECT_ID", "first");
    assert_eq!(project(&run), "first");
    let run = run
        .without("GCR_PUSH_PROJECT_ID")
        .without("CLOUDSDK_CORE_PROJECT");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input is missing
      `project_id`: `gcr.io` needs a project (GCR_PUSH_PROJECT_ID)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn ambient_project_is_for_google_only() {
    let run = Variables::push().with("GCR_PUSH_REGISTRY", "gcr.io,registry.example.com");
    let destinations = run.request().destinations;
    assert_eq!(at(&destinations, "gcr.io"), "gcr.io/acme/from-source");
    assert_eq!(
        at(&destinations, "registry.example.com"),
        "registry.example.com/from-source"
    );
    let destinations = run
        .with("GCR_PUSH_PROJECT_ID", "team")
        .request()
        .destinations;
    assert_eq!(
        at(&destinations, "registry.example.com"),
        "registry.example.com/team/from-source"
    );
}

#[test]
fn ambient_project_is_checked_where_it_is_used() {
    let run = Variables::bare()
        .with("GCR_PUSH_IMAGE", "image.tar")
        .with("GCR_PUSH_ACCESS_TOKEN", "ya29.x")
        .with("GCR_PUSH_TAGS", "gcr.io/acme/api:1")
        .with("GOOGLE_CLOUD_PROJECT", "My Project");
    assert!(run.result().is_ok());
    let run = run.without("GCR_PUSH_TAGS");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `GOOGLE_CLOUD_PROJECT`: project `My Project` is not valid: registries accept only lower case

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn invalid_parts_are_reported_by_their_own_names() {
    let run = Variables::push()
        .with("GCR_PUSH_REGISTRY", "us-docker.pkg.dev")
        .with("GCR_PUSH_PROJECT_ID", "Acme")
        .with("GCR_PUSH_REPOSITORY", "a/b")
        .with("GCR_PUSH_NAME", "Api");
    insta::assert_snapshot!(run.refused(), @"
    error: three inputs cannot be used
      `project_id`: project `Acme` is not valid: registries accept only lower case (GCR_PUSH_PROJECT_ID)
      `repository`: repository `a/b` is not valid: set it to the repository only, without `/` (GCR_PUSH_REPOSITORY)
      `name`: image name `Api` is not valid: registries accept only lower case (GCR_PUSH_NAME)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = Variables::push().with("GCR_PUSH_NAME", "a".repeat(250));
    assert!(run.refused().contains("longer than 255 characters"));
    let run = Variables::push().with("GCR_PUSH_NAME", "api:1.2");
    insta::assert_snapshot!(run.refused(), @"
    error: an input cannot be used
      `name`: image name `api:1.2` is not valid: set it to the name only; put a tag in `tags` (GCR_PUSH_NAME)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn tag_that_looks_like_an_image_gets_a_hint() {
    let run = Variables::push().with("GCR_PUSH_TAGS", "api:1.2");
    insta::assert_snapshot!(run.refused(), @"
    error: an input cannot be used
      `tags`: tag `api:1.2` is not valid: a tag cannot contain `:`; write two tags as two items (GCR_PUSH_TAGS)

    hint: a full reference begins with its registry, as in `gcr.io/PROJECT/NAME:TAG`; an item without `/` is only a tag
    ");
}

#[test]
fn blank_separates_nothing() {
    for tags in ["gcr.io/acme/app:1 eu.gcr.io/acme/app:1", "1 latest"] {
        let run = Variables::push().with("GCR_PUSH_TAGS", tags);
        let fault = run.refused();
        let expected =
            format!("`tags`: `{tags}` is one item: put a comma or a line break between two items");
        assert!(fault.contains(&expected), "{fault}");
    }
}

#[test]
fn separators_only_are_an_empty_list() {
    let run = Variables::push()
        .with("GCR_PUSH_TAGS", ",")
        .with("GCR_PUSH_REGISTRY", ",,");
    insta::assert_snapshot!(run.refused(), @r"
    error: two inputs cannot be used
      `tags`: it has only separators, and no item (GCR_PUSH_TAGS)
      `registry`: it has only separators, and no item (GCR_PUSH_REGISTRY)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn domain_scoped_project_is_accepted() {
    let run = Variables::push().with("GCR_PUSH_PROJECT_ID", "example.com:shop");
    assert_eq!(
        at(&run.request().destinations, "gcr.io"),
        "gcr.io/example.com/shop/from-source"
    );
}

#[test]
fn list_shows_projects_without_name_and_tags_with_one() {
    let run = Variables::bare()
        .argument(CommandName::List)
        .with("GCR_PUSH_REGISTRY", "gcr.io,us-docker.pkg.dev")
        .with("GCR_PUSH_PROJECT_ID", "example.com:shop")
        .with("GCR_PUSH_REPOSITORY", "r");
    let images = |host: &str, path: &str| ListTarget::Images {
        endpoint: endpoint(host),
        path: path.to_owned(),
    };
    assert_eq!(
        run.list().listings,
        [
            images("gcr.io", "example.com/shop"),
            images("us-docker.pkg.dev", "example.com/shop/r")
        ]
    );
    let run = run.with("GCR_PUSH_NAME", "api");
    let ListTarget::Tags(image) = &run.list().listings[1] else {
        panic!("tags were asked for");
    };
    assert_eq!(
        image.to_string(),
        "us-docker.pkg.dev/example.com/shop/r/api"
    );
}

#[test]
fn list_takes_each_image_of_references_once() {
    let run = Variables::bare()
        .argument(CommandName::List)
        .with("GCR_PUSH_TAGS", "gcr.io/acme/api:1,gcr.io/acme/api:2");
    assert_eq!(
        run.list().listings,
        [ListTarget::Tags("gcr.io/acme/api".parse().unwrap())]
    );
}

#[test]
fn list_needs_a_project_or_an_image() {
    let run = Variables::bare()
        .argument(CommandName::List)
        .with("GCR_PUSH_REGISTRY", "gcr.io,ghcr.io");
    insta::assert_snapshot!(run.refused(), @"
    error: two inputs are missing
      `project_id`: `gcr.io` needs a project (GCR_PUSH_PROJECT_ID)
      `name`: `ghcr.io` does not list its images, only the tags of one image (GCR_PUSH_NAME)

    hint: `gcr-push list --help` describes every variable
    ");
}

#[test]
fn list_takes_any_path_and_projects_without_repository() {
    let run = |registry: &str| {
        Variables::bare()
            .argument(CommandName::List)
            .with("GCR_PUSH_REGISTRY", registry)
    };
    let paths = |run: Variables| {
        let listings = run.list().listings;
        let paths = listings.iter().map(|listing| listing.path().to_owned());
        paths.collect::<Vec<_>>()
    };
    let both = run("registry.example.com,us-docker.pkg.dev").with("GCR_PUSH_PROJECT_ID", "acme");
    assert_eq!(paths(both), ["acme", "acme"]);
    assert_eq!(paths(run("registry.example.com")), [""]);
    let refused = run("us-docker.pkg.dev")
        .with("GCR_PUSH_PROJECT_ID", "acme")
        .with("GCR_PUSH_NAME", "api")
        .refused();
    assert!(
        refused.contains("needs the name of an Artifact Registry repository"),
        "{refused}"
    );
}
