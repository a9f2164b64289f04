//! The mirror file: its images and destinations.

mod entry;
mod file;
pub(super) mod shard;

use std::io;

use super::environment::Environment;
use super::kubernetes;
use crate::commands::mirror::{MirrorDestination, MirrorFile};
use crate::config::targets::read_only;
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::userinfo::without_logins;
use crate::oci::reference::{Reference, ReferenceError};
use entry::{Here, KUBERNETES, entry};
use file::File;

const VARIABLE: &str = "config";
const DEFAULT_FILE: &str = "gcr-push.yaml";

/// Reads the file that `config` names, and the shard of this runner.
pub(super) fn mirror(environment: &Environment<'_>) -> Option<MirrorFile> {
    let shard = shard::shard(environment);
    let name = environment.inputs.config.text().unwrap_or(DEFAULT_FILE);
    let path = environment
        .errors
        .accept_path(VARIABLE, name, environment.paths.input(name))?;
    let text = match environment.paths.files().read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let what = quoted(name);
            if error.kind() == io::ErrorKind::NotFound && !environment.inputs.config.is_set() {
                environment.errors.missing(
                    VARIABLE,
                    format!(
                        "there is no {what} here: list in it \
                                                              which images to copy where, or set \
                                                              another file"
                    ),
                );
            } else {
                environment
                    .errors
                    .invalid(VARIABLE, format!("could not read {what}: {error}"));
            }
            return None;
        }
    };
    let reported = |errors: Vec<String>| {
        for fault in errors {
            environment
                .errors
                .invalid(VARIABLE, format!("{}: {fault}", quoted(name)));
        }
    };
    let file = read(&text).map_err(reported).ok()?;
    let cluster = if file.images.iter().any(|image| image.from == KUBERNETES) {
        Some(kubernetes::access(environment, "`from: kubernetes`")?)
    } else {
        None
    };
    let here = Here {
        cluster: cluster.as_ref(),
        path: &|path| {
            let found = environment.paths.input(path);
            found.map_err(|fault| fault.about(&quoted(path)))
        },
    };
    let request = check(file, &here).map_err(reported).ok()?;
    Some(MirrorFile { shard, ..request })
}

/// Reads `require_complete`, which is for dry runs: a run that copies fails anyway if it leaves an
/// image behind.
pub(super) fn require_complete(environment: &Environment<'_>, dry_run: bool) -> bool {
    let input = &environment.inputs.require_complete;
    let asked = input.switch();
    if asked && !dry_run {
        input.refuse_without("`dry_run: true`");
    }
    asked
}

/// Parses the YAML of a mirror file.
fn read(text: &str) -> Result<File, Vec<String>> {
    serde_yaml::from_str(text).map_err(|error| vec![with_advice(&error.to_string())])
}

/// Checks a mirror file, without a shard.
///
/// # Errors
///
/// With all faults of the file.
fn check(file: File, here: &Here<'_>) -> Result<MirrorFile, Vec<String>> {
    let mut faults = Vec::new();
    if file.destinations.is_empty() {
        faults.push(
            "`destinations` is empty: name a registry with a path, such as `eu.gcr.io/acme-prod`"
                .to_owned(),
        );
    }
    if file.images.is_empty() {
        faults.push("`images` is empty".to_owned());
    }
    let mut destinations = Vec::new();
    for text in &file.destinations {
        match destination(text) {
            Ok(destination) if destinations.contains(&destination) => {}
            Ok(destination) => destinations.push(destination),
            Err(fault) => faults.push(fault),
        }
    }
    let mut entries = Vec::new();
    for (number, image) in file.images.into_iter().enumerate() {
        let from = quoted(&image.from);
        match entry(image, &file.defaults, here) {
            Ok(entry) => entries.push(entry),
            Err(fault) => {
                faults.push(format!("image {} of the list, {from}: {fault}", number + 1));
            }
        }
    }
    if faults.is_empty() {
        Ok(MirrorFile {
            destinations,
            entries,
            shard: None,
        })
    } else {
        Err(faults)
    }
}

/// The parser's message without logins, because it may quote any value. For a mistyped key it
/// suggests the nearest one.
fn with_advice(error: &str) -> String {
    let error = &without_logins(error);
    let names: Vec<_> = error.split('`').skip(1).step_by(2).collect();
    if error.contains("unknown field")
        && let [typed, known @ ..] = names.as_slice()
        && let Some(near) = nearest(typed, known.iter().copied())
    {
        return format!("{error}; did you mean `{near}`?");
    }
    error.to_owned()
}

