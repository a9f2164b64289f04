//! Files that make nodes pull from the destinations when a source is down.
//!
//! What a node is configured with says where the images of a registry are, not where each image is. So
//! what can be said is derived from the planned images: containerd and k3s find an image only if its
//! path at the destination ends in its path at the source, CRI-O and Podman know a place for each
//! repository, and only kustomize can change a tag.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::PlannedImage;
use crate::ci::output::{OutputError, write_file};
use crate::oci::platform::Platforms;
use crate::oci::reference::{Endpoint, Reference};
use crate::push::targets::Target;

/// The files, by their paths in the folder, and what cannot be expressed in one of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Failover {
    pub(super) files: BTreeMap<String, String>,
    pub(super) notes: Vec<String>,
}

/// Where the images of one repository are.
#[derive(Default)]
struct Moved {
    /// `host/repository` at the destinations, the required ones first.
    places: Vec<(Endpoint, String)>,
    /// The tag at the source and the one at the destinations, if they differ.
    tags: BTreeSet<(String, String)>,
    /// The number of tags.
    count: usize,
}

impl Moved {
    fn keeps_tags(&self) -> bool {
        self.tags.is_empty()
    }
}

type Repositories = BTreeMap<(Endpoint, String), Moved>;

/// Writes the files into a folder, which is made if it does not exist. Returns what cannot be expressed.
///
/// # Errors
///
/// If a file cannot be written.
pub(super) fn write<'a>(
    images: impl Iterator<Item = &'a PlannedImage>,
    plain: &[Endpoint],
    folder: &Path,
) -> Result<Vec<String>, OutputError> {
    let failover = failover(images, plain);
    for (name, text) in &failover.files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            let made = fs::create_dir_all(parent);
            made.map_err(|cause| OutputError::File(parent.to_owned(), cause))?;
        }
        write_file(&path, text)?;
    }
    Ok(failover.notes)
}

/// The files for some images. `plain` are the registries without TLS.
fn failover<'a>(images: impl Iterator<Item = &'a PlannedImage>, plain: &[Endpoint]) -> Failover {
    let mut repositories = Repositories::new();
    let mut notes = BTreeSet::new();
    let mut owners: BTreeMap<(Endpoint, String), BTreeSet<Endpoint>> = BTreeMap::new();
    for image in images {
        let Reference {
            endpoint,
            repository,
            tag,
            ..
        } = &image.source;
        let key = (endpoint.clone(), repository.clone());
        let moved = repositories.entry(key).or_default();
        moved.count += 1;
        let mut targets: Vec<&Target> = image.destinations.iter().map(|(one, _)| one).collect();
        targets.sort_by_key(|target| target.best_effort);
        for target in targets {
            let place = (target.endpoint.clone(), target.repository.clone());
            owners
                .entry(place.clone())
                .or_default()
                .insert(endpoint.clone());
            if !moved.places.contains(&place) {
                moved.places.push(place);
            }
            let (old, new) = (tag.as_deref().unwrap_or("latest"), target.tags.first());
            if let Some(new) = new.filter(|new| *new != old) {
                moved.tags.insert((old.to_owned(), new.clone()));
            }
        }
        if let Platforms::Only(_) = image.platforms {
            notes.insert(format!(
                "`{endpoint}/{repository}` is mirrored with only some of its platforms, so its \
                 digest can differ there: a pull by digest does not find it"
            ));
        }
    }
    for ((endpoint, repository), hosts) in owners.iter().filter(|(_, hosts)| hosts.len() > 1) {
        let hosts: Vec<_> = hosts.iter().map(|host| format!("`{host}`")).collect();
        notes.insert(format!(
            "`{endpoint}/{repository}` has images of {}: a node that pulls a tag of one there may \
             get the tag of the other; `to: \"{{host}}/{{path}}\"` separates them",
            hosts.join(" and ")
        ));
    }
    let scheme = |endpoint: &Endpoint| {
        let is_plain = endpoint.is_loopback() || plain.contains(endpoint);
        if is_plain { "http" } else { "https" }
    };
    let mut files = BTreeMap::new();
    let mirrors = prefixes(&repositories, &mut notes);
    let mut k3s = String::new();
    for (source, mirrors) in &mirrors {
        let url = |endpoint: &Endpoint| endpoint.url(scheme(endpoint)).to_string();
        let own = url(source).trim_end_matches("/v2/").to_owned();
        let mirrors = mirrors.iter();
        let mirrors: Vec<_> = mirrors
            .map(|(endpoint, prefix)| format!("{}{prefix}", url(endpoint)))
            .collect();
        let folder = match source.host().rsplit_once(':') {
            Some((name, port)) => format!("{name}_{port}_"),
            None => source.host().to_owned(),
        };
        files.insert(
            format!("containerd/certs.d/{folder}/hosts.toml"),
            hosts_toml(&own, &mirrors),
        );
        let _ = writeln!(k3s, "  {}:\n    endpoint:", yaml(source.host()));
        for endpoint in std::iter::once(&own).chain(&mirrors) {
            let _ = writeln!(k3s, "      - {}", yaml(endpoint.trim_end_matches('/')));
        }
    }
    if !k3s.is_empty() {
        let text = format!("{HEAD}# For /etc/rancher/k3s/registries.yaml.\nmirrors:\n{k3s}");
        files.insert("k3s/registries.yaml".to_owned(), text);
    }
    if let Some(text) = registries_conf(&repositories, &mirrors, &scheme, &mut notes) {
        files.insert("containers/registries.conf".to_owned(), text);
    }
    if let Some(text) = kustomization(&repositories, &mut notes) {
        files.insert("kustomize/kustomization.yaml".to_owned(), text);
    }
    let notes: Vec<_> = notes.into_iter().collect();
    if !notes.is_empty() {
        let text: String = notes.iter().map(|note| format!("- {note}\n")).collect();
        let text = format!("What these files cannot say:\n\n{text}");
        files.insert("NOTES.md".to_owned(), text);
    }
    Failover { files, notes }
}

