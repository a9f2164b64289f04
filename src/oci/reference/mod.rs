//! Names in a registry: full references, and destinations that are built from parts.

pub mod artifact_registry;
mod endpoint;
mod grammar;
mod text;

use std::fmt;
use std::str::FromStr;

use crate::diagnostics::userinfo::{after_login, without_login};
use crate::oci::digest::Digest;

pub use artifact_registry::ArtifactRegistryRepository;
pub(crate) use endpoint::is_host_name;
pub use endpoint::{Endpoint, HostKind};
use grammar::check_repository;
pub use grammar::check_tag;
pub(crate) use grammar::{is_at_or_below, is_component, looks_like_host, split_host};
pub(crate) use text::placeholder;

/// The name of an image: a repository of a registry, with a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The registry.
    pub endpoint: Endpoint,
    /// The repository: `project/name` on `gcr.io`, `project/repository/name` on `pkg.dev`.
    pub repository: String,
    /// The tag, if the name states one.
    pub tag: Option<String>,
    /// The digest, if the name states one.
    pub digest: Option<Digest>,
}

impl Reference {
    /// `host/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.endpoint, self.repository)
    }

    /// The same repository with this tag.
    pub fn with_tag(&self, tag: &str) -> Self {
        Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        }
    }

    /// The path under which `gcloud container images list` lists this image: the project on
    /// `gcr.io`, project and repository on `pkg.dev`. `None` on other registries, or if the image
    /// has no parent.
    ///
    /// A domain-scoped project (`example.com:project`) has two components.
    /// <https://cloud.google.com/artifact-registry/docs/docker/names#domain>
    pub fn parent(&self) -> Option<&str> {
        let project = if self.repository.split('/').next()?.contains('.') {
            2
        } else {
            1
        };
        let depth = match self.endpoint.kind() {
            HostKind::Gcr { .. } => project,
            HostKind::ArtifactRegistry { .. } => project + 1,
            HostKind::Other => return None,
        };
        let (end, _) = self.repository.match_indices('/').nth(depth - 1)?;
        Some(&self.repository[..end])
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.endpoint, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Parses `host/repository[:tag][@digest]`. The host is required: a first component is a host
    /// only if it contains a `.` or a `:`, or is `localhost`, so that a mistyped path never names
    /// an image of another registry.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if let Some(error) = ReferenceError::of_text(text) {
            return Err(error);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse()
                        .map_err(|_| ReferenceError::Digest(text.to_owned()))?,
                ),
            ),
            None => (text, None),
        };
        let (host, path) =
            split_host(rest).ok_or_else(|| ReferenceError::NoHost(text.to_owned()))?;
        let endpoint: Endpoint = host.parse()?;
        let path = if endpoint.is_google() {
            domain_scoped(path)
        } else {
            path.to_owned()
        };
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path.as_str(), None),
        };
        if let Some(tag) = &tag {
            check_tag(tag)?;
        }
        check_repository(&endpoint, repository)?;
        Ok(Self {
            repository: repository.to_owned(),
            endpoint,
            tag,
            digest,
        })
    }
}

impl Reference {
    /// Parses a name as Docker does: without a host it is on Docker Hub, and without a namespace it
    /// is an official image (`alpine` is `docker.io/library/alpine`).
    /// <https://github.com/distribution/reference/blob/main/normalize.go>
    ///
    /// # Errors
    ///
    /// If it is not the name of an image.
    pub fn familiar(text: &str) -> Result<Self, ReferenceError> {
        let host = text.split_once('/').map(|(host, _)| host);
        match host.filter(|host| looks_like_host(host)) {
            Some("docker.io" | "index.docker.io") => {
                let (_, path) = text.split_once('/').unwrap_or_default();
                Self::on_docker_hub(path)
            }
            Some(_) => text.parse(),
            None => Self::on_docker_hub(text),
        }
    }

    fn on_docker_hub(path: &str) -> Result<Self, ReferenceError> {
        let library = if path.contains('/') { "" } else { "library/" };
        format!("docker.io/{library}{path}").parse()
    }
}

