//! Resolves the requested destinations to repositories and tags, with defaults from the source.

use crate::diagnostics::{Diagnostic, ExitCode};
use crate::oci::reference::Parts;
use crate::oci::reference::{Endpoint, HostKind, Reference, ReferenceError, check_tag, split_host};

/// The destination cannot be determined from the request and the names of the image.
#[derive(Debug, thiserror::Error)]
#[error("could not determine where to push the image")]
pub struct TargetError(#[source] pub ReferenceError);

impl Diagnostic for TargetError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self.0 {
            ReferenceError::NoName => {
                "an image that is saved or requested by its ID has no name, and an OCI layout \
                 often has only a tag"
            }
            ReferenceError::Tag(..) => "the tag comes from the archive: set another with `tags`",
            ReferenceError::Repository(..) => {
                "the name comes from the archive: set another with `name`"
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// A repository that the image is pushed to, and its tags there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host of the registry.
    pub endpoint: Endpoint,
    /// The repository path, without the host.
    pub repository: String,
    /// The tags, each once. Empty if the image is pushed by digest only.
    pub tags: Vec<String>,
    /// Whether other destinations do not wait for it and its failure does not fail the run.
    pub best_effort: bool,
}

impl Target {
    /// Returns `host/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.endpoint, self.repository)
    }

    /// Returns `host/repository:tag` for each tag, or `host/repository@` if there is none.
    pub fn names(&self) -> Vec<String> {
        names(&self.name(), &self.tags)
    }
}

/// Returns `repository:tag` for each tag, or `repository@` if there is none.
pub(crate) fn names(repository: &str, tags: &[String]) -> Vec<String> {
    match tags {
        [] => vec![format!("{repository}@")],
        tags => tags
            .iter()
            .map(|tag| format!("{repository}:{tag}"))
            .collect(),
    }
}

/// Returns the repositories that the image is pushed to, in the order of the request: full
/// references first, then the short tags at each registry. `names` are the names of the source
/// (`RepoTags`); one that begins with `:` is a tag without a name.
///
/// # Errors
///
/// If a part of a reference is missing, or a name of the source is invalid.
pub fn targets(
    destinations: &Destinations,
    names: &[String],
) -> Result<Vec<Target>, ReferenceError> {
    let mut targets = Vec::new();
    for reference in &destinations.references {
        add(&mut targets, reference, reference.tag.as_deref());
    }
    let source_names: Vec<_> = names.iter().map(|name| split(name)).collect();
    let source_name = source_names.iter().find_map(|(name, _)| *name);
    let source_tags: Vec<_> = source_names
        .iter()
        .filter(|(name, _)| name.is_none() || *name == source_name)
        .filter_map(|(_, tag)| *tag)
        .collect();
    let requested: Vec<_> = destinations.tags.iter().map(String::as_str).collect();
    let tags = if !requested.is_empty() {
        requested
    } else if !source_tags.is_empty() {
        source_tags
    } else {
        vec!["latest"]
    };
    for endpoint in &destinations.endpoints {
        let reference = destinations.at(endpoint, source_name)?;
        for tag in &tags {
            check_tag(tag)?;
            add(&mut targets, &reference, Some(tag));
        }
    }
    for (one, other) in same_repositories(&targets) {
        tracing::warn!("`{one}` and `{other}` are two names of one repository: remove one of them");
    }
    mark_best_effort(&mut targets, &destinations.best_effort)?;
    Ok(targets)
}

/// Returns pairs of targets that are the same repository: `gcr.io/P/…` is an alias of
/// `us-docker.pkg.dev/P/gcr.io/…`.
/// <https://cloud.google.com/artifact-registry/docs/transition/gcr-repositories>
fn same_repositories(targets: &[Target]) -> Vec<(String, String)> {
    let canonical = |target: &Target| match target.endpoint.kind() {
        HostKind::Gcr { location } => {
            let parts: Vec<_> = target.repository.split('/').collect();
            // A domain-scoped project ID has two components.
            let project = if parts[0].contains('.') { 2 } else { 1 };
            let (project, name) = parts.split_at(project.min(parts.len()));
            let host = [target.endpoint.host()];
            let path = [project, &host, name].concat().join("/");
            (format!("{location}-docker.pkg.dev"), path)
        }
        _ => (target.endpoint.host().to_owned(), target.repository.clone()),
    };
    let name = |target: &Target| format!("{}/{}", target.endpoint, target.repository);
    let mut pairs = Vec::new();
    for (number, other) in targets.iter().enumerate() {
        let same = targets[..number]
            .iter()
            .find(|one| canonical(one) == canonical(other));
        pairs.extend(same.map(|one| (name(one), name(other))));
    }
    pairs
}

/// Marks the best-effort targets. All tags of a repository have to be best-effort, or none.
fn mark_best_effort(
    targets: &mut [Target],
    best_effort: &BestEffort,
) -> Result<(), ReferenceError> {
    for target in targets.iter_mut() {
        target.best_effort = best_effort.hosts.contains(&target.endpoint);
    }
    for reference in &best_effort.references {
        let same = |target: &&mut Target| {
            target.endpoint == reference.endpoint && target.repository == reference.repository
        };
        let target = targets.iter_mut().find(same);
        let target = target.ok_or_else(|| ReferenceError::NoDestination(reference.to_string()))?;
        let tagged = |tag: &String| {
            let mut references = best_effort.references.iter();
            references.any(|r| r.name() == reference.name() && r.tag.as_ref() == Some(tag))
        };
        if reference.tag.is_some() && !target.tags.iter().all(tagged) {
            return Err(ReferenceError::PartOfRepository(reference.to_string()));
        }
        target.best_effort = true;
    }
    Ok(())
}

/// Adds a repository, or adds the tag to the target of the same repository.
fn add(targets: &mut Vec<Target>, reference: &Reference, tag: Option<&str>) {
    let same = |target: &&mut Target| {
        target.endpoint == reference.endpoint && target.repository == reference.repository
    };
    let tag = tag.map(str::to_owned);
    match targets.iter_mut().find(same) {
        Some(target) => target
            .tags
            .extend(tag.filter(|tag| !target.tags.contains(tag))),
        None => targets.push(Target {
            endpoint: reference.endpoint.clone(),
            repository: reference.repository.clone(),
            tags: tag.into_iter().collect(),
            best_effort: false,
        }),
    }
}

/// Splits a name of the source into name and tag, without the host and `library/`:
/// `docker.io/library/app:1` is the image `app` with the tag `1`.
fn split(name: &str) -> (Option<&str>, Option<&str>) {
    if let Some(tag) = name.strip_prefix(':').filter(|tag| !tag.is_empty()) {
        return (None, Some(tag));
    }
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let path = split_host(path).map_or(path, |(_, path)| path);
    (Some(path.strip_prefix("library/").unwrap_or(path)), tag)
}

/// The requested destinations: full references, and short tags for a repository at each endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Items of `tags` that are full references.
    pub references: Vec<Reference>,
    /// Items of `tags` without `/`. If empty, the tags of the source are used, or `latest`.
    pub tags: Vec<String>,
    /// The registries that the short tags are pushed to.
    pub endpoints: Vec<Endpoint>,
    /// `project_id`, `repository` and `name`, with the defaults from `config`. If there is no
    /// `name`, the name of the source is used.
    pub parts: Parts,
    /// The destinations whose failure does not fail the run.
    pub best_effort: BestEffort,
    /// Whether `parts.project` is a default from the key file or from a Google variable.
    pub project_is_default: bool,
}