const HEAD: &str = "# Written by `gcr-push mirror`. See docs/failover.md.\n";

/// For each source registry where its repositories are, as `endpoint` and the path before their own.
/// A repository whose path does not end in its own, or whose tags differ, is left out.
fn prefixes(
    repositories: &Repositories,
    notes: &mut BTreeSet<String>,
) -> BTreeMap<Endpoint, Vec<(Endpoint, String)>> {
    let mut mirrors: BTreeMap<Endpoint, Vec<(Endpoint, String)>> = BTreeMap::new();
    for ((source, path), moved) in repositories {
        for (endpoint, repository) in &moved.places {
            let prefix = repository.strip_suffix(path.as_str());
            let prefix = prefix.and_then(|prefix| prefix.strip_suffix('/'));
            match prefix.filter(|_| moved.keeps_tags()) {
                Some(prefix) => {
                    let known = mirrors.entry(source.clone()).or_default();
                    let mirror = (endpoint.clone(), prefix.to_owned());
                    if !known.contains(&mirror) {
                        known.push(mirror);
                    }
                }
                None => {
                    notes.insert(format!(
                        "containerd and k3s: `{source}/{path}` is `{endpoint}/{repository}` \
                         there, but they do not change path and tag: with `to: \"{{path}}\"`, they \
                         find it"
                    ));
                }
            }
        }
    }
    mirrors
}

/// <https://github.com/containerd/containerd/blob/main/docs/hosts.md>
fn hosts_toml(own: &str, mirrors: &[String]) -> String {
    let mut text = format!("{HEAD}server = \"{own}\"\n\n[host.\"{own}\"]\n");
    text.push_str("  capabilities = [\"pull\", \"resolve\"]\n");
    for mirror in mirrors {
        let mirror = mirror.trim_end_matches('/');
        let _ = write!(
            text,
            "\n[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n"
        );
    }
    text
}