/// Converts a domain-scoped project to its form in image names: `example.com:project` becomes
/// `example.com/project`. Any other colon starts a tag.
/// <https://cloud.google.com/artifact-registry/docs/docker/names#domain>
fn domain_scoped(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    match first.split_once(':') {
        Some((domain, project)) if domain.contains('.') && path.len() > first.len() => {
            let rest = &path[first.len()..];
            format!("{domain}/{project}{rest}")
        }
        _ => path.to_owned(),
    }
}

/// The parts of a destination in the variables `project_id`, `repository` and `name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The Google Cloud project.
    pub project: Option<String>,
    /// The Artifact Registry repository, only for `pkg.dev`.
    pub repository: Option<String>,
    /// The name of the image.
    pub name: Option<String>,
}

impl Parts {
    /// Builds the reference at `endpoint`, without a tag.
    ///
    /// # Errors
    ///
    /// If a part is missing or not allowed, or if the name is invalid.
    pub fn at(&self, endpoint: &Endpoint) -> Result<Reference, ReferenceError> {
        let name = self.name.as_deref().ok_or(ReferenceError::NoName)?;
        let project = self
            .project
            .as_deref()
            .map(|project| match project.split_once(':') {
                Some((domain, project)) if domain.contains('.') => format!("{domain}/{project}"),
                _ => project.to_owned(),
            });
        let missing_project = || ReferenceError::NoProject(endpoint.clone());
        let path = match endpoint.kind() {
            HostKind::Gcr { .. } => format!("{}/{name}", project.ok_or_else(missing_project)?),
            HostKind::ArtifactRegistry { .. } => {
                let repository = self
                    .repository
                    .as_deref()
                    .ok_or_else(|| ReferenceError::NoRepository(endpoint.clone()))?;
                let project = project.ok_or_else(missing_project)?;
                format!("{project}/{repository}/{name}")
            }
            HostKind::Other => match project {
                Some(project) => format!("{project}/{name}"),
                None => name.to_owned(),
            },
        };
        check_repository(endpoint, &path)?;
        Ok(Reference {
            endpoint: endpoint.clone(),
            repository: path,
            tag: None,
            digest: None,
        })
    }
}

/// Formats a name for messages: on one line, shortened, and without a login.
fn for_message(text: &str) -> String {
    const MAX_LENGTH: usize = 150;
    let text = without_login(text);
    let mut characters = text.chars();
    let start = characters.by_ref().take(MAX_LENGTH);
    // Quotes are harmless, and hard to read with a backslash.
    let start = start.map(|character| match character {
        '"' | '\'' => character.to_string(),
        other => other.escape_debug().to_string(),
    });
    let start: String = start.collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("{start}{more}")
}

impl ReferenceError {
    /// The error for a text with a login before the host. `None` if there is none.
    pub(crate) fn login(text: &str) -> Option<Self> {
        after_login(text).map(|host| Self::Login(host.to_owned()))
    }

    /// Checks a text before it is parsed. `None` if it is not obviously wrong.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        if let Some(error) = Self::login(text) {
            return Some(error);
        }
        if let Some(placeholder) = text::placeholder(text) {
            return Some(Self::Unfilled(text.to_owned(), placeholder.to_owned()));
        }
        if let Some(mark) = text::markup(text) {
            return Some(Self::Markup(text.to_owned(), mark.to_owned()));
        }
        if text::scheme(text).is_some() {
            return Some(Self::Scheme(text.to_owned()));
        }
        text.starts_with(['/', ':'])
            .then(|| Self::EmptyPart(text.to_owned()))
    }
}