/// Parses a destination `HOST/PATH`.
fn destination(text: &str) -> Result<MirrorDestination, String> {
    let fault = || {
        format!(
            "{} is not a destination: expected a registry and a path, such as \
             `eu.gcr.io/acme-prod`",
            quoted(text)
        )
    };
    if let Some(fault) = ReferenceError::of_text(text) {
        return Err(fault.to_string());
    }
    let (host, path) = text.split_once('/').ok_or_else(fault)?;
    // Only a domain-scoped project has a colon: `example.com:project`.
    if path
        .split_once(':')
        .is_some_and(|(domain, _)| !domain.contains('.'))
    {
        return Err(fault());
    }
    // An example name shows whether a name is valid below the path.
    let below: Reference = format!("{host}/{path}/name")
        .parse()
        .map_err(|error| match error {
            ReferenceError::Host(..) => ReferenceError::to_string(&error),
            _ => fault(),
        })?;
    if below.endpoint.is_read_only() {
        return Err(read_only(&below.endpoint));
    }
    let path = below.repository.strip_suffix("/name").ok_or_else(fault)?;
    Ok(MirrorDestination {
        path: path.to_owned(),
        endpoint: below.endpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::mirror::{MirrorSource, WorkloadSource};
    use crate::kubernetes::ClusterAccess;
    use crate::oci::platform::Platforms;

    const FILE: &str = r#"
destinations: [eu.gcr.io/acme-prod, us-docker.pkg.dev/acme-prod/mirror]
defaults: { platforms: [linux/amd64], referrers: true, best_effort: false }
images:
  - from: registry.gitlab.com/acme/api
    tags: { semver: ">=2.0", newest: 20, exclude: ["*-rc*"] }
  - from: registry.gitlab.com/acme/**        # every repository below
    to: "{path}"
    tags: ["latest", "v*"]
    platforms: [linux/arm64]
    best_effort: true
  - from: busybox:1.36
"#;

    fn parse(text: &str) -> Result<MirrorFile, Vec<String>> {
        let cluster = ClusterAccess::of_pod("10.0.0.1", "443", None);
        let here = Here {
            cluster: Some(&cluster),
            path: &|path| Ok(path.into()),
        };
        check(read(text)?, &here)
    }

    #[test]
    fn workloads_are_a_source_with_keys_of_their_own() {
        let text = "destinations: [gcr.io/p]\nimages:\n  - { from: kubernetes, namespaces: [shop], exclude: [\"gke.gcr.io/*\"] }\n  - { from: manifests, paths: [\"out/**/*.yaml\"], to: \"{host}/{path}\" }\n";
        let request = parse(text).unwrap();
        let [cluster, files] = request.entries.as_slice() else {
            panic!("two entries")
        };
        assert!(matches!(
            &cluster.source,
            MirrorSource::Workloads { from: WorkloadSource::Cluster { namespaces, .. }, exclude }
                if *namespaces == ["shop"] && exclude.len() == 1
        ));
        assert_eq!(cluster.to.apply("h", "a/b", "1").0, "a/b");
        assert_eq!(files.source.to_string(), "`out/**/*.yaml`");
        assert_eq!(files.to.apply("h:1", "a/b", "1").0, "h-1/a/b");
        let faults = [
            "{ from: kubernetes, tags: [a] }",
            "{ from: kubernetes, paths: [a] }",
            "{ from: kubernetes, namespaces: [] }",
            "{ from: kubernetes, namespaces: [A_b] }",
            "{ from: kubernetes, exclude: [\"/(/\"] }",
            "{ from: manifests }",
            "{ from: manifests, namespaces: [a] }",
            "{ from: r.example/a, exclude: [a] }",
        ];
        let faults = faults.map(|entry| {
            let text = format!("destinations: [gcr.io/p]\nimages: [{entry}]\n");
            parse(&text).unwrap_err().join("\n")
        });
        insta::assert_snapshot!(faults.join("\n"), @"
        image 1 of the list, `kubernetes`: `tags` is only for a repository; a deployed image has its tag already
        image 1 of the list, `kubernetes`: `paths` is only for `from: manifests`
        image 1 of the list, `kubernetes`: `namespaces` is empty: remove it to read all namespaces
        image 1 of the list, `kubernetes`: `namespaces`: `A_b` is not a valid namespace: use lower-case letters, digits and `-`, with a letter or digit at each end
        image 1 of the list, `kubernetes`: `exclude`: `/(/` is not a valid expression: found open group without closing ')'
        image 1 of the list, `manifests`: name the YAML files in `paths`, as in `paths: [rendered/*.yaml]`
        image 1 of the list, `manifests`: `namespaces` is only for `from: kubernetes`
        image 1 of the list, `r.example/a`: `exclude` is only for `from: kubernetes` and `from: manifests`; for a repository, exclude tags with `tags`
        ");
    }

    #[test]
    fn file_maps_sources_to_destinations() {
        let request = parse(FILE).unwrap();
        let destinations: Vec<_> = request
            .destinations
            .iter()
            .map(|h| format!("{}/{}", h.endpoint, h.path))
            .collect();
        assert_eq!(
            destinations,
            ["eu.gcr.io/acme-prod", "us-docker.pkg.dev/acme-prod/mirror"]
        );
        let [api, all, busybox] = request.entries.as_slice() else {
            panic!("three entries")
        };
        assert!(
            matches!(&api.source, MirrorSource::Repository(r) if r.name() == "registry.gitlab.com/acme/api")
        );
        assert_eq!(api.tags.newest, Some(20));
        assert!(matches!(&all.source, MirrorSource::Prefix(_, path) if path == "acme"));
        assert!(all.best_effort && !api.best_effort && api.referrers);
        assert_eq!(
            all.platforms,
            Platforms::Only(vec!["linux/arm64".parse().unwrap()])
        );
        assert_eq!(
            busybox.platforms,
            Platforms::Only(vec!["linux/amd64".parse().unwrap()])
        );
        assert!(
            matches!(&busybox.source, MirrorSource::Image(r) if r.to_string() == "docker.io/library/busybox:1.36")
        );
    }

    #[test]
    fn numeric_tag_is_taken_as_written() {
        let text =
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    tags: [1.10, 7]\n";
        let request = parse(text).unwrap();
        assert_eq!(request.entries[0].tags.literal().unwrap(), ["1.10", "7"]);
    }

    #[test]
    fn each_mistake_is_reported_with_place_and_suggestion() {
        let faults = [
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    tgas: [a]\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    tags: { newst: 3 }\n",
            "destinations: [gcr.io/p:1]\nimages:\n  - from: r.example/a\n",
            "destinations: []\nimages:\n  - from: r.example/a\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: docker.io/acme/**\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a:1\n    tags: [b]\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    tags: { newest: 3 }\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    tags: { semver: new }\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    tags: [\"/(/\"]\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    to: \"{nam}\"\n",
            "destinations: [gcr.io/p]\nimages:\n  - from: r.example/a\n    tags: { by: date }\n    platforms: []\n  - from: nowhere/**\n  - from: r.example/a\n    platforms: []\n",
            "destinations: [gcr.io/p]\nimages:\n  - { from: r.example/a, to: \"Up/{name}\" }\n  - { from: r.example/a, to: \"a:{tag}/x\" }\n  - { from: r.example/a, to: \"{path}/{name}:v{tag}\" }\n",
            "destinations: [gcr.io/p]\nimages: [r.example/a]\n",
            "- gcr.io/p\n",
            "images: 3\n",
            "",
        ];
        let rendered: Vec<_> = faults
            .iter()
            .flat_map(|text| parse(text).unwrap_err())
            .collect();
        insta::assert_snapshot!(rendered.join("\n"), @r#"
        images[0]: unknown field `tgas`, expected one of `from`, `to`, `tags`, `namespaces`, `paths`, `exclude`, `platforms`, `referrers`, `best_effort` at line 4 column 5; did you mean `tags`?
        images[0].tags: unknown field `newst`, expected one of `include`, `exclude`, `semver`, `newest`, `by` at line 4 column 13; did you mean `newest`?
        `gcr.io/p:1` is not a destination: expected a registry and a path, such as `eu.gcr.io/acme-prod`
        `destinations` is empty: name a registry with a path, such as `eu.gcr.io/acme-prod`
        image 1 of the list, `docker.io/acme/**`: docker.io cannot list the repositories below a path: name each repository
        image 1 of the list, `r.example/a:1`: it has a tag and also `tags`: keep one of them
        image 1 of the list, `r.example/a`: `newest` requires `by: semver` or `by: date`
        image 1 of the list, `r.example/a`: `semver`: `new` is not a range of versions: unexpected character 'n' while parsing major version number
        image 1 of the list, `r.example/a`: `tags`: `/(/` is not a valid expression: found open group without closing ')'
        image 1 of the list, `r.example/a`: `to`: `{nam}` is not one of `{name}`, `{path}`, `{host}` and `{tag}`
        image 1 of the list, `r.example/a`: `by` requires `newest`
        image 2 of the list, `nowhere/**`: `nowhere` is not a registry: expected its host, as in `registry.example.com/team/**`
        image 3 of the list, `r.example/a`: `platforms` is empty: remove it, or set it to `all`
        image 1 of the list, `r.example/a`: `to`: image name `Up/name` is not valid: registries accept only lower case
        image 2 of the list, `r.example/a`: `to`: tag `tag/x` is not valid: a tag cannot contain `/`
        images[0]: invalid type: string "r.example/a", expected an image, as in `from: registry.example.com/team/api` at line 2 column 10
        invalid type: sequence, expected `destinations` and `images`
        images: invalid type: integer `3`, expected a sequence at line 1 column 9
        missing field `destinations`
        "#);
    }

    #[test]
    fn schema_has_the_keys_of_the_program() {
        let schema = include_str!("../../schema/gcr-push.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let image = "/properties/images/items/properties";
        for (text, place) in [
            ("x: 1", "/properties".to_owned()),
            (
                "defaults: {x: 1}",
                "/properties/defaults/properties".to_owned(),
            ),
            ("images: [{x: 1}]", image.to_owned()),
            (
                "images: [{tags: {x: 1}}]",
                format!("{image}/tags/oneOf/1/properties"),
            ),
        ] {
            let error = parse(text).unwrap_err().concat();
            let mut known: Vec<_> = error.split('`').skip(3).step_by(2).collect();
            known.sort_unstable();
            let keys = schema.pointer(&place).unwrap().as_object().unwrap();
            let mut keys: Vec<_> = keys.keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(known, keys, "{text}");
        }
    }

    #[test]
    fn example_file_is_valid() {
        parse(include_str!("../../deploy/gcr-push.yaml")).unwrap();
    }
}