/// The last place is the `location`, and those before it are its mirrors, because mirrors are tried
/// first and the source is to be the first of all.
/// <https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md>
fn registries_conf(
    repositories: &Repositories,
    mirrors: &BTreeMap<Endpoint, Vec<(Endpoint, String)>>,
    scheme: &dyn Fn(&Endpoint) -> &'static str,
    notes: &mut BTreeSet<String>,
) -> Option<String> {
    let mut text = String::new();
    let mut entry = |prefix: &str, own: &Endpoint, places: &[(Endpoint, String)]| {
        let location = |endpoint: &Endpoint, path: &str| {
            let insecure = if scheme(endpoint) == "http" {
                "insecure = true\n"
            } else {
                ""
            };
            let slash = if path.is_empty() { "" } else { "/" };
            format!("location = \"{endpoint}{slash}{path}\"\n{insecure}")
        };
        let Some(((endpoint, path), others)) = places.split_last() else {
            return;
        };
        let own_path = prefix.split_once('/').map_or("", |(_, path)| path);
        let _ = write!(text, "\n[[registry]]\nprefix = \"{prefix}\"\n");
        text.push_str(&location(endpoint, path));
        let _ = write!(text, "\n[[registry.mirror]]\n{}", location(own, own_path));
        for (endpoint, path) in others {
            let _ = write!(text, "\n[[registry.mirror]]\n{}", location(endpoint, path));
        }
    };
    let mut whole = BTreeSet::new();
    for (source, places) in mirrors {
        // One entry for the whole registry, if all of its repositories are in the same places.
        let mut own = repositories.iter().filter(|((one, _), _)| one == source);
        let is_whole = own.all(|((_, path), moved)| {
            let of = |(endpoint, prefix): &(Endpoint, String)| {
                (endpoint.clone(), format!("{prefix}/{path}"))
            };
            moved.keeps_tags() && moved.places == places.iter().map(of).collect::<Vec<_>>()
        });
        if is_whole {
            entry(source.host(), source, places);
            whole.insert(source);
        }
    }
    for ((source, path), moved) in repositories {
        if whole.contains(source) {
            continue;
        }
        if moved.keeps_tags() {
            entry(&format!("{source}/{path}"), source, &moved.places);
        } else {
            notes.insert(format!(
                "CRI-O and Podman: `{source}/{path}` has other tags there, but they do not change \
                 the tag"
            ));
        }
    }
    (!text.is_empty()).then(|| format!("{HEAD}# For /etc/containers/registries.conf.d/.\n{text}"))
}

/// <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/>
fn kustomization(repositories: &Repositories, notes: &mut BTreeSet<String>) -> Option<String> {
    let mut text = String::new();
    for ((source, path), moved) in repositories {
        let Some((endpoint, repository)) = moved.places.first() else {
            continue;
        };
        let new_tag = match moved.tags.iter().next() {
            Some((_, new)) if moved.count == 1 => Some(new),
            None => None,
            Some(_) => {
                notes.insert(format!(
                    "kustomize: several tags of `{source}/{path}` have other names there, but it \
                     accepts only one tag for each name"
                ));
                continue;
            }
        };
        if moved
            .places
            .iter()
            .any(|(one, other)| one == endpoint && other != repository)
        {
            notes.insert(format!(
                "kustomize: the tags of `{source}/{path}` are in several repositories there, but \
                 it accepts only one: `{endpoint}/{repository}`"
            ));
        }
        for name in spellings(source, path) {
            let _ = write!(
                text,
                "  - name: {}\n    newName: {}\n",
                yaml(&name),
                yaml(&format!("{endpoint}/{repository}"))
            );
            if let Some(tag) = new_tag {
                let _ = writeln!(text, "    newTag: {}", yaml(tag));
            }
        }
    }
    let head = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages:\n";
    (!text.is_empty()).then(|| format!("{HEAD}{head}{text}"))
}

/// The names under which manifests name a repository. Docker Hub's have short ones.
fn spellings(source: &Endpoint, path: &str) -> Vec<String> {
    let mut names = vec![format!("{source}/{path}")];
    if source.host() == "docker.io" {
        let short = path.strip_prefix("library/");
        names.extend(short.map(|short| format!("docker.io/{short}")));
        names.push(short.unwrap_or(path).to_owned());
    }
    names
}