/// Why a name cannot be a destination or a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The host is invalid.
    #[error("`{text}` is not a registry: {reason}", text = for_message(.0), reason = .1)]
    Host(String, &'static str),
    /// There is a login before the host. Only the text after it is kept.
    #[error("there is a login before `@{}`, which is not shown: remove it; put a login in \
             `docker_config`, for the image's own registry in `source_username` and \
             `source_password`, for Google in `credentials_json` or `access_token`", for_message(.0))]
    Login(String),
    /// A placeholder was not replaced.
    #[error("`{}` contains `{}`, which has no value: set the variable, or write its value", for_message(.0), for_message(.1))]
    Unfilled(String, String),
    /// It contains syntax of YAML or JSON.
    #[error("`{}` contains the `{}` of YAML or JSON: write only the names, separated by commas or \
             line breaks, without quotes, brackets and dashes", for_message(.0), .1)]
    Markup(String, String),
    /// It is a URL.
    #[error("`{}` is not the name of an image: remove `{}`", for_message(.0), text::scheme(.0).unwrap_or_default())]
    Scheme(String),
    /// It starts with an empty part.
    #[error("`{}` does not begin with a registry: {}", for_message(.0), grammar::EMPTY_PART)]
    EmptyPart(String),
    /// There is no host before the path.
    #[error("`{}` has no registry: write the registry first, as in `gcr.io/PROJECT/NAME:TAG`; a \
             tag cannot contain `/`", for_message(.0))]
    NoHost(String),
    /// The tag is invalid.
    #[error("tag `{text}` is not valid: {reason}", text = for_message(.0), reason = .1)]
    Tag(String, &'static str),
    /// The repository name is invalid.
    #[error("image name `{text}` is not valid: {reason}", text = for_message(.0), reason = .1)]
    Repository(String, &'static str),
    /// The text after `@` is not a digest.
    #[error("`{}` does not end with a digest: expected `@sha256:` and 64 hexadecimal digits", for_message(.0))]
    Digest(String),
    /// There is no image name.
    #[error("the image has no name: set `name`, or give a full reference in `tags`")]
    NoName,
    /// An item of `best_effort` is not a destination.
    #[error("`{0}` in `best_effort` is not a destination")]
    NoDestination(String),
    /// An item of `best_effort` names one of several tags.
    #[error(
        "`{0}` in `best_effort` is one of several tags of its repository, which are pushed \
         together: write the repository without a tag"
    )]
    PartOfRepository(String),
    /// There is no project for a Google host.
    #[error("`{0}` needs a project: set `project_id`")]
    NoProject(Endpoint),
    /// There is no repository for an Artifact Registry host.
    #[error(
        "`{0}` needs a repository: set `repository` to the Artifact Registry repository's name"
    )]
    NoRepository(Endpoint),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        text.parse()
    }

    #[test]
    fn full_reference_is_split_into_its_parts() {
        let digest = Digest::of(b"x");
        let reference = parse(&format!("gcr.io/acme/api/v2:1.0@{digest}")).unwrap();
        assert_eq!(reference.endpoint.host(), "gcr.io");
        assert_eq!(reference.repository, "acme/api/v2");
        assert_eq!(reference.tag.as_deref(), Some("1.0"));
        assert_eq!(reference.digest, Some(digest));
        assert_eq!(reference.parent(), Some("acme"));
    }

    #[test]
    fn domain_scoped_project_has_two_components() {
        let reference = parse("gcr.io/example.com:proj/app:1").unwrap();
        assert_eq!(reference.repository, "example.com/proj/app");
        assert_eq!(reference.parent(), Some("example.com/proj"));
        let reference = parse("us-docker.pkg.dev/example.com/proj/repo/app").unwrap();
        assert_eq!(reference.parent(), Some("example.com/proj/repo"));
        let reference = parse("us-docker.pkg.dev/example.com:proj/repo/app:1").unwrap();
        assert_eq!(reference.repository, "example.com/proj/repo/app");
        assert_eq!(reference.tag.as_deref(), Some("1"));
        assert!(parse("gcr.io/example.com/proj").is_err());
    }

    #[test]
    fn later_colon_starts_a_tag_and_a_tag_has_no_slash() {
        for bad in [
            "gcr.io/acme-prod/web:feature/login",
            "gcr.io/acme-prod/web:v1:latest",
            "us-docker.pkg.dev/acme-prod/r/web:release/1.2",
            "us-docker.pkg.dev/acme-prod/r:1/web",
            "ghcr.io/acme/api:feature/x",
            "ghcr.io/acme.io:feature/x",
            "gcr.io/acme:prod/web:1",
            "gcr.io/acme/my.app:feature/x",
            "gcr.io/example.com:proj/web:feature/login",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(matches!(error, ReferenceError::Tag(..)), "{bad}: {error}");
        }
        assert!(matches!(
            parse("web:feature/login"),
            Err(ReferenceError::NoHost(_))
        ));
    }

    #[test]
    fn incomplete_name_is_reported_for_what_it_is() {
        let errors = [
            "https://user:S3CRET@gcr.io/acme/a:1",
            "gcr.io/${PROJECT_ID}/app:1",
            "\"gcr.io/acme/app:1\"",
            "- gcr.io/acme/app:1",
            "docker://gcr.io/acme/app:1",
            "gcr.io//app:1",
            "/acme/app:1",
            "gcr.io/acme/app:",
        ]
        .map(|text| parse(text).unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n"), @r#"
        there is a login before `@gcr.io/acme/a:1`, which is not shown: remove it; put a login in `docker_config`, for the image's own registry in `source_username` and `source_password`, for Google in `credentials_json` or `access_token`
        `gcr.io/${PROJECT_ID}/app:1` contains `${PROJECT_ID}`, which has no value: set the variable, or write its value
        `"gcr.io/acme/app:1"` contains the `"` of YAML or JSON: write only the names, separated by commas or line breaks, without quotes, brackets and dashes
        `- gcr.io/acme/app:1` contains the `-` of YAML or JSON: write only the names, separated by commas or line breaks, without quotes, brackets and dashes
        `docker://gcr.io/acme/app:1` is not the name of an image: remove `docker://`
        image name `/app` is not valid: a part of it is empty; a variable may not be set, or a secret in the pull request of a fork
        `/acme/app:1` does not begin with a registry: a part of it is empty; a variable may not be set, or a secret in the pull request of a fork
        tag `` is not valid: it is empty; a variable may not be set in this run
        "#);
    }

    proptest::proptest! {
        #[test]
        fn accepted_name_reads_back(
            host in "(gcr\\.io|us-docker\\.pkg\\.dev|localhost:5000|ghcr\\.io)",
            path in "[a-z.:/_-]{1,24}",
            tag in "(:[a-z/:.-]{1,8})?",
        ) {
            let text = format!("{host}/{path}{tag}");
            if let Ok(reference) = parse(&text) {
                proptest::prop_assert_eq!(parse(&reference.to_string()).unwrap(), reference.clone());
                let tag = reference.tag.unwrap_or_default();
                proptest::prop_assert!(!tag.contains(['/', ':']));
            }
        }
    }

    #[test]
    fn reference_prints_as_written() {
        for text in ["gcr.io/p/n", "localhost:5000/a:1", "eu.gcr.io/p/a/b:x"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_a_registry_would_refuse_are_refused() {
        let long = format!("gcr.io/p/{}", "a".repeat(250));
        let long_tag = format!("gcr.io/p/n:{}", "a".repeat(129));
        for bad in [
            "app:1",
            "./image.tar",
            "gcr.io/p/App",
            "gcr.io/p/a..b",
            "gcr.io/p/-a",
            "gcr.io/p/a_",
            "gcr.io/p/a___b",
            "gcr.io/p//a",
            "gcr.io/p",
            "us-docker.pkg.dev/p/n",
            "gcr.io/p/n:a b",
            "gcr.io/p/n:-a",
            "gcr.io/p/n:",
            "gcr.io/p/n@sha256:12",
            &long,
            &long_tag,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for good in ["gcr.io/p/a--b", "gcr.io/p/a__b.c-d", "host.example/x:_T"] {
            assert!(parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn parts_make_the_path_each_host_needs() {
        let parts = Parts {
            project: Some("example.com:p".into()),
            repository: Some("r".into()),
            name: Some("n".into()),
        };
        let at = |host: &str| parts.at(&host.parse().unwrap()).unwrap().repository;
        assert_eq!(at("gcr.io"), "example.com/p/n");
        assert_eq!(at("us-docker.pkg.dev"), "example.com/p/r/n");
        let plain = Parts {
            name: Some("n".into()),
            ..Parts::default()
        };
        assert_eq!(
            plain
                .at(&"localhost:5000".parse().unwrap())
                .unwrap()
                .repository,
            "n"
        );
        assert_eq!(
            plain.at(&"gcr.io".parse().unwrap()),
            Err(ReferenceError::NoProject("gcr.io".parse().unwrap()))
        );
        assert_eq!(
            plain.at(&"us-docker.pkg.dev".parse().unwrap()),
            Err(ReferenceError::NoRepository(
                "us-docker.pkg.dev".parse().unwrap()
            ))
        );
    }
}