impl Destinations {
    /// Returns the repository at `endpoint`. `name` is used if the request has no name.
    ///
    /// A default project is part of the path on Google's registries only.
    ///
    /// # Errors
    ///
    /// If a part is missing, or the name is invalid.
    pub fn at(&self, endpoint: &Endpoint, name: Option<&str>) -> Result<Reference, ReferenceError> {
        let mut parts = self.parts.clone();
        if self.project_is_default && !endpoint.is_google() {
            parts.project = None;
        }
        if parts.name.is_none() {
            parts.name = name.map(str::to_owned);
        }
        parts.at(endpoint)
    }

    /// Returns the registries that have to be reachable: those without a best-effort destination,
    /// or all if there are no others.
    pub fn required(&self) -> Vec<Endpoint> {
        let BestEffort { hosts, references } = &self.best_effort;
        let is_best_effort = |host: &Endpoint| {
            hosts.contains(host) || references.iter().any(|one| one.endpoint == *host)
        };
        let all = self.hosts();
        if all.iter().all(is_best_effort) {
            return all;
        }
        all.into_iter()
            .filter(|host| !is_best_effort(host))
            .collect()
    }

    /// Returns every destination registry once, in the order of the request.
    pub fn hosts(&self) -> Vec<Endpoint> {
        let mut hosts: Vec<Endpoint> = Vec::new();
        let references = self.references.iter().map(|reference| &reference.endpoint);
        for host in references.chain(&self.endpoints) {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        hosts
    }
}

/// The destinations that the others do not wait for, and whose failure does not fail the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BestEffort {
    /// Every destination on these hosts.
    pub hosts: Vec<Endpoint>,
    /// These repositories. A reference with a tag requires that the repository gets no other tags.
    pub references: Vec<Reference>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::reference::Parts;

    fn short(tags: &[&str], name: Option<&str>) -> Destinations {
        Destinations {
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            endpoints: vec!["gcr.io".parse().unwrap(), "eu.gcr.io".parse().unwrap()],
            parts: Parts {
                project: Some("p".to_owned()),
                repository: None,
                name: name.map(str::to_owned),
            },
            ..Destinations::default()
        }
    }