/// A YAML string in double quotes. A checked name needs no escapes.
fn yaml(text: &str) -> String {
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::super::SyncState;
    use super::*;

    /// An image of the source `from` that is `to` at the destinations.
    fn image(from: &str, to: &[&str]) -> PlannedImage {
        let target = |to: &&str| {
            let to: Reference = to.parse().unwrap();
            Target {
                endpoint: to.endpoint,
                repository: to.repository,
                tags: to.tag.into_iter().collect(),
                best_effort: false,
            }
        };
        let states = to.iter().map(target).map(|to| (to, SyncState::UpToDate));
        PlannedImage {
            source: from.parse().unwrap(),
            name: from.to_owned(),
            destinations: states.collect(),
            platforms: Platforms::All,
            referrers: false,
            digest: None,
            running: None,
            used_by: None,
        }
    }

    /// The lines that are no comments and not empty.
    fn lines(text: &str) -> Vec<&str> {
        let lines = text.lines().map(str::trim_end);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect()
    }

    #[test]
    fn page_shows_what_is_written() {
        let page = include_str!("../../../docs/failover.md");
        let images = [image(
            "registry.example.com/acme/api:1",
            &["eu.gcr.io/acme-prod/registry.example.com/acme/api:1"],
        )];
        let written = failover(images.iter(), &[]);
        assert_eq!(written.notes, Vec::<String>::new());
        let blocks: Vec<_> = page.split("```").skip(1).step_by(2).collect();
        let blocks: Vec<_> = blocks
            .iter()
            .map(|block| lines(block.split_once('\n').unwrap().1))
            .collect();
        for (name, text) in &written.files {
            assert!(blocks.contains(&lines(text)), "{name}:\n{text}");
        }
        assert_eq!(written.files.len(), 4);
    }

    #[test]
    fn several_destinations_are_tried_in_their_order() {
        let images = [image(
            "docker.io/library/nginx:1",
            &[
                "gcr.io/a/library/nginx:1",
                "r.example:5000/b/library/nginx:1",
            ],
        )];
        let written = failover(images.iter(), &["r.example:5000".parse().unwrap()]);
        let hosts = &written.files["containerd/certs.d/docker.io/hosts.toml"];
        let hosts: Vec<_> = hosts.lines().filter(|line| line.contains("http")).collect();
        assert_eq!(
            hosts,
            [
                "server = \"https://registry-1.docker.io\"",
                "[host.\"https://registry-1.docker.io\"]",
                "[host.\"https://gcr.io/v2/a\"]",
                "[host.\"http://r.example:5000/v2/b\"]",
            ]
        );
        let conf = lines(&written.files["containers/registries.conf"]).join("\n");
        assert_eq!(
            conf,
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"r.example:5000/b\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"docker.io\"\n\
             [[registry.mirror]]\nlocation = \"gcr.io/a\""
        );
        let overlay = &written.files["kustomize/kustomization.yaml"];
        for name in ["docker.io/library/nginx", "docker.io/nginx", "nginx"] {
            assert!(
                overlay.contains(&format!("- name: \"{name}\"\n")),
                "{overlay}"
            );
        }
    }

    #[test]
    fn ambiguous_places_are_told() {
        let images = [
            image("quay.io/acme/api:1", &["gcr.io/p/acme/api:1"]),
            image("docker.io/acme/api:2", &["gcr.io/p/acme/api:2"]),
            PlannedImage {
                platforms: Platforms::Only(vec!["linux/amd64".parse().unwrap()]),
                ..image("quay.io/acme/web:1", &["gcr.io/p/acme/web:1"])
            },
        ];
        let written = failover(images.iter(), &[]);
        insta::assert_snapshot!(written.notes.join("\n"), @r#"
        `gcr.io/p/acme/api` has images of `docker.io` and `quay.io`: a node that pulls a tag of one there may get the tag of the other; `to: "{host}/{path}"` separates them
        `quay.io/acme/web` is mirrored with only some of its platforms, so its digest can differ there: a pull by digest does not find it
        "#);
    }
}