    fn printed(destinations: &Destinations, names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let targets = targets(destinations, &names).unwrap();
        let lines = targets.iter().map(|target| {
            format!(
                "{}/{}:{}",
                target.endpoint,
                target.repository,
                target.tags.join(",")
            )
        });
        lines.collect()
    }

    #[test]
    fn source_tags_are_used_without_tags_else_latest() {
        assert_eq!(
            printed(
                &short(&[], None),
                &["docker.io/library/app:1", "app:2", "other:3"]
            ),
            ["gcr.io/p/app:1,2", "eu.gcr.io/p/app:1,2"]
        );
        assert_eq!(
            printed(&short(&[], Some("api")), &[]),
            ["gcr.io/p/api:latest", "eu.gcr.io/p/api:latest"]
        );
    }

    #[test]
    fn given_tags_win_and_references_come_first() {
        let mut destinations = short(&["a", "b", "a"], None);
        destinations.references = vec!["r.example:5000/x:1".parse().unwrap()];
        assert_eq!(
            printed(&destinations, &["localhost:5000/team/app:9"]),
            [
                "r.example:5000/x:1",
                "gcr.io/p/team/app:a,b",
                "eu.gcr.io/p/team/app:a,b"
            ]
        );
    }

    #[test]
    fn best_effort_takes_whole_hosts_or_repositories() {
        let marked = |hosts: &[&str], references: &[&str]| {
            let mut destinations = short(&["a", "b"], Some("api"));
            destinations.references = vec!["r.example/x:1".parse().unwrap()];
            destinations.best_effort = BestEffort {
                hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
                references: references.iter().map(|r| r.parse().unwrap()).collect(),
            };
            let targets = targets(&destinations, &[])?;
            Ok(targets.iter().map(|target| target.best_effort).collect())
        };
        let ok = |marks: [bool; 3]| Ok(marks.to_vec());
        assert_eq!(marked(&["eu.gcr.io"], &[]), ok([false, false, true]));
        assert_eq!(marked(&[], &["r.example/x"]), ok([true, false, false]));
        assert_eq!(marked(&[], &["r.example/x:1"]), ok([true, false, false]));
        let both = ["gcr.io/p/api:a", "gcr.io/p/api:b"];
        assert_eq!(marked(&[], &both), ok([false, true, false]));
        assert_eq!(
            marked(&[], &both[..1]),
            Err(ReferenceError::PartOfRepository(both[0].to_owned()))
        );
        assert_eq!(
            marked(&[], &["r.example/y"]),
            Err(ReferenceError::NoDestination("r.example/y".to_owned()))
        );
    }

    #[test]
    fn tag_alone_in_the_source_is_no_name() {
        assert_eq!(
            printed(&short(&[], Some("api")), &[":1.2"]),
            ["gcr.io/p/api:1.2", "eu.gcr.io/p/api:1.2"]
        );
        assert_eq!(
            targets(&short(&["a"], None), &[":1.2".to_owned()]),
            Err(ReferenceError::NoName)
        );
        let slash = targets(&short(&[], None), &["web:feature/login".to_owned()]);
        assert!(matches!(slash, Err(ReferenceError::Repository(..))));
    }

    #[test]
    fn reference_without_tag_is_pushed_by_digest() {
        let tags = |references: &[&str]| {
            let destinations = Destinations {
                references: references.iter().map(|r| r.parse().unwrap()).collect(),
                ..Destinations::default()
            };
            let targets = targets(&destinations, &[]).unwrap();
            targets.iter().flat_map(Target::names).collect::<Vec<_>>()
        };
        assert_eq!(tags(&["gcr.io/p/a"]), ["gcr.io/p/a@"]);
        assert_eq!(tags(&["gcr.io/p/a", "gcr.io/p/a:1"]), ["gcr.io/p/a:1"]);
    }

    #[test]
    fn repository_given_by_two_names_is_noticed() {
        let aliases = |references: &[&str]| {
            let destinations = Destinations {
                references: references.iter().map(|r| r.parse().unwrap()).collect(),
                ..Destinations::default()
            };
            same_repositories(&targets(&destinations, &[]).unwrap()).len()
        };
        for (one, other, same) in [
            ("gcr.io/p/a:1", "us-docker.pkg.dev/p/gcr.io/a:2", 1),
            (
                "eu.gcr.io/x.com/p/a/b",
                "europe-docker.pkg.dev/x.com/p/eu.gcr.io/a/b",
                1,
            ),
            ("gcr.io/p/a:1", "us.gcr.io/p/a:1", 0),
            ("gcr.io/p/a:1", "us-docker.pkg.dev/p/containers/a:1", 0),
            ("gcr.io/p/a:1", "gcr.io/p/a:2", 0),
        ] {
            assert_eq!(aliases(&[one, other]), same, "{one} {other}");
        }
    }

    #[test]
    fn image_without_any_name_is_reported() {
        assert_eq!(
            targets(&short(&["a"], None), &[]),
            Err(ReferenceError::NoName)
        );
    }
}
